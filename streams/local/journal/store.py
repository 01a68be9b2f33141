"""The file of a journal: records of the log in the order in which they were read, in SQLite.

A call of `append` is one transaction, which is on the disk when it returns, so a power loss takes
nothing of it and leaves nothing half. Nothing is ever removed: the statistics of an experiment are
sums over all of its records.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple, Self

import orjson

from streams.model.errors import ConfigurationError, EngineError

FORMAT = 1
"""Version of the tables. A file of another version is not opened."""

Offsets = Mapping[tuple[str, int], int]
"""Offset by topic, named as in the catalogue, and partition."""

Header = tuple[str, bytes | None]
"""Name and value of a header."""

_TABLES = (
    (
        "CREATE TABLE records (topic TEXT NOT NULL, partition INTEGER NOT NULL, "
        "offset INTEGER NOT NULL, timestamp INTEGER NOT NULL, key BLOB, value BLOB, headers BLOB)"
    ),
    (
        "CREATE TABLE ends (topic TEXT NOT NULL, partition INTEGER NOT NULL, "
        "offset INTEGER NOT NULL, PRIMARY KEY (topic, partition)) WITHOUT ROWID"
    ),
    (
        "CREATE TABLE positions (reader TEXT NOT NULL, topic TEXT NOT NULL, "
        "partition INTEGER NOT NULL, offset INTEGER NOT NULL, "
        "PRIMARY KEY (reader, topic, partition)) WITHOUT ROWID"
    ),
)


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
        JournalError: it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._reading():
            self._connection = sqlite3.connect(path, isolation_level=None, timeout=10)
            path.chmod(0o600)
            # A commit is in the write-ahead file, and that on the disk, before it returns.
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            version = self._made()
        if version not in {0, FORMAT}:
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
    def ends(self) -> dict[tuple[str, int], int]:
        """Offset after the last record of each partition that has any."""
        with self._reading():
            rows = self._connection.execute("SELECT topic, partition, offset FROM ends")
            return {(topic, partition): offset for topic, partition, offset in rows}

    @property
    def positions(self) -> dict[str, dict[tuple[str, int], int]]:
        """Offsets by reader, below which all that it publishes for a record is kept here."""
        found: dict[str, dict[tuple[str, int], int]] = {}
        with self._reading():
            rows = self._connection.execute(
                "SELECT reader, topic, partition, offset FROM positions"
            )
            for reader, topic, partition, offset in rows:
                found.setdefault(reader, {})[topic, partition] = offset
        return found

    def records(self) -> Iterator[JournalRecord]:
        """Yield all records, those of a partition in their order.

        Raises:
            JournalError: the file is damaged.
        """
        columns = "topic, partition, offset, timestamp, key, value, headers"
        with self._reading(), closing(self._connection.cursor()) as cursor:
            rows = cursor.execute(f"SELECT {columns} FROM records ORDER BY rowid")  # noqa: S608 - constants
            for topic, partition, offset, timestamp, key, value, headers in rows:
                yield JournalRecord(
                    topic, partition, offset, timestamp, key, value, _headers(headers)
                )

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
            connection.executemany(
                "INSERT INTO records VALUES (?, ?, ?, ?, ?, ?, ?)",
                ((*each[:-1], _packed(each.headers)) for each in new),
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
        """Make the tables of a new file; return the version of what was there, 0 for nothing."""
        with self._writing() as connection:
            [(version,)] = connection.execute("PRAGMA user_version")
            if version == 0:
                for statement in _TABLES:
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {FORMAT}")
        return int(version)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise JournalError(
                "JOURNAL_UNREADABLE", f"{self.path} cannot be read: {error}", str(self.path)
            ) from error

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
            raise JournalError(
                "JOURNAL_UNWRITABLE", f"{self.path} cannot be written: {error}", str(self.path)
            ) from error


def _put_ends(connection: sqlite3.Connection, ends: Offsets) -> None:
    rows = [(*place, offset) for place, offset in ends.items()]
    connection.executemany("INSERT OR REPLACE INTO ends VALUES (?, ?, ?)", rows)


def _put_positions(connection: sqlite3.Connection, positions: Mapping[str, Offsets]) -> None:
    rows = [
        (reader, *place, offset)
        for reader, offsets in positions.items()
        for place, offset in offsets.items()
    ]
    connection.executemany("INSERT OR REPLACE INTO positions VALUES (?, ?, ?, ?)", rows)


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
