"""The file of a journal: records of the log in the order in which they were read, in SQLite.

A call of `append` is one transaction, which is on the disk when it returns, so a power loss takes
nothing of it and leaves nothing half. Nothing is ever removed: the statistics of an experiment are
sums over all of its records.

Every row has a checksum, and records are numbered without gaps: SQLite notices damage to its
structures, and none to the bytes in them, which would change counts without a word.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, Self

import orjson

from streams.local.journal.write_ahead import damaged_at, write_ahead_of
from streams.model.errors import ConfigurationError, EngineError

FORMAT = 3
"""Version of the tables. One of an older version is brought to this one; a newer is not opened."""

Offsets = Mapping[tuple[str, int], int]
"""Offset by topic, named as in the catalogue, and partition."""

Header = tuple[str, bytes | None]
"""Name and value of a header."""

_LOG = "CREATE TABLE log (partitions INTEGER NOT NULL, checksum INTEGER)"

_TABLES = (
    _LOG,
    (
        "CREATE TABLE records (topic TEXT NOT NULL, partition INTEGER NOT NULL, "
        "offset INTEGER NOT NULL, timestamp INTEGER NOT NULL, key BLOB, value BLOB, headers BLOB, "
        "checksum INTEGER)"
    ),
    (
        "CREATE TABLE ends (topic TEXT NOT NULL, partition INTEGER NOT NULL, "
        "offset INTEGER NOT NULL, checksum INTEGER, PRIMARY KEY (topic, partition)) WITHOUT ROWID"
    ),
    (
        "CREATE TABLE positions (reader TEXT NOT NULL, topic TEXT NOT NULL, "
        "partition INTEGER NOT NULL, offset INTEGER NOT NULL, checksum INTEGER, "
        "PRIMARY KEY (reader, topic, partition)) WITHOUT ROWID"
    ),
)

_COLUMNS_OF_FORMAT_1 = {
    "records": "topic, partition, offset, timestamp, key, value, headers",
    "ends": "topic, partition, offset",
    "positions": "reader, topic, partition, offset",
}
_COLUMNS = _COLUMNS_OF_FORMAT_1 | {"log": "partitions"}
"""Columns that the checksum of a row covers."""

_CHECKSUMS = tuple(
    statement
    for table, columns in _COLUMNS_OF_FORMAT_1.items()
    for statement in (
        f"ALTER TABLE {table} ADD COLUMN checksum INTEGER",
        f"UPDATE {table} SET checksum = checksum({columns})",  # noqa: S608 - constants
    )
)
_CHANGES = (_CHECKSUMS, (_LOG,))
"""Statements that bring a file of version 1 to version 2, and one of version 2 to version 3."""

_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_NO_ROOM = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY}
_PRIMARY = 0xFF
"""Bits of an error of SQLite that say its kind; those above refine it."""


class JournalError(EngineError):
    """The journal cannot be read or written; `path` is its file.

    `JOURNAL_UNREADABLE`: the file is damaged, or no journal.
    `JOURNAL_UNWRITABLE`: the disk is full, or the file is not ours to write.

    Operator action: see `docs/how-to/run-on-one-machine.md`.
    """


class JournalRecord(NamedTuple):
    """A record of the log.

    Attributes:
        topic: Its topic, named as in the catalogue.
        partition: The partition.
        offset: Its place in the partition, when it was read.
        timestamp: Its time, in milliseconds since the epoch.
        key, value: Its bytes; None where it has none.
        headers: Its headers, in their order.
    """

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...] = ()


class Journal:
    """An open journal; of one thread alone.

    Args:
        path: The file; made if it is not there.

    Raises:
        ConfigurationError: a newer release has written it.
        JournalError: it cannot be opened, or its write-ahead file is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._reading():
            self._refuse_damage()  # before SQLite, which would cut the file off
            self._connection = sqlite3.connect(path, isolation_level=None, timeout=10)
            path.chmod(0o600)
            # A commit is in the write-ahead file, and that on the disk, before it returns.
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            version = self._made()
        if version != FORMAT:
            self.close()
            raise ConfigurationError(
                f"{path} has format {version}, which a newer release has written; this one reads "
                f"{FORMAT}"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    @property
    def n_records(self) -> int:
        """Number of its records."""
        with self._reading():
            [(found,)] = self._connection.execute("SELECT coalesce(max(rowid), 0) FROM records")
        return int(found)

    @property
    def partitions(self) -> int | None:
        """Number of partitions of every topic; None in a file that began without it."""
        found: list[int] = [partitions for _, partitions in self._rows("log", "0")]
        return found[0] if found else None

    def keep_partitions(self, partitions: int) -> None:
        """Set the number of partitions of every topic; it is on the disk on return.

        Raises:
            JournalError: it cannot be written.
        """
        with self._writing() as connection:
            connection.execute("DELETE FROM log")
            connection.executemany("INSERT INTO log VALUES (?, ?)", _checked([(partitions,)]))

    @property
    def ends(self) -> dict[tuple[str, int], int]:
        """Offset after the last record of each partition that has any."""
        return {
            (topic, partition): offset for _, topic, partition, offset in self._rows("ends", "0")
        }

    @property
    def positions(self) -> dict[str, dict[tuple[str, int], int]]:
        """Offsets by reader, below which all that it publishes for a record is kept here."""
        found: dict[str, dict[tuple[str, int], int]] = {}
        for _, reader, topic, partition, offset in self._rows("positions", "0"):
            found.setdefault(reader, {})[topic, partition] = offset
        return found

    def records(self) -> Iterator[JournalRecord]:
        """Yield all records, those of a partition in their order.

        Raises:
            JournalError: the file is damaged.
        """
        rows = self._rows("records", "rowid", "ORDER BY rowid")
        for expected, (number, *record) in enumerate(rows, start=1):
            if number != expected:
                raise self._unreadable(f"record {expected} is not there")
            record[-1] = _headers(record[-1])
            yield JournalRecord(*record)

    def _rows(self, table: str, number: str, order: str = "") -> Iterator[list[Any]]:
        """Yield `number` and the columns of every row of a table, once their checksum is right."""
        query = f"SELECT checksum, {number}, {_COLUMNS[table]} FROM {table} {order}"  # noqa: S608 - constants
        with self._reading(), closing(self._connection.cursor()) as cursor:
            for checksum, *found in cursor.execute(query):
                if checksum != _checksum(*found[1:]):
                    raise self._unreadable(f"a row of {table} is damaged: {found[:4]}")
                yield found

    def append(
        self, records: Iterable[JournalRecord], positions: Mapping[str, Offsets] | None = None
    ) -> None:
        """Add records, all or none of them; they are on the disk on return.

        Args:
            records: Those of a partition in their order. What is below its end is skipped.
            positions: New positions of readers; those of others stay.

        Raises:
            JournalError: they cannot be written.
        """
        ends = self.ends
        new: list[JournalRecord] = []
        for record in records:
            place = record.topic, record.partition
            if record.offset >= ends.get(place, 0):
                new.append(record)
                ends[place] = record.offset + 1
        with self._writing() as connection:
            rows = ((*each[:-1], _packed(each.headers)) for each in new)
            connection.executemany(
                "INSERT INTO records VALUES (?, ?, ?, ?, ?, ?, ?, ?)", _checked(rows)
            )
            _put_ends(connection, {place: ends[place] for place in {each[:2] for each in new}})
            _put_positions(connection, positions or {})

    def move(self, ends: Offsets, positions: Mapping[str, Offsets]) -> None:
        """Replace all offsets, as the records were written to a new log.

        Args:
            ends: What `ends` is from now on.
            positions: What `positions` is from now on.

        Raises:
            JournalError: they cannot be written.
        """
        with self._writing() as connection:
            connection.execute("DELETE FROM ends")
            connection.execute("DELETE FROM positions")
            _put_ends(connection, ends)
            _put_positions(connection, positions)

    def _made(self) -> int:
        """Make the tables of a new file, and change those of an older one; return the version."""
        with self._writing() as connection:
            [(version,)] = connection.execute("PRAGMA user_version")
            if version >= FORMAT:
                return int(version)
            connection.create_function("checksum", -1, _checksum, deterministic=True)
            changes = chain.from_iterable(_CHANGES[version - 1 :])
            for statement in _TABLES if version == 0 else changes:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {FORMAT}")
        return FORMAT

    def _refuse_damage(self) -> None:
        ahead = write_ahead_of(self.path)
        place = damaged_at(ahead)
        if place is not None:
            raise self._unreadable(
                f"{ahead.name} is damaged at byte {place:,}, and has transactions after it; "
                f"restore a copy, or give them up by `truncate --size={place} {ahead}`"
            )

    def _unreadable(self, reason: object) -> JournalError:
        return JournalError(
            "JOURNAL_UNREADABLE", f"{self.path} cannot be read: {reason}", str(self.path)
        )

    def _unwritable(self, reason: object) -> JournalError:
        return JournalError(
            "JOURNAL_UNWRITABLE", f"{self.path} cannot be written: {reason}", str(self.path)
        )

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            make = self._unwritable if _kind(error) in _NO_ROOM else self._unreadable
            raise make(error) from error

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # a full disk ends it automatically
                    self._connection.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            make = self._unreadable if _kind(error) in _DAMAGE else self._unwritable
            raise make(error) from error


def _kind(error: Exception) -> int:
    """Return the kind of an error of SQLite; 0 of any other."""
    return getattr(error, "sqlite_errorcode", 0) & _PRIMARY


def _put_ends(connection: sqlite3.Connection, ends: Offsets) -> None:
    rows = [(*place, offset) for place, offset in ends.items()]
    connection.executemany("INSERT OR REPLACE INTO ends VALUES (?, ?, ?, ?)", _checked(rows))


def _put_positions(connection: sqlite3.Connection, positions: Mapping[str, Offsets]) -> None:
    rows = [
        (reader, *place, offset)
        for reader, offsets in positions.items()
        for place, offset in offsets.items()
    ]
    connection.executemany(
        "INSERT OR REPLACE INTO positions VALUES (?, ?, ?, ?, ?)", _checked(rows)
    )


def _checked(rows: Iterable[tuple[object, ...]]) -> Iterator[tuple[object, ...]]:
    return ((*row, _checksum(*row)) for row in rows)


def _checksum(*cells: object) -> int:
    """Return the checksum of cells, which may be of any type where the file is damaged."""
    blobs = b"".join(cell for cell in cells if isinstance(cell, bytes))
    plain = [len(cell) if isinstance(cell, bytes) else cell for cell in cells]
    return zlib.crc32(blobs, zlib.crc32(repr(plain).encode()))


def _packed(headers: Sequence[Header]) -> bytes | None:
    if not headers:
        return None
    return orjson.dumps([(name, None if value is None else value.hex()) for name, value in headers])


def _headers(packed: bytes | None) -> tuple[Header, ...]:
    if packed is None:
        return ()
    return tuple(
        (name, None if value is None else bytes.fromhex(value))
        for name, value in orjson.loads(packed)
    )
