"""What workers write to Redis and the API reads there."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from streams.analysis.evaluate import evaluate
from streams.experiments.lifecycle import apply_command
from streams.model.errors import DependencyError
from streams.model.events import Answer, Command, CommandKind
from streams.model.generations import Generations
from streams.model.ids import experiment_id
from streams.projection.connection import connect
from streams.projection.keys import Keys
from streams.projection.presence import ApiPresence, live_processes
from streams.projection.reader import ProjectionReader
from streams.projection.writer import ProjectionWriter, SnapshotRecord
from streams.tallies.cell import Tally
from streams.wire.schema_levels import SchemaGate
from streams.wire.snapshots import encode_snapshot

NAMES = [experiment_id(number) for number in (1, 2)]


@pytest.fixture
async def client(settings):
    async with connect(settings.redis_url) as connection:
        yield connection


@pytest.fixture
def writer(client, settings):
    return ProjectionWriter(client, Keys(settings.namespace))


@pytest.fixture
def reader(client, settings):
    return ProjectionReader(client, Keys(settings.namespace))


def record(number: int, version: int, name: str = "x") -> SnapshotRecord:
    config = {"name": name, "type": "thompson_sampling", "primaryMetric": "click"}
    variants = [{"name": "a", "isControl": True}, {"name": "b"}]
    command = Command(
        "0" * 32, number, CommandKind.CREATE, 1, {"config": config, "variants": variants}
    )
    snapshot = evaluate(apply_command(None, command), Tally(), ())
    return SnapshotRecord(snapshot.experiment.id, version, encode_snapshot(snapshot))


async def test_an_older_snapshot_never_replaces_a_newer_one(writer, reader):
    assert await writer.write_snapshots([record(1, 5, "new"), record(2, 3)]) == 2

    assert await writer.write_snapshots([record(1, 4, "old"), record(1, 5, "same")]) == 0

    (snapshot,) = (await reader.snapshots([NAMES[0]])).snapshots
    assert snapshot.experiment.definition.config.name == "new"


async def test_statistics_replace_a_failed_evaluation_of_the_same_version_and_never_back(
    writer, reader
):
    """A mended worker evaluates the cells again on which another one had failed."""
    failed = replace(record(1, 5, "failed"), is_failed=True)
    mended, late = record(1, 5, "mended"), replace(record(1, 5, "late"), is_failed=True)

    written = [await writer.write_snapshots([each]) for each in (failed, failed, mended, late)]

    assert written == [1, 0, 1, 0]
    (snapshot,) = (await reader.snapshots([NAMES[0]])).snapshots
    assert snapshot.experiment.definition.config.name == "mended"
    assert await writer.write_snapshots([record(1, 5, "again")]) == 0
    assert await writer.write_snapshots([replace(record(1, 6, "next"), is_failed=True)]) == 1


async def test_only_what_is_not_known_is_read_again(writer, reader):
    await writer.write_snapshots([record(1, 5), record(2, 3)])

    found = {snapshot.experiment.id for snapshot in (await reader.newer({})).snapshots}
    projected = await reader.newer({NAMES[0]: 5, NAMES[1]: 2})
    changed = [snapshot.experiment.id for snapshot in projected.snapshots]

    assert found == set(NAMES)
    assert changed == [NAMES[1]]


async def test_snapshots_are_announced(writer, reader):
    announcements = reader.announcements()
    assert await anext(announcements) is None  # subscribed

    await writer.write_snapshots([record(1, 5), record(1, 4)])

    assert await anext(announcements) == ("generation", 1)
    assert await anext(announcements) == (NAMES[0], 5)
    assert await anext(announcements) is None
    await announcements.aclose()


async def test_an_answer_reaches_whoever_waits_and_whoever_comes_late(writer, reader):
    answer = Answer("ab" * 16, 7, accepted=False, version=2, code="X", message="no", path="a.b")
    waiting = asyncio.create_task(reader.wait_for_answer(answer.command_id, 10))
    assert await reader.wait_for_answer("cd" * 16, 0.05) is None

    await writer.write_answers([answer])

    assert await waiting == answer
    assert await reader.answer(answer.command_id) == answer


async def test_workers_are_counted_while_they_show_signs_of_life(writer, reader):
    identity = await writer.sign_of_life("one", 60)
    assert await writer.sign_of_life("two", 60, {"FORGED_RECEIPT": 3}) == identity
    assert sorted(await reader.live_workers(), key=len) == [{}, {"FORGED_RECEIPT": 3}]

    await writer.sign_off("one")

    assert await reader.live_workers() == [{"FORGED_RECEIPT": 3}]


async def test_processes_that_were_killed_are_forgotten_and_the_living_are_not(
    client, writer, settings
):
    keys = Keys(settings.namespace)
    killed = [f"killed-{number}" for number in range(100)]
    await client.sadd(keys.workers, *killed)
    await client.sadd(keys.apis, *killed)
    presences = [ApiPresence(client, keys, name, SchemaGate()) for name in ("a", "b")]

    for _ in range(200):  # 3 minutes of two processes
        for presence in presences:
            await presence.look()
        await writer.sign_of_life("one", 60)
        await writer.sign_of_life("two", 60)

    assert await client.smembers(keys.workers) == {b"one", b"two"}
    assert await client.smembers(keys.apis) == {b"a", b"b"}
    living = await live_processes(client, keys)
    assert [each.name for each in living] == ["one", "two", "a", "b"]


async def test_an_emptied_redis_is_another(client, writer, settings):
    identity = await writer.sign_of_life("one", 60)

    await client.delete(Keys(settings.namespace).projection)

    assert await writer.sign_of_life("one", 60) != identity


async def test_a_redis_that_is_not_there_is_a_dependency_error():
    async with connect("redis://127.0.0.1:1/0") as client:
        with pytest.raises(DependencyError) as caught:
            await ProjectionReader(client, Keys("x")).newer({})

    assert caught.value.dependency == "redis"


async def test_readers_go_over_to_another_generation_in_one_step(client, settings, writer, reader):
    rebuilt = ProjectionWriter(client, Keys(settings.namespace, generation=2))
    await writer.write_snapshots([record(1, 5, "old")])
    await rebuilt.write_snapshots([record(1, 5, "new"), record(2, 3, "new")])

    async def names() -> tuple[list[str], int]:
        readings = [await reader.snapshots([NAMES[0]]), await reader.newer({})]
        assert len({each.epoch for each in readings}) == 1
        found = [snapshot for each in readings for snapshot in each.snapshots]
        epoch = readings[0].epoch
        return [each.experiment.definition.config.name for each in found], epoch

    before = await names()
    for each in (writer, rebuilt):  # whoever knows first
        each.follow(Generations(served=2, epoch=4))
    await writer.sign_of_life("one", 60)
    there = await names()
    for each in (writer, rebuilt):
        each.follow(Generations(served=1, epoch=6))
    await rebuilt.sign_of_life("two", 60)

    assert before == (["old"] * 2, 0)
    assert there == (["new"] * 3, 4)
    assert await names() == (["old"] * 2, 6)


async def test_an_unserved_generation_writes_over_nothing_of_the_served_one(
    client, settings, writer, reader
):
    rebuilt = ProjectionWriter(client, Keys(settings.namespace, generation=2))
    identity = await writer.sign_of_life("one", 60)
    await writer.write_snapshots([record(1, 5, "old")])

    assert await rebuilt.write_snapshots([record(1, 9, "new")]) == 1
    assert await rebuilt.sign_of_life("two", 60, {"X": 1}) != identity

    assert await writer.sign_of_life("one", 60) == identity
    assert (await reader.snapshots(NAMES)).snapshots[0].experiment.definition.config.name == "old"
    assert await reader.live_workers() == [{}]
    assert await reader.workers_by_generation() == {1: 1, 2: 1}


async def test_an_emptied_redis_does_not_bring_the_first_generation_back(
    client, settings, writer, reader
):
    rebuilt = ProjectionWriter(client, Keys(settings.namespace, generation=2))
    rebuilt.follow(Generations(served=2, epoch=4))
    await rebuilt.write_snapshots([record(1, 5, "new")])
    assert await reader.served() == 2
    await client.delete(*await client.keys(f"{settings.namespace}:*"))

    assert await reader.served() == 2  # by memory
    await rebuilt.write_snapshots([record(1, 5, "new")])
    await writer.write_snapshots([record(1, 7, "old")])
    fresh = ProjectionReader(client, Keys(settings.namespace))

    assert await fresh.served() == 2
    (snapshot,) = (await fresh.newer({})).snapshots
    assert snapshot.experiment.definition.config.name == "new"


async def test_a_dropped_generation_is_removed_and_the_other_one_stays(client, settings, writer):
    rebuilt = Keys(settings.namespace, generation=2)
    await writer.write_snapshots([record(1, 5, "old")])
    await ProjectionWriter(client, rebuilt).write_snapshots([record(1, 5), record(2, 5)])

    assert await ProjectionWriter(client, rebuilt).remove_snapshots() == 2

    assert not [name for name in await client.keys(f"{settings.namespace}:*") if b":g2:" in name]
    pinned = ProjectionReader(client, Keys(settings.namespace), is_pinned=True)
    assert len((await pinned.newer({})).snapshots) == 1
