import base64
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from schemas import library
from schemas.codec import Codec
from streams.model.errors import ConfigurationError, DependencyError, EventError
from streams.model.events import Observation
from streams.wire import framing as module
from streams.wire.framing import decoding, framing
from streams.wire.observations import decode_observations, encode_observation

CLICK = Observation("A" * 75, "click", 1_000_000)
UNREACHABLE = "http://127.0.0.1:1"


class Registry(ThreadingHTTPServer):
    """A registry that gives every schema the id 7, after a given number of failures.

    Attributes:
        status: Of its answers.
        failures: Answers of 503 before.
        asked: Method, path and credentials of each request.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status = 200
        self.failures = 0
        self.asked: list[tuple[str, str, str]] = []

    def handle_error(self, *_: object) -> None:
        """Say nothing of a client that has gone: after a refusal it waits for no other answer."""

    def url(self, credentials: str = "") -> str:
        return f"http://{credentials}127.0.0.1:{self.server_port}/apis"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        here = self.server
        assert isinstance(here, Registry)
        given = self.headers.get("Authorization", "").removeprefix("Basic ")
        here.asked.append((self.command, self.path, base64.b64decode(given).decode()))
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(503 if here.failures > 0 else here.status)
        here.failures -= 1
        self.end_headers()
        self.wfile.write(rb'{"id": 7, "schema": "\"int\""}')

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry() as server, serving(server):
        yield server


@contextmanager
def serving(server: ThreadingHTTPServer) -> Iterator[None]:
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("nowhere", [None, ""])
@pytest.mark.parametrize("opened", [framing, decoding])
async def test_without_a_registry_records_are_single_objects(opened, nowhere):
    async with opened(nowhere) as wire:
        value = encode_observation(CLICK, wire.codec)
        await wire.prepare([value, None, b"\x00\x00\x00\x00\x07"])

        assert value.startswith(b"\xc3\x01")
        assert decode_observations(value, wire.codec).observations == (CLICK,)


async def test_a_registry_that_is_not_there_is_a_dependency_that_is_missing():
    with pytest.raises(DependencyError) as caught:
        async with framing(UNREACHABLE):
            pass

    assert caught.value.dependency == "schema-registry"
    assert caught.value.message.startswith(f"{UNREACHABLE}: POST /subjects/experiment_streams.")


async def test_a_registry_that_is_away_is_waited_for_and_its_absence_logged(
    registry, monkeypatch, caplog
):
    monkeypatch.setattr(module, "RETRY_S", 0.01)
    registry.failures = 3 * len(library.NAMES)
    async with framing(registry.url(), startup_timeout_s=100) as wire:
        assert encode_observation(CLICK, wire.codec).startswith(b"\x00\x00\x00\x00\x07")

    assert "waiting for the schema registry: " in caplog.text
    assert "http://127.0.0.1" in caplog.text
    assert "503" in caplog.text


async def test_a_refused_schema_is_a_fault_of_the_configuration(registry):
    registry.status = 409
    with pytest.raises(ConfigurationError, match="409 Conflict") as caught:
        async with framing(registry.url(), startup_timeout_s=100):
            pass

    assert caught.value.path == "EXPERIMENT_SCHEMA_REGISTRY_URL"


async def test_a_process_that_only_reads_registers_nothing_and_starts_without_a_registry(registry):
    async with decoding(registry.url()) as wire:
        await wire.prepare([b"\x00\x00\x00\x00\x09..."])
    async with decoding(UNREACHABLE) as wire:
        await wire.prepare([b"\xc3\x01 a single object"])
        with pytest.raises(DependencyError, match="GET /schemas/ids/9"):
            await wire.prepare([b"\x00\x00\x00\x00\x09..."])

    assert registry.asked == [("GET", "/apis/schemas/ids/9", "")]


async def test_user_and_password_reach_the_registry_and_no_log_or_message(registry, caplog):
    caplog.set_level(logging.DEBUG)
    async with framing(registry.url("me:correct%40horse@")):
        pass
    registry.status = 403
    with pytest.raises(ConfigurationError) as caught:
        async with framing(registry.url("me:correct%40horse@")):
            pass

    assert {given for _, _, given in registry.asked} == {"me:correct@horse"}
    assert registry.url() in caplog.text
    assert "horse" not in caplog.text + str(caught.value)


def test_records_of_a_registry_are_read_with_the_codec_that_knows_its_ids():
    codec = Codec()
    codec.use_id(library.current("observation"), 7)
    value = encode_observation(CLICK, codec)

    assert decode_observations(value, codec).observations == (CLICK,)
    with pytest.raises(EventError) as caught:
        decode_observations(value)
    assert caught.value.code == "UNKNOWN_SCHEMA"
