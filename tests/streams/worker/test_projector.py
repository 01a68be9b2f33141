"""Redis gets what this worker has, and nothing of what others have or of what has ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import cast

import pytest

from streams.model.errors import DependencyError
from streams.model.generations import FIRST
from streams.projection.writer import ProjectionWriter, SnapshotRecord
from streams.worker.projector import Projector
from tests.patience import until_true
from tests.twins.projection import MemoryProjection

BRIEFLY_S = 0.02
"""Time within which nothing may be written."""


class Case:
    """A projector and its Redis.

    Attributes:
        redis: Its Redis.
        projector: The projector, which has `offered` snapshots for it.
    """

    def __init__(self, *offered: str) -> None:
        self.redis = MemoryProjection()
        self.projector = Projector(cast(ProjectionWriter, self.redis.writer()), "w")
        for name in offered:
            self.projector.offer(SnapshotRecord(name, 3, b""))

    def written(self) -> list[str]:
        """Return the experiments whose snapshots Redis holds."""
        return sorted(self.redis.snapshots[FIRST])

    async def run_until(self, condition: Callable[[], bool]) -> None:
        running = asyncio.gather(self.projector.run(), self.projector.send_heartbeats())
        await until_true(condition)
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


@pytest.fixture(autouse=True)
def frequent_heartbeats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.worker.projector.HEARTBEAT_INTERVAL_S", 0.01)


async def test_snapshots_of_lost_partitions_are_not_written_into_an_emptied_redis() -> None:
    case = Case("mine", "lost")
    await case.run_until(lambda: case.written() == ["lost", "mine"])

    case.projector.forget(["lost"])
    case.redis.flush()
    await case.run_until(lambda: bool(case.written()))  # all at once

    assert case.written() == ["mine"]


async def test_what_has_ended_is_removed_and_not_written_again() -> None:
    case = Case("goes-on", "ended")
    await case.run_until(lambda: case.written() == ["ended", "goes-on"])

    case.projector.remove(["ended"])
    await case.run_until(lambda: case.written() == ["goes-on"])
    case.redis.flush()
    await case.run_until(lambda: bool(case.written()))

    assert case.written() == ["goes-on"]


async def test_what_moves_during_a_write_that_fails_is_not_written_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    case = Case("mine", "lost")
    await case.projector.writer.heartbeat("w", 5)
    case.projector.is_known.set()

    async def fails(_: object) -> int:
        case.projector.forget(["lost"])
        raise DependencyError("redis", "it does not answer")

    with monkeypatch.context() as patched:
        patched.setattr(case.projector.writer, "write_snapshots", fails)
        with pytest.raises(DependencyError):
            await case.projector._write()
    await case.projector._write()

    assert case.written() == ["mine"]


async def test_a_redis_that_is_emptied_during_a_write_gets_all_of_it_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    case = Case("mine")
    await case.run_until(lambda: case.written() == ["mine"])
    write = case.projector.writer.write_snapshots

    async def emptied_afterwards(records: Sequence[SnapshotRecord]) -> int:
        found = await write(records)
        case.redis.flush()
        sending = asyncio.create_task(case.projector.send_heartbeats())
        await until_true(case.projector._changed.is_set)
        sending.cancel()
        return found

    case.projector.offer(SnapshotRecord("mine", 4, b""))
    case.projector._changed.clear()
    with monkeypatch.context() as patched:
        patched.setattr(case.projector.writer, "write_snapshots", emptied_afterwards)
        await case.projector._write()
    await case.projector._write()

    assert case.written() == ["mine"]


async def test_nothing_is_written_before_the_first_heartbeat_could_show_that_it_was_lost() -> None:
    case = Case("written")
    with suppress(TimeoutError):
        async with asyncio.timeout(BRIEFLY_S):
            await case.projector.run()
    assert case.written() == []

    await case.run_until(lambda: case.written() == ["written"])
