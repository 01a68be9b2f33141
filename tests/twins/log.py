"""A log in memory: the twin of `KafkaSource` and `ArchiveSource`."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from streams.kafka.records import OffsetRange, StoredRecord, incomplete, truncated

START_MS = 1_700_000_000_000
"""Timestamp of the record at offset 0, unless another is given; each offset adds a millisecond."""


@dataclass
class MemoryLog:
    """A `LogSource` that can be written to.

    A partition exists once it was looked up in `topics`. A record deleted from its list leaves a
    gap, as compaction does.

    Attributes:
        topics: Records by topic and partition, in order of their offsets.
        first: Offset at which a partition begins; records before it do not count.
        piece: Records of one piece of a reading.
        readings: How often the spans of a topic were asked for.
        failures: Raised by the next calls of `spans`, one each.
    """

    topics: defaultdict[tuple[str, int], list[StoredRecord]] = field(
        default_factory=lambda: defaultdict(list)
    )
    first: defaultdict[tuple[str, int], int] = field(default_factory=lambda: defaultdict(int))
    piece: int = 3
    readings: Counter[str] = field(default_factory=Counter)
    failures: list[Exception] = field(default_factory=list)
    _reserved: defaultdict[tuple[str, int], int] = field(default_factory=lambda: defaultdict(int))

    def append(
        self,
        topic: str,
        partition: int,
        value: bytes | None,
        key: bytes | None = b"",
        timestamp: int | None = None,
    ) -> int:
        """Append a record and return its offset."""
        offset = self.span(topic, partition).end
        at_ms = START_MS + offset if timestamp is None else timestamp
        self.topics[topic, partition].append(StoredRecord(offset, at_ms, key, value))
        return offset

    def skip(self, topic: str, partition: int, offsets: int) -> None:
        """Use offsets without a record, as an aborted transaction does."""
        self._reserved[topic, partition] = self.span(topic, partition).end + offsets

    def replace(self, topic: str, partition: int, records: Sequence[StoredRecord]) -> None:
        """Hold these records alone; the partition begins at the first of them."""
        self.topics[topic, partition] = list(records)
        self.first[topic, partition] = records[0].offset if records else 0

    def span(self, topic: str, partition: int) -> OffsetRange:
        """Return which offsets of a partition are there."""
        place = topic, partition
        records, first = self.topics[place], self.first[place]
        end = records[-1].offset + 1 if records else 0
        return OffsetRange(first, max(first, end, self._reserved[place]))

    def spans(self, topic: str) -> Mapping[int, OffsetRange]:
        self.readings[topic] += 1
        if self.failures:
            raise self.failures.pop(0)
        return {p: self.span(topic, p) for name, p in sorted(self.topics) if name == topic}

    def read(
        self, topic: str, partition: int, begin: int, end: int
    ) -> Iterator[Sequence[StoredRecord]]:
        if begin >= end:
            return
        span = self.span(topic, partition)
        if begin < span.begin:
            raise truncated(topic, partition, begin, span.begin)
        records = [each for each in self.topics[topic, partition] if begin <= each.offset < end]
        for start in range(0, len(records), self.piece):
            yield records[start : start + self.piece]
        if span.end < end:
            raise incomplete(topic, partition, end, span.end)
