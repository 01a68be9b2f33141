"""What was answered and Kafka has not acknowledged yet, in files.

A record that was appended survives the death of the process, though not of the machine: nothing is
synced. Every process writes a directory of its own below the spool directory, locked while it
lives; one that starts adopts the directories of processes that died, and sends what they left.
Sending a record twice does no harm, because it carries the incarnation and the sequence it was made
with.

A file, called segment, holds entries one after the other:

    length of the payload u32, CRC-32 of all that follows u32, topic u8, partition u16, payload

big-endian. A segment is deleted when all of it is acknowledged. An entry cut off at the end of a
file was never answered, and is left out.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shutil
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Self
from zlib import crc32

from streams.domain.errors import ConfigurationError, DependencyError

MAX_SEGMENT_BYTES = 8 * 2**20
MIN_SEGMENTS = 16
"""Into so many segments at least a full spool is cut, so that a little acknowledged frees room."""

_HEADER = struct.Struct(">II")
_ADDRESS = struct.Struct(">BH")
_SUFFIX = ".segment"
_CHUNK_BYTES = 2**18
_log = logging.getLogger(__name__)


class SpoolRecord(NamedTuple):
    """A record for Kafka.

    Attributes:
        topic: Small number that stands for the topic, below 256.
        partition: Partition of the topic, below 65,536.
        payload: The record's value.
    """

    topic: int
    partition: int
    payload: bytes


class Segment:
    """One file of the spool.

    Attributes:
        path: Where it is.
        size: Bytes in it.
        unsettled: Records that were handed out of it and are not acknowledged.
        is_handed_out: Whether all of its records were handed out and no more will be appended.
    """

    __slots__ = ("is_handed_out", "path", "size", "unsettled")

    def __init__(self, path: Path, size: int) -> None:
        self.path = path
        self.size = size
        self.unsettled = 0
        self.is_handed_out = False


class Place(NamedTuple):
    """Where an entry begins."""

    segment: Segment
    offset: int


class SpoolFullError(DependencyError):
    """The spool has no room, or the disk refuses. What was being written is not in it.

    Operator action: bring Kafka back, or give the spool more room.
    """

    def __init__(self, message: str) -> None:
        super().__init__("spool", message, code="SPOOL_FULL", retry_after_s=5)


class Spool:
    """The files of this process, and of dead ones it has adopted.

    Attributes:
        size_bytes: Bytes in all segments.
        max_bytes: Most there may be.
    """

    def __init__(self, root: Path, name: str, max_bytes: int) -> None:
        """Open the directory `name` below `root`, and adopt what dead processes left there.

        Raises:
            ConfigurationError: a directory or file cannot be made.
        """
        self.max_bytes = max_bytes
        self.size_bytes = 0
        self._segment_bytes = min(MAX_SEGMENT_BYTES, max_bytes // MIN_SEGMENTS)
        self._locks: list[tuple[Path, int]] = []
        self._segments: list[Segment] = []
        self._number = 0
        try:
            root.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._adopt(root)
            self._directory = self._own(root, name)
            self._file, self._active = self._new_segment()
        except OSError as error:
            raise ConfigurationError(f"the spool in {root}: {error}", "spool_dir") from error

    @property
    def start(self) -> Place:
        """The oldest entry there is, or where the next will be."""
        return Place(self._segments[0], 0)

    @property
    def end(self) -> Place:
        """Where the next entry will be."""
        return Place(self._active, self._active.size)

    def append(self, records: Sequence[SpoolRecord]) -> list[Place]:
        """Append records with one write and return where they are: all are in, or none.

        Raises:
            SpoolFullError: they are not in.
        """
        if not records:
            return []
        parts: list[bytes] = []
        lengths: list[int] = []
        for topic, partition, payload in records:
            address = _ADDRESS.pack(topic, partition)
            parts += (
                _HEADER.pack(len(payload), crc32(payload, crc32(address))),
                address,
                payload,
            )
            lengths.append(_HEADER.size + _ADDRESS.size + len(payload))
        size = sum(lengths)
        if self.size_bytes + size > self.max_bytes:
            raise SpoolFullError(f"the spool holds {self.size_bytes} of {self.max_bytes} bytes")
        segment = self._active
        self._write(b"".join(parts))
        places = []
        for length in lengths:
            places.append(Place(segment, segment.size))
            segment.size += length
        self.size_bytes += size
        if segment.size >= self._segment_bytes:
            self._rotate()
        return places

    def read(self, place: Place) -> SpoolRecord:
        """Return the record at a place that was handed out before."""
        with place.segment.path.open("rb") as file:
            file.seek(place.offset)
            length, _ = _HEADER.unpack(file.read(_HEADER.size))
            topic, partition = _ADDRESS.unpack(file.read(_ADDRESS.size))
            return SpoolRecord(topic, partition, file.read(length))

    def records_from(self, place: Place) -> Iterator[tuple[Place, SpoolRecord]]:
        """Yield what was appended from `place` on; files read to their end are handed out."""
        index = self._segments.index(place.segment)
        offset = place.offset
        for segment in self._segments[index:]:
            yield from _entries(segment, offset)
            if segment is not self._active:
                segment.is_handed_out = True
                self.trim(segment)
            offset = 0

    def trim(self, segment: Segment) -> None:
        """Delete a segment of which nothing is left to hand out or to acknowledge."""
        if segment.unsettled or not segment.is_handed_out or segment not in self._segments:
            return
        self._segments.remove(segment)
        self.size_bytes -= segment.size
        segment.path.unlink(missing_ok=True)

    def empty_active(self) -> None:
        """Empty the segment being written, when all that was ever appended is acknowledged."""
        if self._active.size and not self._active.unsettled:
            os.ftruncate(self._file, 0)
            self.size_bytes -= self._active.size
            self._active.size = 0

    def close(self) -> None:
        """Let go of the files; directories in which nothing is left disappear."""
        os.close(self._file)
        if not self._active.size:
            self._active.path.unlink(missing_ok=True)
        for directory, lock in self._locks:
            if not any(directory.glob(f"*{_SUFFIX}*")):
                shutil.rmtree(directory, ignore_errors=True)
            os.close(lock)

    def __enter__(self) -> Self:
        """Return this spool, to be closed at the end."""
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _own(self, root: Path, name: str) -> Path:
        # Locked before it has its name, so that nobody adopts it in between.
        directory = root / f".{name}"
        directory.mkdir(mode=0o700)
        self._locks.append((root / name, _lock(directory)))
        return directory.rename(root / name)

    def _adopt(self, root: Path) -> None:
        for directory in sorted(path for path in root.iterdir() if _is_spool(path)):
            with contextlib.suppress(BlockingIOError, FileNotFoundError):
                lock = _lock(directory)
                left = sorted(directory.glob(f"*{_SUFFIX}"))
                found = [Segment(path, path.stat().st_size) for path in left]
                self._locks.append((directory, lock))
                self._segments += found
                self.size_bytes += sum(segment.size for segment in found)
                if not any(directory.glob(f"*{_SUFFIX}*")):
                    shutil.rmtree(directory, ignore_errors=True)
                elif found:
                    _log.warning("adopted %d segments of a dead process", len(found))

    def _new_segment(self) -> tuple[int, Segment]:
        self._number += 1
        path = self._directory / f"{self._number:012d}{_SUFFIX}"
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
        file = os.open(path, flags, 0o600)
        segment = Segment(path, 0)
        self._segments.append(segment)
        return file, segment

    def _rotate(self) -> None:
        full = self._file
        try:
            self._file, self._active = self._new_segment()
        except OSError as error:  # the full one goes on growing, up to the bound of the spool
            _log.warning("the spool cannot begin a new file: %s", error)
            return
        os.close(full)

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._file, view) :]
        except OSError as error:
            with contextlib.suppress(OSError):  # then the CRC tells what is not an entry
                os.ftruncate(self._file, self._active.size)
            raise SpoolFullError(f"the spool cannot be written: {error}") from error


def _lock(directory: Path) -> int:
    """Return the lock of a directory, held until it is closed or this process dies."""
    lock = os.open(directory / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise
    return lock


def _entries(segment: Segment, offset: int) -> Iterator[tuple[Place, SpoolRecord]]:
    """Yield the good entries of a segment, and say what is wrong with the rest."""
    with segment.path.open("rb", buffering=_CHUNK_BYTES) as file:
        file.seek(offset)
        while offset < segment.size:
            header = file.read(_HEADER.size + _ADDRESS.size)
            if len(header) < _HEADER.size + _ADDRESS.size:
                break
            length, expected = _HEADER.unpack_from(header)
            payload = file.read(length)
            if len(payload) < length:
                break
            if crc32(payload, crc32(header[_HEADER.size :])) != expected:
                _log.error("%s is damaged at byte %d; kept as .damaged", segment.path, offset)
                shutil.copy2(segment.path, segment.path.with_suffix(f"{_SUFFIX}.damaged"))
                return
            topic, partition = _ADDRESS.unpack_from(header, _HEADER.size)
            yield Place(segment, offset), SpoolRecord(topic, partition, payload)
            offset += len(header) + length
    if offset < segment.size:
        _log.info("%s ends in an entry that was never answered", segment.path)


def _is_spool(path: Path) -> bool:
    """Return whether `path` is a directory that has its name, and so a lock."""
    return path.is_dir() and not path.name.startswith(".")
