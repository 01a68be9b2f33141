"""The newest published snapshots, for experiments whose evaluation fails."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from contextlib import suppress

from streams.experiments.snapshot import Snapshot
from streams.kafka.records import LogSource, all_records
from streams.model.errors import EventError
from streams.model.ids import experiment_id
from streams.wire.framing import Framing
from streams.wire.snapshots import decode_snapshot


class LastSnapshots:
    """A reader of the last snapshots of a few experiments from the compacted topic.

    Workers keep none in memory: one may have a megabyte, and almost no experiment needs it.

    Args:
        source: Reads the log.
        topic: Catalogue name of the topic.
        framing: Learns the schemas of records before they are decoded.
    """

    def __init__(self, source: LogSource, topic: str, framing: Framing) -> None:
        self._source = source
        self._topic = topic
        self._framing = framing

    async def read(self, experiments: Collection[int]) -> dict[int, Snapshot]:
        """Return the newest snapshot of each experiment that has one.

        Raises:
            LogError, DependencyError: the log cannot be read.
        """
        wanted = {experiment_id(number).encode(): number for number in experiments}
        found = await asyncio.to_thread(self._newest, wanted)
        await self._framing.prepare(found.values())
        snapshots = {}
        for number, value in found.items():
            with suppress(EventError):  # an unreadable snapshot has no usable statistics
                snapshots[number] = decode_snapshot(value, self._framing.codec)
        return snapshots

    def _newest(self, wanted: dict[bytes, int]) -> dict[int, bytes]:
        found: dict[int, bytes] = {}
        for _, record in all_records(self._source, self._topic):
            if record.key in wanted and record.value is not None:
                found[wanted[record.key]] = record.value
        return found
