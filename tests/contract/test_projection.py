"""Contract of the projection that workers write and the API reads: in memory and in Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from typing import Protocol

import pytest
from redis.asyncio import Redis

from streams.analysis.evaluate import evaluate
from streams.experiments.history import HistoryEntry, entries_json
from streams.experiments.snapshot import Snapshot
from streams.experiments.statistics.recommendation import ReasonCode, RecommendedAction
from streams.experiments.time_points import TimePoint
from streams.experiments.transitions import apply_command
from streams.model.errors import DependencyError, EventError
from streams.model.events import Answer, Command, CommandKind
from streams.model.generations import FIRST, Generations
from streams.model.ids import experiment_id
from streams.projection.connection import connect
from streams.projection.keys import Keys
from streams.projection.reader import ProjectedSnapshots, ProjectionReader
from streams.projection.writer import HistoryRecord, ProjectionWriter, SnapshotRecord
from streams.settings import Settings
from streams.tallies.cell import Tally
from streams.wire.snapshots import encode_snapshot
from streams.wire.time_points import encode_time_point
from tests.patience import patience
from tests.twins.projection import (
    MemoryProjection,
    MemoryProjectionReader,
    MemoryProjectionWriter,
)

NAMES = [experiment_id(number) for number in (1, 2)]
ANSWER = Answer("ab" * 16, 7, accepted=False, version=2, code="X", message="no", path="a.b")

Writer = ProjectionWriter | MemoryProjectionWriter
Reader = ProjectionReader | MemoryProjectionReader


class Projection(Protocol):
    """Writer and reader of one projection."""

    def writer(self, generation: int = FIRST) -> Writer:
        """Return a worker's side."""

    def reader(self, generation: int = FIRST, *, is_pinned: bool = False) -> Reader:
        """Return the API's side."""

    async def empty(self) -> None:
        """Lose everything."""

    async def holds(self, generation: int) -> bool:
        """Return whether anything of a generation after the first is left."""


class InMemory(MemoryProjection):
    async def empty(self) -> None:
        self.flush()

    async def holds(self, generation: int) -> bool:
        return bool(self.snapshots.get(generation)) or generation in self._marks


class InRedis:
    def __init__(self, client: Redis, namespace: str) -> None:
        self.client = client
        self.namespace = namespace

    def writer(self, generation: int = FIRST) -> ProjectionWriter:
        return ProjectionWriter(self.client, Keys(self.namespace, generation))

    def reader(self, generation: int = FIRST, *, is_pinned: bool = False) -> ProjectionReader:
        keys = Keys(self.namespace, generation)
        return ProjectionReader(self.client, keys, is_pinned=is_pinned)

    async def empty(self) -> None:
        await self.client.delete(*await self.client.keys(f"{self.namespace}:*"))

    async def holds(self, generation: int) -> bool:
        return bool(await self.client.keys(f"{self.namespace}:*:g{generation}:*"))


@pytest.fixture
async def projection(real: Settings | None) -> AsyncIterator[Projection]:
    if real is None:
        yield InMemory()
        return
    async with connect(real.redis_url) as client:
        yield InRedis(client, real.namespace)


@pytest.fixture
def writer(projection: Projection) -> Writer:
    return projection.writer()


@pytest.fixture
def reader(projection: Projection) -> Reader:
    return projection.reader()


def record(number: int, version: int, name: str = "x", *, failed: bool = False) -> SnapshotRecord:
    config = {"name": name, "type": "thompson_sampling", "primaryMetric": "click"}
    variants = [{"name": "a", "isControl": True}, {"name": "b"}]
    command = Command(
        "0" * 32, number, CommandKind.CREATE, 1, {"config": config, "variants": variants}
    )
    snapshot = evaluate(apply_command(None, command), Tally(), ())
    return SnapshotRecord(snapshot.experiment.id, version, encode_snapshot(snapshot), failed)


def titles(found: ProjectedSnapshots | list[Snapshot]) -> list[str]:
    snapshots = found.snapshots if isinstance(found, ProjectedSnapshots) else found
    return [snapshot.experiment.definition.config.name for snapshot in snapshots]


async def test_a_history_never_gives_way_to_one_of_less_of_the_log(projection):
    writer, reader = projection.writer(), projection.reader()
    assert await reader.history(NAMES[0]) == ()
    entries = [HistoryEntry(f"{n:032x}", n, "pause", "key:a") for n in range(3)]

    def record(version: tuple[int, int], n: int) -> HistoryRecord:
        return HistoryRecord(NAMES[0], version, entries_json(entries[:n]))

    await writer.write_histories([record((5, 1), 2)])
    for version in ((4, 9), (5, 0)):
        await writer.write_histories([record(version, 1)])
        assert await reader.history(NAMES[0]) == tuple(entries[:2])
    await writer.write_histories([record((5, 2), 3)])
    assert await reader.history(NAMES[0]) == tuple(entries)
    await writer.remove([NAMES[0]])
    assert await reader.history(NAMES[0]) == ()


