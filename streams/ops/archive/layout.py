"""Paths of the archive's files, and the fields in their names.

    DIRECTORY/TOPIC/PARTITION/DAY-FIRST_OFFSET.avro

The topic is named as in the catalogue, without the prefix of the installation.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from schemas.catalogue import DAY_MS
from streams.model.number_texts import whole_number
from streams.model.times import LAST_MS

PARTIAL = ".partial"
"""Behind the name of a file that is being written."""

_NAME = re.compile(r"(\d{4}-\d{2}-\d{2})-(\d{20})\.avro")
_LAST_DAY = LAST_MS // DAY_MS


@dataclass(frozen=True, slots=True)
class ArchiveFile:
    """A file by its name, not yet opened.

    Attributes:
        directory: That of its partition.
        day: UTC day it began with, as days since 1970-01-01.
        first_offset: Offset of its first record.
    """

    directory: Path
    day: int
    first_offset: int

    @property
    def path(self) -> Path:
        """Path of the file."""
        date = datetime.fromtimestamp(self.day * DAY_MS / 1000, UTC).date()
        return self.directory / f"{date.isoformat()}-{self.first_offset:020d}.avro"

    @property
    def checksum(self) -> Path:
        """Path of its SHA-256, in the form that `sha256sum --check` reads."""
        return self.path.with_name(self.path.name + ".sha256")

    @property
    def partial(self) -> Path:
        """Path while it is being written: in the same directory, so that renaming is atomic."""
        return self.path.with_name(self.path.name + PARTIAL)


def day_of(timestamp_ms: int) -> int:
    """Return the UTC day of a Kafka timestamp, as days since 1970-01-01.

    Producers choose timestamps, and some choose nonsense: what is outside the years 1970 to 9999,
    which a name can hold, counts as the nearest day.
    """
    return min(max(timestamp_ms // DAY_MS, 0), _LAST_DAY)


def partition_directory(directory: Path, topic: str, partition: int) -> Path:
    """Return where the files of a partition are."""
    return directory / topic / str(partition)


def topics_of(directory: Path) -> Sequence[str]:
    """Return the topics that an archive has, by name."""
    if not directory.is_dir():
        return ()
    return sorted(path.name for path in directory.iterdir() if path.is_dir())


def partitions_of(directory: Path, topic: str) -> Sequence[int]:
    """Return the partitions that an archive has of a topic, those without a record included."""
    place = directory / topic
    if not place.is_dir():
        return ()
    numbers = (whole_number(path.name) for path in place.iterdir())
    return sorted(each for each in numbers if each is not None and each >= 0)


def files_of(directory: Path, topic: str, partition: int) -> Sequence[ArchiveFile]:
    """Return the finished files of a partition in the order of their offsets.

    Not in the order of their names: a day may come before one that was archived earlier.
    """
    place = partition_directory(directory, topic, partition)
    if not place.is_dir():
        return ()
    found = []
    for path in place.iterdir():
        if match := _NAME.fullmatch(path.name):
            began = datetime.fromisoformat(match[1]).replace(tzinfo=UTC)
            day = (began - datetime(1970, 1, 1, tzinfo=UTC)).days
            found.append(ArchiveFile(place, day, int(match[2])))
    return sorted(found, key=lambda file: file.first_offset)
