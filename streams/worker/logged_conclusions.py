"""The statistics at the conclusions of experiments that `decisions` has, by any worker."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress

from schemas.catalogue import DECISIONS
from schemas.codec import Codec
from streams.kafka.records import LogSource, StoredRecord
from streams.model.errors import EventError
from streams.model.events import CONCLUSION, Decision
from streams.wire.decisions import decode_decision
from streams.wire.framing import Framing


class LoggedConclusions:
    """Places in the log of the statistics at every conclusion, read incrementally.

    The first record of an experiment is the one that counts. Only its place is kept in memory.

    Args:
        source: The log.
        framing: Learns the schemas of records before they are decoded.
    """

    def __init__(self, source: LogSource, framing: Framing) -> None:
        self._source = source
        self._framing = framing
        self._ends: dict[int, int] = {}
        self._written: set[int] = set()
        self._places: dict[int, tuple[int, int]] = {}

    def __contains__(self, number: int) -> bool:
        """Return whether the log has the statistics of an experiment."""
        return number in self._places or number in self._written

    def note(self, number: int) -> None:
        """Note that this worker has logged those of an experiment."""
        self._written.add(number)

    async def read(self) -> None:
        """Read on to the end of the log.

        Raises:
            LogError, DependencyError: the log cannot be read.
        """
        batches = self._new()
        while (batch := await asyncio.to_thread(next, batches, None)) is not None:
            partition, records = batch
            await self._framing.prepare(record.value for record in records)
            await asyncio.to_thread(self._take, partition, records, self._framing.codec)

    async def payloads(self, experiments: Collection[int]) -> dict[int, bytes]:
        """Return the logged snapshots of those experiments that have one, as single objects.

        Raises:
            LogError, DependencyError: the log cannot be read.
        """
        places = {each: self._places[each] for each in experiments if each in self._places}
        found = await asyncio.to_thread(self._values, places)
        await self._framing.prepare(found.values())
        decoded: dict[int, Decision] = {
            number: decode_decision(value, self._framing.codec) for number, value in found.items()
        }
        return {number: each.snapshot for number, each in decoded.items() if each.snapshot}

    def _values(self, places: dict[int, tuple[int, int]]) -> dict[int, bytes]:
        """Return the records at these places; each partition is read once."""
        wanted: dict[int, dict[int, int]] = {}
        for number, (partition, offset) in places.items():
            wanted.setdefault(partition, {})[offset] = number
        found: dict[int, bytes] = {}
        for partition, numbers in wanted.items():
            begin, end = min(numbers), max(numbers) + 1
            for records in self._source.read(DECISIONS.name, partition, begin, end):
                for record in records:
                    if record.offset in numbers and record.value is not None:
                        found[numbers[record.offset]] = record.value
        return found

    def _new(self) -> Iterator[tuple[int, Sequence[StoredRecord]]]:
        """Yield the new records of each partition in batches, which may have megabytes each."""
        for partition, span in sorted(self._source.spans(DECISIONS.name).items()):
            begin = max(span.begin, self._ends.get(partition, 0))
            for records in self._source.read(DECISIONS.name, partition, begin, span.end):
                yield partition, records
            self._ends[partition] = max(begin, span.end)

    def _take(self, partition: int, records: Sequence[StoredRecord], codec: Codec) -> None:
        for record in records:
            with suppress(EventError):  # an unreadable record
                decision = decode_decision(record.value, codec)
                if decision.kind == CONCLUSION and decision.snapshot:
                    self._places.setdefault(decision.experiment, (partition, record.offset))