async def test_an_older_snapshot_never_replaces_a_newer_one(writer, reader) -> None:
    assert await writer.write_snapshots([record(1, 5, "new"), record(2, 3)]) == 2

    assert await writer.write_snapshots([record(1, 4, "old"), record(1, 5, "same")]) == 0

    assert titles(await reader.snapshots([NAMES[0]])) == ["new"]


async def test_a_command_is_newer_than_any_cells(writer, reader) -> None:
    """A worker that takes over may apply a command before it has the cells of the one before."""
    counted = replace(record(1, 1403, "counted"), n_commands=3)
    paused = replace(record(1, 1004, "paused"), n_commands=4)

    written = [await writer.write_snapshots([each]) for each in (counted, paused, counted)]

    assert written == [1, 1, 0]
    assert titles(await reader.snapshots([NAMES[0]])) == ["paused"]


async def test_statistics_replace_a_failed_evaluation_of_the_same_version_and_never_back(
    writer, reader
) -> None:
    """A mended worker evaluates the cells again on which another one had failed."""
    failed = record(1, 5, "failed", failed=True)
    mended, late = record(1, 5, "mended"), record(1, 5, "late", failed=True)

    written = [await writer.write_snapshots([each]) for each in (failed, failed, mended, late)]

    assert written == [1, 0, 1, 0]
    assert titles(await reader.snapshots([NAMES[0]])) == ["mended"]
    assert await writer.write_snapshots([record(1, 5, "again")]) == 0
    assert await writer.write_snapshots([record(1, 6, "next", failed=True)]) == 1


async def test_snapshots_come_as_they_are_asked_for_and_are_those_that_there_are(
    writer, reader
) -> None:
    assert await reader.snapshots(NAMES) == ProjectedSnapshots(0, [])
    assert await reader.newer({}) == ProjectedSnapshots(0, [], names=frozenset())

    await writer.write_snapshots([record(1, 5, "one"), record(2, 3, "two")])

    assert titles(await reader.snapshots([NAMES[1], "exp_0000000000000", NAMES[0]])) == [
        "two",
        "one",
    ]
    assert (await reader.snapshots([])).snapshots == []


async def test_only_what_is_not_known_is_read_again(writer, reader) -> None:
    await writer.write_snapshots([record(1, 5), record(2, 3)])

    everything = await reader.newer({})
    changed = await reader.newer({NAMES[0]: 5, NAMES[1]: 2})
    ahead = await reader.newer({NAMES[0]: 6, NAMES[1]: 3})  # Redis was emptied since, and refilled

    assert [each.experiment.id for each in everything.snapshots] == NAMES
    assert [each.experiment.id for each in changed.snapshots] == [NAMES[1]]
    assert [each.experiment.id for each in ahead.snapshots] == [NAMES[0]]
    assert everything.names == changed.names == ahead.names == frozenset(NAMES)


async def test_a_snapshot_that_cannot_be_decoded_is_named_and_hides_no_other(
    writer, reader
) -> None:
    await writer.write_snapshots([SnapshotRecord(NAMES[0], 5, b"noise"), record(2, 3, "good")])

    for found in (await reader.snapshots(NAMES), await reader.newer({})):
        assert titles(found) == ["good"]
        assert found.unreadable.keys() == {NAMES[0]}
        with pytest.raises(EventError):
            found.all()


async def test_what_was_removed_is_gone_and_may_be_written_again(writer, reader) -> None:
    await writer.write_snapshots([record(1, 5), record(2, 3)])

    await writer.remove([NAMES[0], "exp_0000000000000"])

    assert (await reader.newer({})).names == {NAMES[1]}
    assert await writer.write_snapshots([record(1, 4)]) == 1


async def test_snapshots_are_announced_once_each(writer, reader) -> None:
    announcements = reader.announcements()
    assert await anext(announcements) is None  # subscribed

    await writer.write_snapshots([record(1, 5), record(1, 4), record(1, 5)])

    assert await anext(announcements) == ("generation", 1)
    assert await anext(announcements) == (NAMES[0], 5)
    assert await anext(announcements) is None
    await writer.write_snapshots([record(1, 6, failed=True)])
    assert await anext(announcements) == (NAMES[0], 6)
    await announcements.aclose()


