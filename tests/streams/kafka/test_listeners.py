"""Detection of protocols, with scripted listeners."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from streams.kafka import listeners
from streams.kafka.listeners import asks_for_sasl, speaks_tls
from streams.local.children import free_port
from tests.patience import PATIENCE_S

BRIEFLY_S = 0.1
SASL_OFFERED, MECHANISM_UNKNOWN, NO_SASL = 0, 33, 34


@contextlib.contextmanager
def listener(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):  # the client goes when it has waited long enough
                connection, _ = server.accept()
                with connection:
                    answer(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        thread.join()


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for an answer that comes."""
    monkeypatch.setattr(listeners, "_PATIENCE_S", PATIENCE_S)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait briefly for an answer that never comes."""
    monkeypatch.setattr(listeners, "_PATIENCE_S", BRIEFLY_S)


def say_nothing(connection: socket.socket) -> None:
    while connection.recv(4096):
        pass


def close(connection: socket.socket) -> None:
    connection.recv(4096)


def handshake_of(code: int) -> Callable[[socket.socket], None]:
    def answer(connection: socket.socket) -> None:
        (size,) = struct.unpack(">i", connection.recv(4))
        request = connection.recv(size)
        key, version, correlation = struct.unpack_from(">hhi", request)
        assert (key, version, len(request)) == (17, 1, size)
        body = struct.pack(">ihih5s", correlation, code, 1, 5, b"PLAIN")
        for part in (struct.pack(">i", len(body)), body[:3], body[3:]):  # as TCP may cut it
            connection.sendall(part)
            time.sleep(0.01)

    return answer


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize(
    ("code", "asks"), [(SASL_OFFERED, True), (MECHANISM_UNKNOWN, True), (NO_SASL, False)]
)
def test_the_answer_to_a_sasl_handshake_says_whether_it_is_asked_for(code, asks):
    with listener(handshake_of(code)) as address:
        assert asks_for_sasl(address, by_tls=False) is asks


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("answer", [say_nothing, close])
@pytest.mark.parametrize("by_tls", [False, True])
def test_silence_and_an_end_say_nothing_of_sasl(answer, by_tls):
    with listener(answer) as address:
        assert asks_for_sasl(address, by_tls=by_tls) is None


@pytest.mark.usefixtures("patient")
def test_an_end_is_no_tls():
    with listener(close) as address:
        assert speaks_tls(address) is False


@pytest.mark.usefixtures("impatient")
def test_silence_may_be_a_broker_that_is_busy():
    with listener(say_nothing) as address:
        assert speaks_tls(address) is None


@pytest.mark.parametrize("address", ["nowhere.invalid:1", "no-port", "127.0.0.1:{port}"])
def test_without_a_listener_nothing_is_known(address):
    address = address.format(port=free_port())

    assert speaks_tls(address) is None
    assert asks_for_sasl(address, by_tls=False) is None
