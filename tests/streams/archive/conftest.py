"""A log in memory, which can lose its beginning."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from streams.archive.archiving import archive
from streams.archive.source import ArchiveSource
from streams.log.records import Span, StoredRecord

TOPIC = "observations"


@dataclass(slots=True)
class MemoryLog:
    """Partitions of one topic; `fail_at` ends a reading after so many records."""

    partitions: dict[int, list[StoredRecord]] = field(default_factory=dict)
    fail_at: int | None = None

    def spans(self, topic):
        return {
            partition: Span(records[0].offset, records[-1].offset + 1) if records else Span(0, 0)
            for partition, records in self.partitions.items()
        }

    def read(self, topic, partition, begin, end):
        for record in self.partitions[partition]:
            if begin <= record.offset < end:
                if self.fail_at == 0:
                    raise KeyboardInterrupt
                if self.fail_at is not None:
                    self.fail_at -= 1
                yield [record]


@dataclass(frozen=True, slots=True)
class Archive:
    """An archive of a log in memory."""

    directory: Path
    log: MemoryLog

    def run(self, **options):
        return archive(self.log, self.directory, [TOPIC], **options)

    def read(self, partition=0):
        source = ArchiveSource(self.directory)
        span = source.spans(TOPIC)[partition]
        pieces = source.read(TOPIC, partition, span.begin, span.end)
        return [record for piece in pieces for record in piece]


def records(timestamps, first=0):
    """Records with these timestamps and values that tell them apart."""
    return [
        StoredRecord(first + index, timestamp, None, b"%d" % (first + index))
        for index, timestamp in enumerate(timestamps)
    ]


@pytest.fixture
def kept(tmp_path):
    return Archive(tmp_path / "archive", MemoryLog({0: []}))