async def test_an_answer_reaches_waiting_and_late_callers(writer, reader) -> None:
    waiting = asyncio.create_task(reader.wait_for_answer(ANSWER.command_id, 10))
    assert await reader.wait_for_answer("cd" * 16, 0.05) is None
    assert await reader.answer(ANSWER.command_id) is None

    await writer.write_answers([replace(ANSWER, command_id="ef" * 16), ANSWER])

    assert await waiting == ANSWER
    assert await reader.answer(ANSWER.command_id) == ANSWER
    assert await reader.wait_for_answer(ANSWER.command_id, 10) == ANSWER


@pytest.mark.integration
async def test_a_wait_for_an_answer_ends_whatever_becomes_of_its_cancellation(
    settings: Settings,
) -> None:
    """Before Python 3.12 asyncio.wait_for swallows one that comes as a send has just ended."""

    class Swallowing(ProjectionReader):
        async def answer(self, command_id: str) -> Answer | None:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0.2)
            return await super().answer(command_id)

    async with connect(settings.redis_url) as client, patience():
        reader = Swallowing(client, Keys(settings.namespace))

        assert await reader.wait_for_answer(ANSWER.command_id, 0.05) is None


async def test_workers_are_counted_while_they_show_signs_of_life(writer, reader) -> None:
    identity = await writer.heartbeat("one", 60)
    assert await writer.heartbeat("two", 60, {"FORGED_RECEIPT": 3}) == identity
    assert sorted(await reader.live_workers(), key=len) == [{}, {"FORGED_RECEIPT": 3}]

    await writer.sign_off("one")
    await writer.sign_off("never was there")

    assert await reader.live_workers() == [{"FORGED_RECEIPT": 3}]


async def test_a_worker_that_falls_silent_is_counted_no_longer(writer, reader) -> None:
    await writer.heartbeat("one", 1, misplaced=3)
    await writer.heartbeat("two", 60)
    await asyncio.sleep(1.1)

    assert await reader.live_workers() == [{}]
    assert await reader.misplaced() == 0
    assert await reader.workers_by_generation() == {1: 1}


async def test_what_live_workers_moved_and_lack_is_added_up(projection, writer, reader) -> None:
    await writer.heartbeat("one", 60, misplaced=3, lacking=["WRITE on topic b"])
    rebuilt = projection.writer(2)
    await rebuilt.heartbeat("two", 60, misplaced=4, lacking=["READ on x", "WRITE on topic b"])

    assert await reader.misplaced() == 7
    assert await reader.lacking() == ("READ on x", "WRITE on topic b")


async def test_an_emptied_redis_is_another(projection, writer, reader) -> None:
    identity = await writer.heartbeat("one", 60)
    await writer.write_snapshots([record(1, 5)])
    await writer.write_answers([ANSWER])

    await projection.empty()

    assert (await reader.newer({})).names == frozenset()
    assert await reader.answer(ANSWER.command_id) is None
    assert await reader.live_workers() == []
    assert await writer.heartbeat("one", 60) != identity


async def test_readers_go_over_to_another_generation_in_one_step(
    projection, writer, reader
) -> None:
    rebuilt = projection.writer(2)
    await writer.write_snapshots([record(1, 5, "old")])
    await rebuilt.write_snapshots([record(1, 5, "new"), record(2, 3, "new")])

    async def names() -> tuple[list[str], int]:
        readings = [await reader.snapshots([NAMES[0]]), await reader.newer({})]
        assert len({each.epoch for each in readings}) == 1
        return [title for each in readings for title in titles(each)], readings[0].epoch

    before = await names()
    for each in (writer, rebuilt):  # in whichever order
        each.follow(Generations(active=2, epoch=4))
    await writer.heartbeat("one", 60)
    there = await names()
    for each in (writer, rebuilt):
        each.follow(Generations(active=1, epoch=6))
    await rebuilt.heartbeat("two", 60)

    assert before == (["old"] * 2, 0)
    assert there == (["new"] * 3, 4)
    assert await names() == (["old"] * 2, 6)


async def test_a_switch_is_announced_once_and_an_older_one_changes_nothing(
    projection, writer, reader
) -> None:
    rebuilt = projection.writer(2)
    await writer.heartbeat("one", 60)
    announcements = reader.announcements()
    assert await anext(announcements) is None

    rebuilt.follow(Generations(active=2, epoch=4))
    await rebuilt.heartbeat("two", 60)
    await rebuilt.heartbeat("two", 60)
    await writer.heartbeat("one", 60)  # has not read the change yet

    assert await anext(announcements) == ("generation", 2)
    assert await anext(announcements) is None
    assert await reader.active_generation() == 2
    await announcements.aclose()


