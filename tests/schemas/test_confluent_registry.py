import json
from collections import Counter

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from schemas import library
from schemas.codec import Codec
from schemas.confluent_registry import (
    CONFLICT_ATTEMPTS,
    MAX_SAID,
    UNKNOWN_FOR_S,
    SchemaRegistry,
)
from schemas.errors import RegistryError, RegistryRefusedError, UnknownSchemaError

DECISION = {
    "experiment_id": "e",
    "kind": "k",
    "at_ms": 1,
    "version": 2,
    "evidence": "{}",
    "snapshot": None,
}


class Registry:
    """A registry in memory with the two endpoints of the Confluent API that are used."""

    def __init__(self):
        self.texts = {}
        self.asked: Counter[int] = Counter()
        self.is_down = False
        self.refusal: httpx.Response | None = None
        self.conflicts: Counter[str] = Counter()
        self.app = Starlette(
            routes=[
                Route("/subjects/{subject}/versions", self.register, methods=["POST"]),
                Route("/schemas/ids/{id:int}", self.schema),
            ]
        )

    async def register(self, request):
        if self.refusal is not None:
            return Response(self.refusal.content, self.refusal.status_code)
        subject = request.path_params["subject"]
        if self.conflicts[subject] > 0:
            self.conflicts[subject] -= 1
            return JSONResponse({"message": "already exists"}, 409)
        body = await request.json()
        assert body["schemaType"] == "AVRO"
        schema_id = 100 + len(self.texts)
        self.texts[schema_id] = body["schema"]
        assert json.loads(body["schema"])["name"] == subject.removeprefix("experiment_streams.")
        return JSONResponse({"id": schema_id})

    async def schema(self, request):
        schema_id = request.path_params["id"]
        self.asked[schema_id] += 1
        if self.is_down:
            return JSONResponse({"error_code": 50001}, 500)
        if schema_id not in self.texts:
            return JSONResponse({"error_code": 40403}, 404)
        return JSONResponse({"schema": self.texts[schema_id]})


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def server():
    return Registry()


@pytest.fixture
async def client(server):
    transport = httpx.ASGITransport(app=server.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://registry") as client:
        yield client


def framed(schema_id, name="decision"):
    return schema_id.to_bytes(5, "big") + Codec().encode(name, DECISION)[10:]


async def test_registered_ids_are_written_and_read(server, client):
    codec = Codec()
    ids = await SchemaRegistry(client, codec).register()
    encoded = codec.encode("decision", DECISION)

    assert set(ids) == set(library.NAMES)
    assert encoded == framed(ids["decision"])
    assert codec.decode(encoded) == ("decision", DECISION)


async def test_another_process_learns_an_id_once(server, client):
    codec = Codec()
    server.texts[7] = library.current("decision").text
    registry = SchemaRegistry(client, codec)
    for _ in range(3):
        await registry.learn([framed(7), framed(7)])

    assert codec.decode(framed(7)) == ("decision", DECISION)
    assert server.asked == {7: 1}


async def test_an_unknown_id_is_not_asked_for_again_before_its_time(server, client):
    clock, codec = Clock(), Codec()
    registry = SchemaRegistry(client, codec, clock=clock)
    await registry.learn([framed(9)])
    clock.now = UNKNOWN_FOR_S - 1
    await registry.learn([framed(9)])
    assert server.asked == {9: 1}
    with pytest.raises(UnknownSchemaError):
        codec.decode(framed(9))

    clock.now = UNKNOWN_FOR_S
    server.texts[9] = library.current("decision").text
    await registry.learn([framed(9)])
    assert codec.decode(framed(9)) == ("decision", DECISION)


async def test_a_schema_of_others_counts_as_unknown(server, client):
    codec = Codec()
    server.texts[9] = '{"type": "record", "name": "Invoice", "fields": []}'
    registry = SchemaRegistry(client, codec)
    await registry.learn([framed(9)])
    await registry.learn([framed(9)])

    assert server.asked == {9: 1}


async def test_a_flood_of_unknown_ids_is_forgotten_oldest_first(server, client, monkeypatch):
    monkeypatch.setattr("schemas.confluent_registry.MAX_UNKNOWN", 2)
    registry = SchemaRegistry(client, Codec(), clock=Clock())
    for schema_id in (1, 2, 3, 3, 1):
        await registry.learn([framed(schema_id)])

    assert server.asked == {1: 2, 2: 1, 3: 1}


async def test_a_silent_registry_is_an_error_to_wait_for(server, client):
    server.is_down = True
    with pytest.raises(RegistryError):
        await SchemaRegistry(client, Codec()).learn([framed(9)])


async def test_an_unreachable_registry_is_an_error_to_wait_for():
    async with httpx.AsyncClient(base_url="http://127.0.0.1:1") as client:
        with pytest.raises(RegistryError):
            await SchemaRegistry(client, Codec()).register()


@pytest.fixture
def hasty(monkeypatch):
    monkeypatch.setattr("schemas.confluent_registry.CONFLICT_PAUSE_S", 0.0)


@pytest.mark.usefixtures("hasty")
async def test_a_schema_that_another_process_registers_at_the_moment_is_registered_again(
    server, client
):
    server.conflicts["experiment_streams.Decision"] = CONFLICT_ATTEMPTS - 1
    ids = await SchemaRegistry(client, Codec()).register()

    assert ids.keys() == set(library.NAMES)
    assert server.conflicts["experiment_streams.Decision"] == 0


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (httpx.Response(409, json={"message": "no default: bid"}), "409 Conflict: no default: bid"),
        (httpx.Response(403, text="<html>"), "403 Forbidden"),
        (httpx.Response(422, json={"message": "m" * 5_000}), f": {'m' * MAX_SAID}"),
        (httpx.Response(401, json=["odd"]), "401 Unauthorized"),
    ],
)
async def test_a_refused_schema_is_named_with_the_words_of_the_registry(
    server, client, answer, said
):
    server.refusal = answer
    with pytest.raises(RegistryRefusedError) as caught:
        await SchemaRegistry(client, Codec()).register()

    assert str(caught.value).startswith("http://registry: version 1 of experiment_streams.")
    assert str(caught.value).endswith(said)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (httpx.Response(503, json={"message": "starting"}), "503 Service Unavailable: starting"),
        (httpx.Response(404, text="not here"), "404 Not Found"),
        (httpx.Response(200, text="<html>"), "the answer is not JSON"),
        (httpx.Response(200, json=[1]), "the answer, a list, has no usable 'id'"),
    ],
)
async def test_a_registry_that_does_not_answer_as_it_should_is_waited_for(
    server, client, answer, said
):
    server.refusal = answer
    with pytest.raises(RegistryError, match="http://registry: POST /subjects/") as caught:
        await SchemaRegistry(client, Codec()).register()

    assert not isinstance(caught.value, RegistryRefusedError)
    assert str(caught.value).endswith(said)
