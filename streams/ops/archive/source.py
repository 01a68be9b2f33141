"""An archive as a replay reads it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from streams.kafka.records import LogError, OffsetRange, StoredRecord, incomplete, truncated
from streams.ops.archive.container import read_blocks, read_head, read_last
from streams.ops.archive.layout import ArchiveFile, files_of, partitions_of


@dataclass(frozen=True, slots=True)
class ArchiveSource:
    """The topics in the files of an archive; one may be written to it at the same time.

    Attributes:
        directory: Where `experiment archive run --to` has put them.
    """

    directory: Path

    def spans(self, topic: str) -> Mapping[int, OffsetRange]:
        """Return what is there of every partition: behind its last gap, if it has one.

        Only the first bytes of most files are looked at: that none is missing is seen by `read`,
        and by `experiment archive verify`.

        Raises:
            ArchiveError: a file cannot be read.
        """
        return {
            partition: self._span(topic, partition)
            for partition in partitions_of(self.directory, topic)
        }

    def read(
        self, topic: str, partition: int, begin: int, end: int
    ) -> Iterator[Sequence[StoredRecord]]:
        """Yield the records in [begin, end), a block of a file at a time.

        Raises:
            LogError: not all of them are there.
            ArchiveError: a file cannot be read.
        """
        if begin >= end:
            return
        files = _from_offset(files_of(self.directory, topic, partition), begin)
        if not files:
            raise incomplete(topic, partition, end, 0)
        first = read_head(files[0].path).begin
        if first > begin:
            raise truncated(topic, partition, begin, first)
        position = first
        for file in files:
            if position >= end:
                return
            head = read_head(file.path)
            if head.begin != position:
                raise _torn(topic, partition, position, head.begin)
            for block in read_blocks(file.path):
                position = block[-1].offset + 1
                if wanted := [record for record in block if begin <= record.offset < end]:
                    yield wanted
                if position >= end:
                    return
        if position < end:
            raise incomplete(topic, partition, end, position)

    def _span(self, topic: str, partition: int) -> OffsetRange:
        files = files_of(self.directory, topic, partition)
        if not files:
            return OffsetRange(0, 0)
        end = read_last(files[-1].path).offset + 1
        for file in reversed(files):
            head = read_head(file.path)
            if head.missing:
                break
        return OffsetRange(head.begin, end)


def _from_offset(files: Sequence[ArchiveFile], begin: int) -> Sequence[ArchiveFile]:
    """Return the files from the one on that may hold `begin`: the last that starts before it."""
    before = [index for index, file in enumerate(files) if file.first_offset <= begin]
    return files[before[-1] if before else 0 :]


def _torn(topic: str, partition: int, position: int, begin: int) -> LogError:
    return LogError(
        "LOG_INCOMPLETE",
        f"the archive of {topic}/{partition} has nothing from offset {position} to {begin}; see "
        "`experiment archive verify`",
        f"{topic}/{partition}",
    )
