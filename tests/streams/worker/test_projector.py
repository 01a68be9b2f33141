"""Redis gets what this worker has, and nothing of what others have or of what has ended."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, cast

from streams.projection.writer import SnapshotRecord
from streams.worker.projector import Projector


class Writer:
    """A Redis in memory that can be emptied."""

    def __init__(self) -> None:
        self.snapshots: dict[str, int] = {}
        self.identity = "first"

    async def write_snapshots(self, records: list[SnapshotRecord]) -> int:
        self.snapshots |= {record.experiment_id: record.version for record in records}
        return len(records)

    async def remove(self, names: list[str]) -> None:
        for name in names:
            self.snapshots.pop(name, None)

    async def sign_of_life(self, *_: Any, **__: Any) -> str:
        return self.identity


async def written_after(projector: Projector, seconds: float = 0.05) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await asyncio.gather(projector.run(), projector.watch())


async def test_snapshots_of_lost_partitions_are_not_written_into_an_emptied_redis(monkeypatch):
    monkeypatch.setattr("streams.worker.projector.SIGN_OF_LIFE_S", 0.01)
    writer = Writer()
    projector = Projector(cast(Any, writer), "w")
    projector.offer(SnapshotRecord("mine", 3, b""))
    projector.offer(SnapshotRecord("lost", 3, b""))
    await written_after(projector)

    projector.forget(["lost"])
    writer.snapshots.clear()
    writer.identity = "emptied"
    await written_after(projector)

    assert writer.snapshots == {"mine": 3}


async def test_what_has_ended_is_removed_and_not_written_again(monkeypatch):
    monkeypatch.setattr("streams.worker.projector.SIGN_OF_LIFE_S", 0.01)
    writer = Writer()
    projector = Projector(cast(Any, writer), "w")
    projector.offer(SnapshotRecord("goes-on", 3, b""))
    projector.offer(SnapshotRecord("ended", 3, b""))
    await written_after(projector)

    projector.remove(["ended"])
    await written_after(projector)
    writer.identity = "emptied"
    await written_after(projector)

    assert writer.snapshots == {"goes-on": 3}
