"""One file of the archive: an Avro object container that is either whole or not there."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, BinaryIO, cast

from fastavro import block_reader
from fastavro.schema import parse_schema
from fastavro.write import Writer

from schemas.library import structure
from streams.kafka.records import StoredRecord
from streams.ops.archive.errors import ArchiveError
from streams.ops.archive.layout import ArchiveFile
from streams.process.durable_files import sync_directory

# Not in `schemas/`: that is the wire, where a record carries no more than the fingerprint of its
# schema, so every version is kept and every schema has a topic and an id in the registry. This
# record is on no topic, and each file carries its schema whole, so that no older one is needed.
SCHEMA = parse_schema(json.loads((files(__package__) / "archived_record.avsc").read_text("utf-8")))
# As a file has it: without the two members that fastavro adds to a schema it has parsed.
_WRITTEN = {key: part for key, part in SCHEMA.items() if not key.startswith("__")}  # type: ignore[union-attr]

BLOCK_BYTES = 2**18
"""Bytes before compression after which a block ends: as much is in memory of a file that is read,
and larger ones are no smaller once compressed."""

_TOPIC, _PARTITION = "experiment_streams.topic", "experiment_streams.partition"
_FIRST, _BEGIN = "experiment_streams.first_offset", "experiment_streams.begin"
_MISSING = "experiment_streams.missing"


@dataclass(frozen=True, slots=True)
class Head:
    """Metadata of a file.

    Attributes:
        topic: Name in the catalogue.
        partition: Partition of the topic.
        first_offset: Offset of the first record.
        begin: Offset from which on no record is missing; below `first_offset` where Kafka has
            offsets without records, as transactions leave them.
        missing: Offsets before `begin` that Kafka had deleted before they were archived; 0 when
            the file continues where the one before it ends.
    """

    topic: str
    partition: int
    first_offset: int
    begin: int
    missing: int = 0


class ContainerWriter:
    """Writes a file under another name, which `seal` turns into its own.

    Until then there is nothing for readers; a process that dies leaves a partial file, which the
    next run removes.
    """

    def __init__(self, file: ArchiveFile, head: Head) -> None:
        self.file = file
        self._stream = file.partial.open("wb")
        self._writer: Any = Writer(
            self._stream,
            SCHEMA,
            codec="deflate",
            sync_interval=BLOCK_BYTES,
            metadata={
                _TOPIC: head.topic,
                _PARTITION: str(head.partition),
                _FIRST: str(head.first_offset),
                _BEGIN: str(head.begin),
                _MISSING: str(head.missing),
            },
        )

    def append(self, record: StoredRecord) -> None:
        """Add a record; its offset is larger than that of the one before."""
        self._writer.write(
            {
                "offset": record.offset,
                "timestamp_ms": record.timestamp,
                "key": record.key,
                "value": record.value,
            }
        )

    def seal(self) -> None:
        """Put the file in its place; it is on disk, name and all, when this returns."""
        self._writer.flush()
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self._stream.close()
        # First: a checksum without its file is nothing, and is written over by the next run.
        _write_checksum(self.file, checksum(self.file.partial))
        self.file.partial.rename(self.file.path)
        sync_directory(self.file.directory)

    def discard(self) -> None:
        """Remove what was written."""
        self._stream.close()
        self.file.partial.unlink(missing_ok=True)


def checksum(path: Path) -> str:
    """Return the SHA-256 of a file, hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_checksum(file: ArchiveFile) -> str:
    """Return the checksum of a file recorded when it was written; empty if none was."""
    try:
        return file.checksum.read_text("ascii").partition(" ")[0]
    except (FileNotFoundError, UnicodeDecodeError):
        return ""


def _write_checksum(file: ArchiveFile, digest: str) -> None:
    with file.checksum.open("w", encoding="ascii") as stream:
        stream.write(f"{digest}  {file.path.name}\n")
        stream.flush()
        os.fsync(stream.fileno())


def read_head(path: Path) -> Head:
    """Return what the metadata of a file says.

    Raises:
        ArchiveError: `ARCHIVE_UNREADABLE`.
    """
    with _reading(path), path.open("rb") as stream:
        return _head(_blocks(stream))


def read_blocks(path: Path) -> Iterator[Sequence[StoredRecord]]:
    """Yield the records of a file, a block at a time, in order.

    Raises:
        ArchiveError: `ARCHIVE_UNREADABLE`.
    """
    with _reading(path), path.open("rb") as stream:
        for block in _blocks(stream):
            yield [_stored(record) for record in block]


def read_last(path: Path) -> StoredRecord:
    """Return the last record of a file; no other block is decoded.

    Raises:
        ArchiveError: `ARCHIVE_UNREADABLE`; a file without a record is, because none is written.
    """
    with _reading(path), path.open("rb") as stream:
        last = None
        for block in _blocks(stream):
            last = block
        if last is None:
            raise ArchiveError("ARCHIVE_UNREADABLE", f"{path} holds no record", str(path))
        *_, record = last
        return _stored(record)


def _blocks(stream: BinaryIO) -> Any:
    """Return the blocks of a file, once its schema is known to be that of the archive.

    By another one, a few bytes could take any memory or depth to read (`schemas.learned`).
    """
    reader = block_reader(stream)
    if structure(reader.writer_schema) != structure(_WRITTEN):
        message = "its schema is not that of an archived record"
        raise ArchiveError("ARCHIVE_UNREADABLE", message)
    return reader


def _stored(record: Any) -> StoredRecord:
    return StoredRecord(record["offset"], record["timestamp_ms"], record["key"], record["value"])


def _head(reader: Any) -> Head:
    metadata = cast(dict[str, str], reader.metadata)
    return Head(
        metadata[_TOPIC],
        int(metadata[_PARTITION]),
        int(metadata[_FIRST]),
        int(metadata[_BEGIN]),
        int(metadata[_MISSING]),
    )


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn what the bytes of a file can raise into an error that names the file."""
    try:
        yield
    except ArchiveError:
        raise
    except Exception as error:
        # fastavro raises whatever the bytes make zlib and its primitives raise.
        raise ArchiveError(
            "ARCHIVE_UNREADABLE",
            f"{path} cannot be read: {type(error).__name__}: {error}",
            str(path),
        ) from error
