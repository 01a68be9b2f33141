"""Records that were answered and Kafka has not acknowledged yet, in files.

An appended record survives a crash of the process, but not of the machine: nothing is synced. Every
process writes its own directory below the spool directory, locked while it runs; a process that
starts adopts the directories of processes that died, and sends their records. Sending a record
twice does no harm, because it carries the incarnation and the sequence it was made with.

A file, called segment, holds entries (`api.spool.entries`). It is deleted when all of it is
acknowledged. An entry cut off at the end of a file was never answered, and is left out. An entry
that cannot be read or sent is skipped, and its segment is kept as `.damaged` instead of deleted.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from mmap import mmap
from pathlib import Path
from typing import NamedTuple, Self

from api.spool.entries import (
    HEAD_BYTES,
    SpoolRecord,
    encode_entry,
    entries,
    read_entry,
)
from streams.model.errors import ConfigurationError, DependencyError, EngineError

MAX_SEGMENT_BYTES = 8 * 2**20
MIN_SEGMENTS = 16
"""Into so many segments at least a full spool is cut, so that a little acknowledged frees room."""

_SUFFIX = ".segment"
_DAMAGED = ".damaged"

_log = logging.getLogger(__name__)


class Segment:
    """One file of the spool.

    Attributes:
        path: Where it is.
        size: Bytes in it.
        unacknowledged: Records that were handed out of it and are not acknowledged.
        is_handed_out: Whether all of its records were handed out and no more will be appended.
        damaged_at: Offsets of entries that were skipped; with any, the file is kept.
    """

    __slots__ = ("damaged_at", "is_handed_out", "path", "size", "unacknowledged")

    def __init__(self, path: Path, size: int) -> None:
        self.path = path
        self.size = size
        self.unacknowledged = 0
        self.is_handed_out = False
        self.damaged_at: set[int] = set()

    def bytes_written(self) -> int:
        """Return the bytes in it, which grow while it is written."""
        return self.size


class SpoolPosition(NamedTuple):
    """Position of an entry."""

    segment: Segment
    offset: int


class DamagedRecordError(EngineError):
    """An entry of the spool that cannot be read any more.

    Operator action: look at the disk; what can be read of the file is kept as `.damaged`.
    """

    def __init__(self, message: str) -> None:
        super().__init__("DAMAGED_RECORD", message)


class SpoolFullError(DependencyError):
    """A write without room in the spool, or refused by the disk; nothing of it is in the spool.

    Operator action: bring Kafka back, or give the spool more room.
    """

    def __init__(self, message: str) -> None:
        super().__init__("spool", message, code="SPOOL_FULL", retry_after_s=5)


class Spool:
    """The files of this process, and of dead ones it has adopted.

    Attributes:
        size_bytes: Bytes in all segments.
        max_bytes: Most there may be.
        quarantined: Places in files that could not be read or sent and were skipped.
    """

    def __init__(
        self,
        root: Path,
        name: str,
        max_bytes: int,
        *,
        segment_bytes: int = MAX_SEGMENT_BYTES,
        is_mapped: bool = False,
    ) -> None:
        """Open the directory `name` below `root`, and adopt what dead processes left there.

        Args:
            root: Directory of all spools.
            name: Unique name of this process.
            max_bytes: Most bytes in all segments.
            segment_bytes: Most bytes of a segment, but for its last entry.
            is_mapped: Whether segments are mapped into memory, for `append_mapped`. What a process
                leaves that is killed then ends with bytes of zero.

        Raises:
            ConfigurationError: a directory or file cannot be made.
        """
        self.max_bytes = max_bytes
        self.size_bytes = 0
        self.quarantined = 0
        self._segment_bytes = min(segment_bytes, max_bytes // MIN_SEGMENTS)
        self._map: mmap | None = None
        self._mapped_bytes = self._segment_bytes if is_mapped else 0
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
    def start(self) -> SpoolPosition:
        """The oldest entry there is, or where the next will be."""
        return SpoolPosition(self._segments[0], 0)

    @property
    def end(self) -> SpoolPosition:
        """Position of the next entry."""
        return SpoolPosition(self._active, self._active.size)

    def append(self, records: Sequence[SpoolRecord]) -> list[SpoolPosition]:
        """Append records with one write and return where they are: all are in, or none.

        Raises:
            SpoolFullError: they are not in.
        """
        if not records:
            return []
        parts: list[bytes] = []
        lengths: list[int] = []
        for record in records:
            parts += encode_entry(record)
            lengths.append(HEAD_BYTES + len(record.payload))
        size = sum(lengths)
        if self.size_bytes + size > self.max_bytes:
            raise SpoolFullError(f"the spool holds {self.size_bytes} of {self.max_bytes} bytes")
        segment = self._active
        self._write(b"".join(parts))
        positions = []
        for length in lengths:
            positions.append(SpoolPosition(segment, segment.size))
            segment.size += length
        self.size_bytes += size
        if segment.size >= self._segment_bytes:
            self._rotate()
        return positions

    def make_room(self, size: int, reserve: int = 0) -> int:
        """Have room for an entry in the mapped segment, by a new one if need be; return how much.

        Args:
            size: Bytes of the entry.
            reserve: Bytes of another one that comes before it in a new segment.

        Raises:
            SpoolFullError: no room is left.
        """
        if self.size_bytes + size + reserve > self.max_bytes:
            raise SpoolFullError(f"the spool holds {self.size_bytes} of {self.max_bytes} bytes")
        if self._map is None or self._active.size + size > len(self._map):
            self._mapped_bytes = max(self._segment_bytes, size + reserve)
            self._rotate()
            if self._map is None or self._active.size + size > len(self._map):
                raise SpoolFullError("the spool cannot begin a new file")
        return min(len(self._map) - self._active.size, self.max_bytes - self.size_bytes)

    def append_mapped(self, data: bytes) -> None:
        """Append an entry to the mapped segment, which has room for it; without a system call.

        A system call makes all that follows slower, by more than it takes itself.
        """
        size = self._map.write(data)  # type: ignore[union-attr]
        self._active.size += size
        self.size_bytes += size

    def seal(self) -> None:
        """Begin a new segment, unless the one being written is empty."""
        if self._active.size:
            self._rotate()

    @property
    def active(self) -> Segment:
        """The segment that is appended to."""
        return self._active

    @property
    def sealed(self) -> list[Segment]:
        """The segments that no more is appended to, the oldest first."""
        return [segment for segment in self._segments if segment is not self._active]

    def read(self, position: SpoolPosition) -> SpoolRecord:
        """Return the record at a position that was handed out before.

        Raises:
            DamagedRecordError: it is not there any more, or not as it was.
        """
        try:
            with position.segment.path.open("rb") as file:
                file.seek(position.offset)
                record, _ = read_entry(file.read(HEAD_BYTES), file.read)
        except FileNotFoundError as error:
            raise DamagedRecordError(f"{position.segment.path} is gone") from error
        if record is None:
            raise DamagedRecordError(f"no record at byte {position.offset} any more")
        return record

    def records_from(self, position: SpoolPosition) -> Iterator[tuple[SpoolPosition, SpoolRecord]]:
        """Yield what was appended from `position` on; files read to their end are handed out."""
        index = self._segments.index(position.segment)
        offset = position.offset
        for segment in self._segments[index:]:
            for found, record in entries(segment.path, offset, segment.bytes_written):
                if record is None:
                    self.quarantine(segment, found, "no record can be read here")
                else:
                    yield SpoolPosition(segment, found), record
            if segment is not self._active:
                segment.is_handed_out = True
                self.trim(segment)
            offset = 0

    def trim(self, segment: Segment) -> None:
        """Delete a segment of which nothing is left to hand out or to acknowledge."""
        if segment.unacknowledged or not segment.is_handed_out or segment not in self._segments:
            return
        self._segments.remove(segment)
        self.size_bytes -= segment.size
        if segment.damaged_at:
            with contextlib.suppress(FileNotFoundError):
                segment.path.rename(segment.path.with_suffix(f"{_SUFFIX}{_DAMAGED}"))
        else:
            segment.path.unlink(missing_ok=True)

    def quarantine(self, segment: Segment, offset: int, reason: str) -> None:
        """Skip what is at `offset`, and keep the file when all else in it is acknowledged."""
        if offset in segment.damaged_at:
            return
        segment.damaged_at.add(offset)
        self.quarantined += 1
        _log.error(
            "%s at byte %d: %s; passed by, and the file is kept as %s",
            segment.path, offset, reason, _DAMAGED,
        )  # fmt: skip

    def empty_active(self) -> None:
        """Empty the segment being written, when all that was ever appended is acknowledged."""
        if self._active.damaged_at:
            self._rotate_damaged()
        elif self._active.size and not self._active.unacknowledged:
            os.ftruncate(self._file, 0)
            self.size_bytes -= self._active.size
            self._active.size = 0

    def close(self) -> None:
        """Let go of the files; directories in which nothing is left disappear."""
        self._unmap()
        os.close(self._file)
        if not self._active.size:
            self._active.path.unlink(missing_ok=True)
        for directory, lock in self._locks:
            if not any(directory.glob(f"*{_SUFFIX}*")):
                shutil.rmtree(directory, ignore_errors=True)
            os.close(lock)

    def disown(self) -> None:
        """Let go of the files as they are, in a child that was forked: they are the parent's.

        While the child held the locks, no process could adopt what the parent leaves.
        """
        if self._map is not None:
            self._map.close()
        os.close(self._file)
        for _, lock in self._locks:
            os.close(lock)

    def __enter__(self) -> Self:
        """Return this spool, to be closed at the end."""
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _own(self, root: Path, name: str) -> Path:
        # Locked before it has its name, so that no other process adopts it in between.
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
        flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_APPEND | os.O_CLOEXEC
        file = os.open(path, flags, 0o600)
        segment = Segment(path, 0)
        if self._mapped_bytes:
            try:
                # A page that the disk has no room for would end the process.
                os.posix_fallocate(file, 0, self._mapped_bytes)
                mapped = mmap(file, self._mapped_bytes)
            except OSError:
                os.close(file)
                path.unlink()
                raise
            self._unmap()
            self._map = mapped
        self._segments.append(segment)
        return file, segment

    def _rotate(self) -> None:
        full = self._file
        try:
            self._file, self._active = self._new_segment()
        except OSError as error:  # the full one continues growing, up to the bound of the spool
            _log.warning("the spool cannot begin a new file: %s", error)
            return
        os.close(full)

    def _unmap(self) -> None:
        """Give the mapped segment the size of what is in it."""
        if self._map is not None:
            self._map.close()
            os.ftruncate(self._file, self._active.size)
            self._map = None

    def _rotate_damaged(self) -> None:
        damaged = self._active
        self._rotate()
        if self._active is not damaged:
            damaged.is_handed_out = True
            self.trim(damaged)

    def _write(self, data: bytes) -> None:
        try:
            n_written = os.write(self._file, data)
            while n_written < len(data):
                n_written += os.write(self._file, memoryview(data)[n_written:])
        except OSError as error:
            with contextlib.suppress(OSError):  # then the CRC shows what is not an entry
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


def _is_spool(path: Path) -> bool:
    """Return whether `path` is a directory that has its name, and so a lock."""
    return path.is_dir() and not path.name.startswith(".")
