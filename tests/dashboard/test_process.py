"""The process of the dashboard: what its clients may keep, and how it starts and ends."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest

from tests.brokers.kafka import free_ports
from tests.patience import PATIENCE_S, until


@contextlib.contextmanager
def dashboard(port: int, **settings: str) -> Iterator[subprocess.Popen[str]]:
    """Run a dashboard beside an API that does not answer."""
    environment = {f"EXPERIMENT_{name.upper()}": value for name, value in settings.items()}
    process = subprocess.Popen(
        (sys.executable, "-m", "dashboard"),
        env=os.environ
        | {"EXPERIMENT_DASHBOARD_PORT": str(port), "EXPERIMENT_DASHBOARD_API_URL": "http://[::1]:9"}
        | environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def connected(port: int) -> socket.socket:
    def connect() -> socket.socket | None:
        with contextlib.suppress(ConnectionRefusedError):
            return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
        return None

    found = until(connect)
    assert found is not None
    return found


@pytest.fixture
def port() -> int:
    return free_ports(1)[0]


def test_a_connection_that_says_nothing_is_ended(port: int):
    with dashboard(port, api_head_timeout_s="1") as process, connected(port):
        process.send_signal(signal.SIGSTOP)  # its time begins when it takes the connection
        with connected(port) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX")
            process.send_signal(signal.SIGCONT)

            assert client.recv(65_536).startswith(b"HTTP/1.1 408 ")
            assert client.recv(65_536) == b""


def test_its_metrics_are_of_the_process_and_on_a_separate_port(port: int):
    [metrics_port] = free_ports(1)
    with dashboard(port, dashboard_metrics_port=str(metrics_port)), connected(port):
        url = f"http://127.0.0.1:{metrics_port}/metrics"
        page = httpx.get(url, trust_env=False, timeout=PATIENCE_S)

    assert page.headers["cache-control"] == "no-store"
    for name in ("process_start_time_seconds", "process_resident_memory_bytes", "process_open_fds"):
        assert f"\n{name} " in page.text


def test_a_port_for_metrics_that_is_taken_is_named(port: int):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        with dashboard(port, dashboard_metrics_port=str(number)) as process:
            _, said = process.communicate(timeout=PATIENCE_S)

    assert process.returncode == 2
    assert "EXPERIMENT_DASHBOARD_METRICS_PORT" in said


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET /?search=" + b"a" * 10_000 + b" HTTP/1.1", b"414"),
        (b"GET /experiments/%ff HTTP/1.1", b"400"),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 70_000, b"431"),
        (b"GET /health HTTP/1.1", b"200"),
    ],
)
def test_heads_have_the_bounds_of_the_api(port: int, request_line: bytes, status: bytes):
    with dashboard(port), connected(port) as client:
        client.sendall(request_line + b"\r\nHost: 127.0.0.1\r\n\r\n")

        assert client.recv(65_536).startswith(b"HTTP/1.1 " + status)


def test_sigterm_ends_it_with_0_and_closes_what_waits(port: int):
    with dashboard(port) as process, connected(port) as client:
        client.sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert client.recv(65_536).startswith(b"HTTP/1.1 200 ")

        process.send_signal(signal.SIGTERM)

        assert process.wait(PATIENCE_S) == 0


def test_a_port_that_is_taken_is_named_by_its_setting(port: int):
    with socket.create_server(("127.0.0.1", port)), dashboard(port) as process:
        _, said = process.communicate(timeout=PATIENCE_S)

    assert process.returncode == 2
    assert f"cannot listen on 127.0.0.1:{port}" in said
