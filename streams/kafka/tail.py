"""A topic read again and again, each time from where it was read before to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from schemas.codec import Codec
from streams.kafka.records import LogSource, StoredRecord
from streams.wire.framing import Framing


class LogTail:
    """Reader of the records that a topic received since the last read.

    Args:
        source: The log.
        topic: The topic's name in the catalogue.
        framing: Learns the schemas of records before they are decoded.
    """

    def __init__(self, source: LogSource, topic: str, framing: Framing) -> None:
        self._source = source
        self._topic = topic
        self._framing = framing
        self._ends: dict[int, int] = {}

    async def take(self, take: Callable[[Sequence[StoredRecord], Codec], None]) -> None:
        """Give `take` the new records, in a thread; if it fails, they are new the next time, too.

        Raises:
            LogError, DependencyError: the log cannot be read.
        """
        records, ends = await asyncio.to_thread(self._new)
        await self._framing.prepare(record.value for record in records)
        await asyncio.to_thread(take, records, self._framing.codec)
        self._ends = ends

    def _new(self) -> tuple[list[StoredRecord], dict[int, int]]:
        found: list[StoredRecord] = []
        ends: dict[int, int] = {}
        for partition, span in sorted(self._source.spans(self._topic).items()):
            begin = max(span.begin, self._ends.get(partition, 0))
            for records in self._source.read(self._topic, partition, begin, span.end):
                found += records
            ends[partition] = max(begin, span.end)
        return found, ends
