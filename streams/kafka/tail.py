"""A topic read again and again, each time from where it was read before to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from schemas.codec import Codec
from streams.kafka.records import LogSource, StoredRecord, records_since
from streams.model.partitioning import Partition
from streams.wire.framing import Framing

Take = Callable[[Partition, Sequence[StoredRecord], Codec], None]
"""Function that takes records of a partition, and the codec that decodes them."""


class LogTail:
    """Reader of the records that a topic received since the last read.

    They are read in pieces, so that a topic need not fit the memory. Reads that overlap take turns.

    Args:
        source: The log.
        topic: The topic's name in the catalogue.
        framing: Learns the schemas of records before they are decoded.
    """

    def __init__(self, source: LogSource, topic: str, framing: Framing) -> None:
        self._source = source
        self._topic = topic
        self._framing = framing
        self._positions: dict[int, int] = {}
        self._turn = asyncio.Lock()

    async def take(self, take: Take) -> None:
        """Give `take` the new records, in a thread; a piece it fails at is new the next time, too.

        Raises:
            LogError, DependencyError: the log cannot be read.
        """
        async with self._turn:
            pieces = records_since(self._source, self._topic, self._positions)
            while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
                partition, records = piece
                await self._framing.prepare(record.value for record in records)
                await asyncio.to_thread(take, partition, records, self._framing.codec)
