"""The commands that start the pieces: what they refuse, and what they become."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from streams.cli.main import app
from streams.cli.up import planned
from streams.local.children import free_port
from tests.patience import PATIENCE_S


def test_up_on_a_taken_port_says_so_and_exits_2(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])

        result = CliRunner().invoke(app, ["up", "--port", port, "--data-dir", str(tmp_path)])

    assert result.exit_code == 2
    assert f"port {port} of 127.0.0.1 is already in use" in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("option", ["--port", "--dashboard-port"])
@pytest.mark.parametrize("port", ["-1", "65536", "99999999999999999999", "nan", "8080.5", ""])
def test_up_on_a_port_that_no_machine_has_exits_2(tmp_path, option, port):
    result = CliRunner().invoke(app, ["up", option, port, "--data-dir", str(tmp_path)])

    assert result.exit_code == 2, result.output
    assert option in result.stderr
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("host", ["nowhere.invalid", "192.0.2.1", "a" * 64, "a..b", "::g", "1:2"])
@pytest.mark.parametrize("port", ["0", "18182"])
def test_up_on_an_address_of_another_machine_exits_2(tmp_path, host, port):
    result = CliRunner().invoke(
        app, ["up", "--host", host, "--port", port, "--data-dir", str(tmp_path)]
    )

    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("experiment: CONFIGURATION: ")
    assert host in result.stderr
    assert not [*tmp_path.iterdir()]


def test_a_free_port_of_ipv6_is_one():
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")

    assert planned(host="::1", port=0).port > 0


def test_a_wrong_setting_is_named_and_exits_2(monkeypatch):
    monkeypatch.setenv("EXPERIMENT_PARTITIONS", "none")

    result = CliRunner().invoke(app, ["topics", "create"])

    assert result.exit_code == 2
    assert "EXPERIMENT_PARTITIONS" in result.stderr


def test_topics_without_kafka_exits_as_unavailable(monkeypatch):
    monkeypatch.setenv("EXPERIMENT_KAFKA_URL", f"127.0.0.1:{free_port()}")
    monkeypatch.setenv("EXPERIMENT_KAFKA_TIMEOUT_S", "0.3")

    result = CliRunner().invoke(app, ["topics", "create"])

    assert result.exit_code == 69
    assert "Kafka at 127.0.0.1" in result.stderr


@pytest.mark.parametrize(("command", "module"), [("worker", "streams.worker"), ("api", "api")])
def test_the_pieces_become_the_process_that_the_supervisor_starts(monkeypatch, command, module):
    become: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda _program, arguments: become.append(arguments))
    before = signal.getsignal(signal.SIGHUP)

    try:
        CliRunner().invoke(app, [command])
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)

    assert become == [[sys.executable, "-m", module]]


@pytest.mark.parametrize("module", ["api", "streams.worker"])
def test_a_process_that_cannot_write_the_pinned_version_does_not_start(module):
    variables = {
        "EXPERIMENT_WRITE_SCHEMAS": "impression_batch:999",
        "EXPERIMENT_RECEIPT_KEYS": f"1:{'5a' * 32}",
        "EXPERIMENT_KAFKA_URL": "127.0.0.1:1",
        "EXPERIMENT_REDIS_URL": "redis://127.0.0.1:2",
        "EXPERIMENT_API_PORT": "0",
    }

    done = subprocess.run(
        [sys.executable, "-m", module],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )

    assert done.returncode == 2, done.stderr
    assert "EXPERIMENT_WRITE_SCHEMAS" in done.stderr
    assert "impression_batch: '999' must be in 1.." in done.stderr
    assert "Traceback" not in done.stderr


def test_a_plan_takes_from_the_environment_what_no_option_says(monkeypatch, tmp_path):
    monkeypatch.setenv("EXPERIMENT_API_PORT", "18181")
    monkeypatch.setenv("EXPERIMENT_DATA_DIR", str(tmp_path))

    plan = planned()

    assert plan.url == "http://127.0.0.1:18181"
    assert plan.directory == tmp_path / "stack-18181"


def test_port_0_becomes_a_free_port():
    assert planned(port=0).port > 0


def test_a_plan_takes_the_number_of_api_processes_from_option_or_environment(monkeypatch):
    monkeypatch.setenv("EXPERIMENT_API_PROCESSES", "3")

    assert planned().api_processes == 3
    assert planned(api_processes=2).api_processes == 2


@pytest.mark.parametrize("count", ["0", "65", "two"])
def test_a_number_of_api_processes_out_of_range_is_refused(count):
    assert CliRunner().invoke(app, ["api", "--processes", count]).exit_code == 2
