"""Verification of an archive: files are unchanged, and every offset is there once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from streams.ops.archive.container import checksum, read_blocks, read_checksum, read_head
from streams.ops.archive.errors import ArchiveError
from streams.ops.archive.layout import ArchiveFile, files_of, partitions_of, topics_of


@dataclass(frozen=True, slots=True)
class Problem:
    """Fault of a file.

    Attributes:
        path: The file.
        message: One sentence for a person.
    """

    path: str
    message: str


@dataclass(slots=True)
class TopicReport:
    """Content of an archive by topic.

    Attributes:
        topic: Name in the catalogue.
        partitions: How many it has.
        files: How many there are.
        records: How many records they hold.
        bytes: Size of the files.
        first_at_ms: Least timestamp, in milliseconds since the epoch; None without a record.
        last_at_ms: Largest timestamp.
        missing: Offsets that Kafka had deleted before they were archived, as `--accept-gap` wrote.
        unused: Offsets between records that Kafka has no record at, as transactions leave them.
        problems: What is wrong.
    """

    topic: str
    partitions: int = 0
    files: int = 0
    records: int = 0
    bytes: int = 0
    first_at_ms: int | None = None
    last_at_ms: int | None = None
    missing: int = 0
    unused: int = 0
    problems: list[Problem] = field(default_factory=list)

    def count(self, timestamp_ms: int) -> None:
        """Add a record."""
        self.records += 1
        if self.first_at_ms is None or timestamp_ms < self.first_at_ms:
            self.first_at_ms = timestamp_ms
        if self.last_at_ms is None or timestamp_ms > self.last_at_ms:
            self.last_at_ms = timestamp_ms


def bytes_of(directory: Path) -> int:
    """Return the size of all files of an archive."""
    return sum(
        file.path.stat().st_size
        for topic in topics_of(directory)
        for partition in partitions_of(directory, topic)
        for file in files_of(directory, topic, partition)
    )


def verify(directory: Path, on_file: Callable[[int], None] | None = None) -> list[TopicReport]:
    """Read every file of an archive and return what is there, by topic.

    Args:
        directory: The archive; a run may write to it at the same time.
        on_file: Called with the size in bytes of each file that was read.
    """
    reports = []
    for topic in topics_of(directory):
        report = TopicReport(topic)
        for partition in partitions_of(directory, topic):
            report.partitions += 1
            position: int | None = None
            for file in files_of(directory, topic, partition):
                size = file.path.stat().st_size
                report.files += 1
                report.bytes += size
                position = _verify_file(report, file, partition, position)
                if on_file is not None:
                    on_file(size)
        reports.append(report)
    return reports


def _verify_file(
    report: TopicReport, file: ArchiveFile, partition: int, position: int | None
) -> int | None:
    """Read a file that should continue at `position`; return where it ends.

    None stands for a place that is not known: before the first file, and behind one that cannot be
    read. What follows then is not blamed for it.
    """

    def wrong(message: str) -> None:
        report.problems.append(Problem(str(file.path), message))

    try:
        head = read_head(file.path)
        if (head.topic, head.partition, head.first_offset) != (
            report.topic,
            partition,
            file.first_offset,
        ):
            wrong(f"it is of {head.topic}/{head.partition} from offset {head.first_offset} on")
            return None
        # Deflate has no checksum: most changed bits would only be other bytes.
        if read_checksum(file) != checksum(file.path):
            wrong(f"it is not what it was when it was written, by {file.checksum.name}")
            return None
        if position is not None:
            report.missing += head.missing
            if head.begin - head.missing != position:
                wrong(f"it begins at offset {head.begin}, must be {position + head.missing}")
        end = head.begin
        for record in (record for block in read_blocks(file.path) for record in block):
            if record.offset < end:
                wrong(f"offset {record.offset} follows {end - 1}")
                return None
            report.unused += record.offset - end
            end = record.offset + 1
            report.count(record.timestamp)
    except ArchiveError as error:
        wrong(error.message)
        return None
    return end
