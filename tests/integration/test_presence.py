"""Heartbeats of processes in Redis, and the reason of a worker that refuses to start."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from streams.model.errors import EngineError
from streams.model.schema_levels import SchemaLevels
from streams.projection.connection import connect
from streams.projection.keys import Keys
from streams.projection.presence import SIGN_TTL_S, ApiPresence, ProcessSchemas, live_processes
from streams.projection.refusals import KEPT_S, last_refusal, note_refusal
from streams.projection.writer import ProjectionWriter
from streams.settings import Settings
from streams.wire.schema_gate import SchemaGate

NAME = "snapshot"


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[Redis]:
    async with connect(settings.redis_url) as connection:
        yield connection


@pytest.fixture
def keys(settings: Settings) -> Keys:
    return Keys(settings.namespace)


async def test_processes_of_all_generations_show_what_they_read_and_write(client, keys) -> None:
    gate = SchemaGate()
    presence = ApiPresence(client, keys, "api-1", gate)
    await presence.look()
    await ProjectionWriter(client, keys, gate).heartbeat("worker-1", 60)
    await ProjectionWriter(client, Keys(keys.namespace, 2)).heartbeat("worker-2", 60)

    assert await live_processes(client, keys) == [
        ProcessSchemas("worker", "worker-1", gate.reads, gate.written),
        ProcessSchemas("worker", "worker-2", {}, {}),  # it does not say
        ProcessSchemas("api", "api-1", gate.reads, gate.written),
    ]
    assert 0 < await client.ttl(keys.api("api-1")) <= SIGN_TTL_S

    await presence.sign_off()
    await client.delete(keys.worker("worker-1"))  # it fell silent

    assert [each.name for each in await live_processes(client, keys)] == ["worker-2"]


async def test_an_api_process_writes_what_the_workers_say_and_levels_never_fall(
    client, keys
) -> None:
    gate, worker_gate = SchemaGate(), SchemaGate()
    worker = ProjectionWriter(client, keys, worker_gate)
    presence = ApiPresence(client, keys, "api-1", gate)
    newest = gate.reads[NAME]

    for level, expected in ((newest - 1, newest - 1), (newest, newest), (newest - 1, newest)):
        worker_gate.take(SchemaLevels({**gate.reads, NAME: level}))
        await worker.heartbeat("worker-1", 60)
        await presence.look()

        assert gate.written[NAME] == expected


async def test_a_process_that_cannot_read_what_others_write_says_so_once(
    client, keys, caplog
) -> None:
    gate = SchemaGate()
    worker_gate = SchemaGate()
    worker_gate.take(SchemaLevels({**gate.reads, NAME: gate.reads[NAME] + 1}))
    await ProjectionWriter(client, keys, worker_gate).heartbeat("worker-1", 60)
    presence = ApiPresence(client, keys, "api-1", gate)

    for _ in range(3):
        await presence.look()

    assert gate.too_new == {NAME: gate.reads[NAME] + 1}
    assert [record.levelname for record in caplog.records] == ["ERROR"]


async def test_a_refusal_is_found_for_a_while_and_the_last_one_counts(client, keys) -> None:
    assert await last_refusal(client, keys) is None
    for message in ("first", "second"):
        await note_refusal(client, keys, EngineError("X_UNUSABLE", message))

    found = await last_refusal(client, keys)

    assert found is not None
    assert (found.code, found.message) == ("X_UNUSABLE", "second")
    assert 0 < await client.ttl(keys.refusal) <= KEPT_S


@pytest.mark.parametrize("noise", [b"noise", b"[]", b'{"code": "X"}', b'{"code": 1, "atMs": "x"}'])
async def test_an_unreadable_refusal_is_ignored(client, keys, noise) -> None:
    await client.set(keys.refusal, noise)

    assert await last_refusal(client, keys) is None
