"""The file of a journal: records of the log in the order in which they were read, in SQLite.

A call of `append` is one transaction, which is on the disk when it returns, so a power loss takes
nothing of it and leaves nothing half. Nothing is ever removed: the statistics of an experiment are
sums over all of its records.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple, Self

from streams.model.errors import ConfigurationError, EngineError

FORMAT = 1
"""Version of the tables. A file of another version is not opened."""

Offsets = Mapping[tuple[str, int], int]
"""Offset by topic, named as in the catalogue, and partition."""

_OFFSETS = (
    "(topic TEXT NOT NULL, partition INTEGER NOT NULL, offset INTEGER NOT NULL, "
    "PRIMARY KEY (topic, partition)) WITHOUT ROWID"
)
_TABLES = (
    (
        "CREATE TABLE records (topic TEXT NOT NULL, partition INTEGER NOT NULL, "
        "offset INTEGER NOT NULL, timestamp INTEGER NOT NULL, key BLOB, value BLOB)"
    ),
    f"CREATE TABLE ends {_OFFSETS}",
    f"CREATE TABLE published {_OFFSETS}",
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
    """

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None


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
        return self._offsets("ends")

    @property
    def published(self) -> dict[tuple[str, int], int]:
        """Offsets below which all that follows from a record was published, and is kept here."""
        return self._offsets("published")

    def records(self) -> Iterator[JournalRecord]:
        """Yield all records, those of a partition in their order.

        Raises:
            JournalError: the file is damaged.
        """
        columns = "topic, partition, offset, timestamp, key, value"
        with self._reading(), closing(self._connection.cursor()) as cursor:
            for row in cursor.execute(f"SELECT {columns} FROM records ORDER BY rowid"):  # noqa: S608 - constants
                yield JournalRecord(*row)

    def append(self, records: Iterable[JournalRecord], published: Offsets | None = None) -> None:
        """Add records, all or none of them; they are on the disk on return.

        Args:
            records: Those of a partition in their order. What is below its end is passed by.
            published: What `published` is from now on; None for what it was.

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
            connection.executemany("INSERT INTO records VALUES (?, ?, ?, ?, ?, ?)", new)
            self._replace("ends", {place: ends[place] for place in {each[:2] for each in new}})
            self._replace("published", published or {})

    def move(self, ends: Offsets, published: Offsets) -> None:
        """Replace all offsets, as the records were written to a new log.

        Args:
            ends: What `ends` is from now on.
            published: What `published` is from now on.

        Raises:
            JournalError: they cannot be written.
        """
        with self._writing() as connection:
            connection.execute("DELETE FROM ends")
            connection.execute("DELETE FROM published")
            self._replace("ends", ends)
            self._replace("published", published)

    def _offsets(self, table: str) -> dict[tuple[str, int], int]:
        with self._reading():
            rows = self._connection.execute(f"SELECT topic, partition, offset FROM {table}")  # noqa: S608 - ours
            return {(topic, partition): offset for topic, partition, offset in rows}

    def _replace(self, table: str, offsets: Offsets) -> None:
        rows = [(*place, offset) for place, offset in offsets.items()]
        self._connection.executemany(f"INSERT OR REPLACE INTO {table} VALUES (?, ?, ?)", rows)  # noqa: S608 - ours

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
                if self._connection.in_transaction:  # a full disk ends it by itself
                    self._connection.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise JournalError(
                "JOURNAL_UNWRITABLE", f"{self.path} cannot be written: {error}", str(self.path)
            ) from error
