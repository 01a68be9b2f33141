"""Records of the log, wherever it is kept: partitions in order of their offsets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from streams.model.errors import EngineError
from streams.model.partitioning import Partition


class LogError(EngineError):
    """Records that are needed are not in the log.

    `LOG_TRUNCATED`: they were deleted at its beginning; replay from an archive that has them.
    `LOG_INCOMPLETE`: it ends before them.
    """

    dependency = "kafka"


@dataclass(frozen=True, slots=True)
class OffsetRange:
    """Range of the offsets that a partition holds.

    Attributes:
        begin: Offset of the first record.
        end: Offset after the last record; equal to `begin` when the range is empty.
    """

    begin: int
    end: int


class StoredRecord(NamedTuple):  # a tuple is made in a third of the time a frozen dataclass takes
    """A record of the log.

    Attributes:
        offset: Its place in the partition.
        timestamp: When Kafka took it, in milliseconds since the epoch.
        key: Its key.
        value: Its bytes; None for a tombstone.
    """

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None


class LogSource(Protocol):
    """Topics of one installation; pickled, it reads them from another process too."""

    def spans(self, topic: str) -> Mapping[int, OffsetRange]:
        """Return what is there of every partition of a topic.

        Args:
            topic: Its name in the catalogue, without the prefix of the installation.

        Raises:
            DependencyError: the source does not answer.
        """

    def read(
        self, topic: str, partition: int, begin: int, end: int
    ) -> Iterator[Sequence[StoredRecord]]:
        """Yield the records in [begin, end), in order and in pieces of any size.

        Offsets without a record, as compaction and transactions leave them, are skipped.

        Args:
            topic: Its name in the catalogue.
            partition: The partition.
            begin: First offset; at or behind it there must be no record missing.
            end: Offset after the last one; the log must reach it.

        Raises:
            LogError: the log begins after `begin`, or ends before `end`.
            DependencyError: the source does not answer.
        """


def truncated(topic: str, partition: int, begin: int, first: int) -> LogError:
    """Return the error of a log that begins too late."""
    return LogError(
        "LOG_TRUNCATED",
        f"{topic}/{partition} begins at offset {first}, and the records from {begin} on are "
        "needed; replay from an archive that has them",
        f"{topic}/{partition}",
    )


def incomplete(topic: str, partition: int, end: int, last: int) -> LogError:
    """Return the error of a log that ends too early."""
    return LogError(
        "LOG_INCOMPLETE",
        f"{topic}/{partition} ends before offset {last}, and the record at {end - 1} is needed",
        f"{topic}/{partition}",
    )


def records_since(
    source: LogSource, topic: str, positions: MutableMapping[int, int]
) -> Iterator[tuple[Partition, Sequence[StoredRecord]]]:
    """Yield (partition, records) of all that is behind some positions now, in pieces of any size.

    Args:
        source: The log.
        topic: Its name in the catalogue.
        positions: Offsets to read on from, by partition; of one without, from its beginning. Those
            of a piece are moved once the next one is asked for, so that a piece at which the
            caller fails is read again.

    Raises:
        LogError, DependencyError: as `LogSource` does.
    """
    spans = source.spans(topic)
    total = max(spans, default=-1) + 1
    for partition, span in sorted(spans.items()):
        begin = max(span.begin, positions.get(partition, 0))
        for records in source.read(topic, partition, begin, span.end):
            yield Partition(partition, total), records
            if records:
                positions[partition] = records[-1].offset + 1
        positions[partition] = max(begin, span.end)


def first_since(
    source: LogSource, topic: str, positions: Mapping[int, int], at_ms: int
) -> dict[int, int]:
    """Return the offset of the first record of each partition that came at a time or later.

    It is the end of the partition where none did. Kafka looks times up by an index; an embedded
    broker may name an earlier offset, so what is there is looked at.

    Args:
        source: The log.
        topic: Its name in the catalogue.
        positions: Offsets to look from, by partition; of one without, from its beginning.
        at_ms: The time, in milliseconds since the epoch.

    Raises:
        LogError, DependencyError: as `LogSource` does.
    """
    found = {}
    for partition, span in sorted(source.spans(topic).items()):
        begin = max(span.begin, positions.get(partition, 0))
        later = (
            record.offset
            for records in source.read(topic, partition, begin, span.end)
            for record in records
            if record.timestamp >= at_ms
        )
        found[partition] = next(later, max(begin, span.end))
    return found


def all_records(source: LogSource, topic: str) -> Iterator[tuple[int, StoredRecord]]:
    """Yield (partition, record) of all that is in a topic now, partition by partition.

    Raises:
        LogError, DependencyError: as `LogSource` does.
    """
    for partition, records in records_since(source, topic, {}):
        for record in records:
            yield partition.number, record
