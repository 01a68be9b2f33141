"""An archive of a log in memory."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from streams.kafka.records import StoredRecord
from streams.ops.archive.archiving import archive
from streams.ops.archive.source import ArchiveSource
from tests.twins.log import MemoryLog

TOPIC = "observations"


@dataclass(frozen=True, slots=True)
class Archive:
    """An archive of a log in memory."""

    directory: Path
    log: MemoryLog = field(default_factory=MemoryLog)

    def hold(self, records: list[StoredRecord], partition: int = 0) -> None:
        """Have the log hold these records of a partition alone."""
        self.log.replace(TOPIC, partition, records)

    def run(self, **options):
        return archive(self.log, self.directory, [TOPIC], **options)

    def read(self, partition=0):
        source = ArchiveSource(self.directory)
        span = source.spans(TOPIC)[partition]
        pieces = source.read(TOPIC, partition, span.begin, span.end)
        return [record for piece in pieces for record in piece]


def log_of(records: list[StoredRecord]) -> MemoryLog:
    """Return a log that holds these records in one partition."""
    log = MemoryLog()
    log.replace(TOPIC, 0, records)
    return log


def records(timestamps: Iterable[int], first: int = 0) -> list[StoredRecord]:
    """Return records with these timestamps and values that differ."""
    return [
        StoredRecord(first + index, timestamp, None, b"%d" % (first + index))
        for index, timestamp in enumerate(timestamps)
    ]


@pytest.fixture
def kept(tmp_path: Path) -> Archive:
    made = Archive(tmp_path / "archive")
    made.hold([])
    return made
