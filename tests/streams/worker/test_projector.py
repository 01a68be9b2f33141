"""Redis gets what this worker has, and nothing of what others have or of what has ended."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import cast

from streams.model.generations import FIRST
from streams.projection.writer import ProjectionWriter, SnapshotRecord
from streams.worker.projector import Projector
from tests.twins.projection import MemoryProjection

RUN_S = 0.02
"""Time for which a projector runs: two of its shortened heartbeats."""


async def written_after(projector: Projector, seconds: float = 0.05) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await asyncio.gather(projector.run(), projector.send_heartbeats())


async def test_snapshots_of_lost_partitions_are_not_written_into_an_emptied_redis(monkeypatch):
    monkeypatch.setattr("streams.worker.projector.HEARTBEAT_INTERVAL_S", 0.01)
    redis = MemoryProjection()
    projector = Projector(cast(ProjectionWriter, redis.writer()), "w")
    projector.offer(SnapshotRecord("mine", 3, b""))
    projector.offer(SnapshotRecord("lost", 3, b""))
    await written_after(projector)

    projector.forget(["lost"])
    redis.flush()
    await written_after(projector)

    assert list(redis.snapshots[FIRST]) == ["mine"]


async def test_what_has_ended_is_removed_and_not_written_again(monkeypatch):
    monkeypatch.setattr("streams.worker.projector.HEARTBEAT_INTERVAL_S", 0.01)
    redis = MemoryProjection()
    projector = Projector(cast(ProjectionWriter, redis.writer()), "w")
    projector.offer(SnapshotRecord("goes-on", 3, b""))
    projector.offer(SnapshotRecord("ended", 3, b""))
    await written_after(projector)

    projector.remove(["ended"])
    await written_after(projector)
    redis.flush()
    await written_after(projector)

    assert list(redis.snapshots[FIRST]) == ["goes-on"]


async def test_nothing_is_written_before_the_first_heartbeat_could_tell_that_it_was_lost(
    monkeypatch,
):
    monkeypatch.setattr("streams.worker.projector.HEARTBEAT_INTERVAL_S", 0.01)
    redis = MemoryProjection()
    projector = Projector(cast(ProjectionWriter, redis.writer()), "w")
    projector.offer(SnapshotRecord("written", 3, b""))
    with suppress(TimeoutError):
        async with asyncio.timeout(RUN_S):
            await projector.run()
    assert list(redis.snapshots[FIRST]) == []

    await written_after(projector)
    assert list(redis.snapshots[FIRST]) == ["written"]
