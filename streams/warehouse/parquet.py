"""A directory of Parquet files as target, with a manifest that is one transaction of SQLite.

Files are written aside. The transaction that says how far the export is also lists them; then they
are moved to where readers look. A process that dies before the transaction leaves files that no
manifest lists, which are deleted; one that dies after it leaves files to be moved, which the next
run does first. So no row is ever seen twice, and none is missing once a run has begun.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from streams.model.errors import ConfigurationError, DependencyError
from streams.ops.archive.lock import HeldError, owned
from streams.process.durable_files import sync_directory
from streams.tallies.cell import Source
from streams.warehouse.experiment_rows import table_of
from streams.warehouse.sql import NAME, over_parquet
from streams.warehouse.tables import LOG_TABLES, STATE_TABLES, TABLES, VERSION, Table
from streams.warehouse.tables import SCHEMA as SCHEMA_TABLE
from streams.warehouse.target import (
    BUSY,
    DAMAGED,
    NOT_EMPTY,
    PART_MISSING,
    Commit,
    PartitionChanges,
    Place,
    ReplacedRows,
    StoredState,
    WarehouseError,
    mismatch,
    other_version,
)

_STATE = "_export"
_MANIFEST = "manifest.sqlite"
_STAGING = "staging"
_CURRENT = "current.parquet"
_CREATE = """
CREATE TABLE IF NOT EXISTS version (version INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS counter (commits INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS moves (staged TEXT PRIMARY KEY, place TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS parts (place TEXT PRIMARY KEY, bytes INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS positions (
    source TEXT, source_partition INTEGER, last_offset INTEGER NOT NULL,
    last_record TEXT NOT NULL, sequences BLOB NOT NULL, PRIMARY KEY (source, source_partition)
);
CREATE TABLE IF NOT EXISTS state (
    source TEXT, source_partition INTEGER, entry TEXT, body BLOB NOT NULL,
    PRIMARY KEY (source, source_partition, entry)
) WITHOUT ROWID;
"""


class ParquetTarget:
    """Files in a directory of this process alone.

    Args:
        directory: The directory.
        manifest: Its manifest.
    """

    def __init__(self, directory: Path, manifest: sqlite3.Connection) -> None:
        self._directory = directory
        self._manifest = manifest
        self._staging = directory / _STATE / _STAGING

    def states(self) -> Mapping[Place, StoredState]:
        """Return what was stored of every partition."""
        entries: dict[tuple[str, int], dict[str, bytes]] = {}
        with _usable(self._directory):
            for source, partition, entry, body in self._manifest.execute("SELECT * FROM state"):
                entries.setdefault((source, partition), {})[entry] = body
            positions = self._manifest.execute("SELECT * FROM positions").fetchall()
        return {
            (Source(source), partition): StoredState(
                last_offset, last_record, sequences, entries.get((source, partition), {})
            )
            for source, partition, last_offset, last_record, sequences in positions
        }

    def commit(self, commit: Commit) -> None:
        """Take a commit as one transaction of the manifest; see `Target.commit`."""
        with _usable(self._directory):
            (number,) = self._manifest.execute("SELECT commits FROM counter").fetchone()
            written = self._written(number, commit)
            with self._manifest:  # the transaction
                self._manifest.execute("BEGIN IMMEDIATE")
                self._manifest.execute("UPDATE counter SET commits = commits + 1")
                self._manifest.execute("DELETE FROM moves")  # of the last commit, and done
                for staged, file, size in written:
                    self._manifest.execute("INSERT INTO moves VALUES (?, ?)", (staged, file))
                    self._manifest.execute(
                        "INSERT OR REPLACE INTO parts VALUES (?, ?)", (file, size)
                    )
                for place, part in commit.parts.items():
                    self._store(place, part)
            self.move()

    def move(self) -> None:
        """Move the files that the manifest lists to where readers look."""
        places = set()
        for staged, place in self._manifest.execute("SELECT staged, place FROM moves"):
            source, target = self._staging / staged, self._directory / place
            if source.exists():
                target.parent.mkdir(exist_ok=True)
                source.replace(target)
                places.add(target.parent)
        for parent in places:
            sync_directory(parent)

    def check_parts(self) -> None:
        """Return if every file that was committed is where readers look, and whole.

        Raises:
            WarehouseError: one is not (`WAREHOUSE_PART_MISSING`).
        """
        found = {
            f"{table.name}/{each.name}": each.stat().st_size
            for table in TABLES
            if (self._directory / table.name).exists()
            for each in os.scandir(self._directory / table.name)
        }
        for place, size in self._manifest.execute("SELECT place, bytes FROM parts ORDER BY place"):
            if found.get(place) == size:
                continue
            what = "is missing" if place not in found else f"has {found[place]} of {size} bytes"
            raise WarehouseError(
                PART_MISSING,
                f"{self._directory / place} {what}, and its rows are not exported again; restore "
                "it from a backup, or export into an empty directory",
                place,
            )

    def clear_staging(self) -> None:
        """Delete the files of a commit that was never made."""
        for left in self._staging.iterdir():
            left.unlink()

    def _written(self, number: int, commit: Commit) -> list[tuple[str, str, int]]:
        """Write the files of a commit aside, and return where each belongs, and its bytes."""
        written = []
        files = [
            (table, rows, f"part-{number:012d}.parquet") for table, rows in commit.added.items()
        ]
        files += [(table, each.rows, _CURRENT) for table, each in commit.replaced.items()]
        for table, rows, name in files:
            staged = f"{table.name}-{number:012d}.parquet"
            path = self._staging / staged
            parquet.write_table(rows, path, compression="zstd", write_statistics=True)
            with path.open("rb+") as file:
                os.fsync(file.fileno())
            written.append((staged, f"{table.name}/{name}", path.stat().st_size))
        sync_directory(self._staging)
        return written

    def _store(self, place: Place, part: PartitionChanges) -> None:
        where = place[0].value, place[1]
        self._manifest.executemany(
            "DELETE FROM state WHERE source = ? AND source_partition = ? AND entry = ?",
            [(*where, entry) for entry in part.removed],
        )
        self._manifest.executemany(
            "INSERT OR REPLACE INTO state VALUES (?, ?, ?, ?)",
            [(*where, entry, body) for entry, body in part.written.items()],
        )
        progress = part.changes.progress
        self._manifest.execute(
            "INSERT OR REPLACE INTO positions VALUES (?, ?, ?, ?, ?)",
            (*where, progress.last_offset, part.last_record, progress.sequences),
        )


@contextmanager
def opened_parquet(directory: Path) -> Iterator[ParquetTarget]:
    """Hold a directory, check what is there or begin it, and yield the target.

    Args:
        directory: Created if missing.

    Raises:
        ConfigurationError: the directory cannot be used.
        WarehouseError: another run writes it (`WAREHOUSE_BUSY`), it has files with other columns,
            or of another version, or files that no export has listed, it lacks one that was
            exported, or its manifest is damaged.
        DependencyError: the disk takes no more.
    """
    state = directory / _STATE
    with _held(directory), ExitStack() as opened:
        with _usable(directory):
            _check_files(directory, is_new=not (state / _MANIFEST).exists())
            (state / _STAGING).mkdir(parents=True, exist_ok=True)
            manifest = opened.enter_context(
                closing(sqlite3.connect(state / _MANIFEST, isolation_level=None))
            )
            manifest.execute("PRAGMA journal_mode = WAL")
            manifest.execute("PRAGMA synchronous = FULL")
            target = ParquetTarget(directory, manifest)
            _begin(directory, manifest)
            target.move()
            target.check_parts()
            target.clear_staging()
            if not any(directory.glob(f"{SCHEMA_TABLE.name}/*.parquet")):
                target.commit(_empty())
            (directory / NAME).write_text(over_parquet(directory), encoding="utf-8")
        yield target  # whatever fails from here on says itself what has failed


@contextmanager
def _held(directory: Path) -> Iterator[None]:
    """Hold a directory whose name is text, as the libraries of files want it."""
    try:
        str(directory.resolve()).encode()
    except UnicodeEncodeError as error:
        raise ConfigurationError("the name of the directory is not UTF-8", "--to") from error
    try:
        with owned(directory):
            yield
    except HeldError as error:
        raise WarehouseError(BUSY, error.message, "--to") from error


def _begin(directory: Path, manifest: sqlite3.Connection) -> None:
    """Create the tables of a manifest, or check its version."""
    manifest.executescript(f"BEGIN IMMEDIATE;{_CREATE}COMMIT;")
    versions = [version for (version,) in manifest.execute("SELECT version FROM version")]
    if not versions:
        _check_files(directory, is_new=True)  # one that was emptied lists no file either
        with manifest:
            manifest.execute("BEGIN IMMEDIATE")
            manifest.execute("INSERT INTO version VALUES (?)", (VERSION,))
            manifest.execute("INSERT INTO counter VALUES (0)")
    elif versions != [VERSION]:
        raise other_version(versions[0])


def _empty() -> Commit:
    """Return the first commit: a file without rows for each table, so that all can be read."""
    return Commit(
        {table: table.schema.empty_table() for table in LOG_TABLES},
        {table: ReplacedRows(table.schema.empty_table(), ()) for table in STATE_TABLES}
        | {SCHEMA_TABLE: ReplacedRows(table_of(SCHEMA_TABLE, [(VERSION,)]), ())},
    )


def _check_files(directory: Path, *, is_new: bool) -> None:
    """Refuse files with other columns, and files of a directory without a manifest."""
    for table in TABLES:
        files = sorted((directory / table.name).glob("*.parquet"))
        if not files:
            continue
        _check_columns(table, files[-1])
        if is_new:
            raise WarehouseError(
                NOT_EMPTY,
                f"{directory / table.name} has files, and {directory / _STATE} no manifest that "
                "says which rows they hold; export into an empty directory",
                "--to",
            )


def _check_columns(table: Table, path: Path) -> None:
    try:
        found: pa.Schema = parquet.read_schema(path)
    except pa.ArrowInvalid as error:
        raise WarehouseError(NOT_EMPTY, f"{path} is not a Parquet file: {error}", "--to") from error
    wanted = table.schema
    for field in wanted:
        if field.name not in found.names:
            raise mismatch(table.name, field.name, None, str(field.type))
        kind = found.field(field.name).type
        if kind != field.type:
            raise mismatch(table.name, field.name, str(kind), str(field.type))
    for name in found.names:
        if name not in wanted.names:
            raise mismatch(table.name, name, str(found.field(name).type), None)


@contextmanager
def _usable(directory: Path) -> Iterator[None]:
    """Turn what disk and manifest say into errors of the engine.

    SQLite's operational errors are those of its surroundings, as a full disk; its other ones are
    of the file itself.
    """
    try:
        yield
    except (OSError, sqlite3.OperationalError) as error:
        raise DependencyError("disk", f"{directory} cannot be written: {error}") from error
    except sqlite3.DatabaseError as error:
        raise WarehouseError(
            DAMAGED,
            f"{directory / _STATE / _MANIFEST} is damaged ({error}); restore the whole directory "
            "from a backup, or export into an empty one",
            "--to",
        ) from error