async def test_an_unserved_generation_writes_over_nothing_of_the_served_one(
    projection, writer, reader
) -> None:
    rebuilt = projection.writer(2)
    identity = await writer.heartbeat("one", 60)
    await writer.write_snapshots([record(1, 5, "old")])

    assert await rebuilt.write_snapshots([record(1, 9, "new")]) == 1
    assert await rebuilt.heartbeat("two", 60, {"X": 1}) != identity

    assert await writer.heartbeat("one", 60) == identity
    assert titles(await reader.snapshots(NAMES)) == ["old"]
    assert titles(await projection.reader(2, is_pinned=True).newer({})) == ["new"]
    assert await reader.live_workers() == [{}]
    assert await reader.workers_by_generation() == {1: 1, 2: 1}


async def test_an_emptied_redis_does_not_bring_the_first_generation_back(
    projection, writer, reader
) -> None:
    rebuilt = projection.writer(2)
    rebuilt.follow(Generations(active=2, epoch=4))
    await rebuilt.write_snapshots([record(1, 5, "new")])
    assert await reader.active_generation() == 2
    await projection.empty()

    assert await reader.active_generation() == 2  # by memory
    await rebuilt.write_snapshots([record(1, 5, "new")])
    await writer.write_snapshots([record(1, 7, "old")])
    fresh = projection.reader()

    assert await fresh.active_generation() == 2
    assert titles(await fresh.newer({})) == ["new"]


async def test_a_dropped_generation_is_removed_and_the_other_one_stays(projection, writer) -> None:
    rebuilt = projection.writer(2)
    await writer.write_snapshots([record(1, 5, "old")])
    await rebuilt.write_snapshots([record(1, 5), record(2, 5)])
    await rebuilt.heartbeat("two", 60)
    assert await projection.holds(2)

    assert await rebuilt.remove_snapshots() == 2

    assert not await projection.holds(2)
    pinned = projection.reader(is_pinned=True)
    assert titles(await pinned.newer({})) == ["old"]


@pytest.mark.parametrize("is_twin", [True, False])
async def test_a_redis_that_is_not_there_is_a_dependency_error_of_every_call(is_twin) -> None:
    async with connect("redis://127.0.0.1:1/0") as client:
        away = MemoryProjection(is_away=True) if is_twin else InRedis(client, "x")
        writer, reader = away.writer(), away.reader()

        for call in (
            lambda: writer.write_snapshots([record(1, 5)]),
            lambda: writer.remove(NAMES),
            lambda: writer.write_answers([ANSWER]),
            lambda: writer.heartbeat("one", 60),
            lambda: writer.sign_off("one"),
            writer.remove_snapshots,
            lambda: reader.snapshots(NAMES),
            lambda: reader.newer({}),
            reader.active_generation,
            lambda: anext(reader.announcements()),
            lambda: reader.answer("ab" * 16),
            lambda: reader.wait_for_answer("ab" * 16, 1.0),
            reader.live_workers,
            reader.misplaced,
            reader.lacking,
            reader.workers_by_generation,
        ):
            with pytest.raises(DependencyError) as caught:
                await call()
            assert caught.value.dependency == "redis"


async def test_what_was_known_at_a_conclusion_is_kept_until_its_experiment_is_removed(
    writer, reader
) -> None:
    kept = record(1, 5, "kept")
    await writer.write_snapshots([kept, record(2, 3)])
    await writer.write_conclusions({NAMES[0]: kept.payload})

    await writer.write_snapshots([record(1, 6, "late")])
    found = await reader.conclusion(NAMES[0])

    assert found is not None
    assert titles([found]) == ["kept"]
    assert await reader.conclusion(NAMES[1]) is None
    await writer.remove([NAMES[0]])
    assert await reader.conclusion(NAMES[0]) is None


async def test_points_of_time_series_are_written_removed_and_go_with_their_experiment(
    writer, reader
) -> None:
    payloads = {slot: encode_time_point(_point(slot)) for slot in (3, 5, 40)}
    await writer.write_time_points({NAMES[0]: payloads, NAMES[1]: {3: payloads[3]}})
    await writer.write_time_points({NAMES[0]: {5: None}})

    assert await reader.time_point_slots(NAMES[0]) == [3, 40]
    assert await writer.time_point_slots(NAMES[0]) == frozenset({3, 40})
    found = await reader.time_points(NAMES[0], [40, 5, 3])
    assert [point.slot for point in found] == [3, 40]

    await writer.remove([NAMES[0]])

    assert await reader.time_point_slots(NAMES[0]) == []
    assert await reader.time_points(NAMES[1], []) == []
    assert len(await reader.time_points(NAMES[1], [3])) == 1


def _point(slot: int) -> TimePoint:
    return TimePoint(
        experiment=1,
        at_ms=slot * 1_000,
        version=slot,
        experiment_version=1,
        generation=1,
        status="running",
        recommended_action=RecommendedAction.CONTINUE,
        reason_code=ReasonCode.LEAD_UNCERTAIN,
        variants=(),
    )
