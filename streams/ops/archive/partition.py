"""The end of one partition's archive, and what is put behind it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from streams.kafka.records import StoredRecord
from streams.ops.archive.container import ContainerWriter, Head, read_last
from streams.ops.archive.errors import mismatch
from streams.ops.archive.layout import ArchiveFile, day_of, files_of, partition_directory
from streams.process.durable_files import sync_directory


@dataclass(frozen=True, slots=True)
class AppendedRecords:
    """Records that a run has added to a partition.

    Attributes:
        topic: Name in the catalogue.
        partition: Partition of the topic.
        records: How many.
        files: How many.
        missing: Offsets that Kafka had deleted before they were archived.
        end: Offset after the last record that is in the archive now.
    """

    topic: str
    partition: int
    records: int
    files: int
    missing: int
    end: int


class PartitionArchive:
    """Goes on where the files of a partition end.

    A file holds the records of a run from one day on: the next begins with a record of a later
    day. Timestamps are the producers' and go back and forth, offsets do not; so a record of an
    earlier day stays in the file it comes to, and the order of the log is kept.
    """

    def __init__(self, directory: Path, topic: str, partition: int) -> None:
        """Find the end of what is there.

        Raises:
            ArchiveError: the last file cannot be read.
        """
        self.topic = topic
        self.partition = partition
        self.place = f"{topic}/{partition}"
        self._directory = partition_directory(directory, topic, partition)
        files = files_of(directory, topic, partition)
        self._last = read_last(files[-1].path) if files else None
        self._to_compare = self._last
        self._end = self._last.offset + 1 if self._last else 0
        self._missing = 0
        self._gap = 0
        self._records = self._files = 0
        self._writer: ContainerWriter | None = None

    def gap_to(self, low: int) -> int:
        """Return how many offsets between the archive and the first one of Kafka are lost."""
        return max(low - self._end, 0) if self._last else 0

    def start(self, low: int) -> int:
        """Return the offset to read from, when Kafka begins at `low`.

        It is that of the last archived record while Kafka has it, so that it can be compared: the
        log may have been started over, or belong to another installation.
        """
        self._gap = self._missing = self.gap_to(low)
        if self._last is None or low > self._last.offset:
            self._to_compare = None
            self._end = max(self._end, low)
            return self._end
        return self._last.offset

    def append(self, record: StoredRecord) -> bool:
        """Add the next record of the log; return False for the one that was compared only.

        Raises:
            ArchiveError: `ARCHIVE_MISMATCH`.
        """
        if self._to_compare is not None:
            if record != self._to_compare:
                raise mismatch(self.topic, self.partition, self._to_compare.offset)
            self._to_compare = None
            return False
        day = day_of(record.timestamp)
        if self._writer is None or day > self._writer.file.day:
            self._seal()
            self._writer = self._open(ArchiveFile(self._directory, day, record.offset))
        self._writer.append(record)
        self._end = record.offset + 1
        self._records += 1
        return True

    def finish(self) -> AppendedRecords:
        """Put the last file in its place.

        Raises:
            ArchiveError: `ARCHIVE_MISMATCH`: the last archived record was not in the log.
        """
        if self._to_compare is not None:
            raise mismatch(self.topic, self.partition, self._to_compare.offset)
        self._seal()
        return AppendedRecords(
            self.topic, self.partition, self._records, self._files, self._missing, self._end
        )

    def discard(self) -> None:
        """Remove what no file was finished of; a later run reads it again."""
        if self._writer is not None:
            self._writer.discard()
            self._writer = None

    def make_directory(self) -> None:
        """Make the directory, which says that the partition exists even if it has no record."""
        topic = self._directory.parent
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        for directory in (topic, topic.parent):
            sync_directory(directory)

    def _open(self, file: ArchiveFile) -> ContainerWriter:
        head = Head(self.topic, self.partition, file.first_offset, self._end, self._gap)
        self._gap = 0
        self._files += 1
        return ContainerWriter(file, head)

    def _seal(self) -> None:
        if self._writer is not None:
            self._writer.seal()
            self._writer = None
