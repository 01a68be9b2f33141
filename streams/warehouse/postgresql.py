"""A PostgreSQL as target: rows by COPY, and the state of the folds in the same transaction."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from io import BytesIO
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.compute as pc
from psycopg import sql
from pyarrow import csv

from streams.model.errors import ConfigurationError, DependencyError, EngineError, quoted
from streams.tallies.cell import Source
from streams.warehouse.silence import SilenceLimit
from streams.warehouse.sql import warehouse_sql
from streams.warehouse.tables import TABLES, VERSION, VERSION_TABLE, Table, columns_of
from streams.warehouse.target import (
    BUSY,
    REFUSED,
    Commit,
    PartitionChanges,
    Place,
    StoredState,
    WarehouseError,
    mismatch,
    other_version,
)

LOCK_WAIT_S = 15.0
"""Time that the session of an export that died may take to end."""

ANSWER_S = 120.0
"""Longest time that the server may take for a statement, or to take 20,000 rows."""

_LOCK_EVERY_S = 0.2
_LOCK = 0x45585054  # with the hash of the schema's name, the advisory lock of an export
_CSV_ROWS = 20_000
_CSV = csv.WriteOptions(include_header=False)
_PORTS = 65_535

_CONNECTION: dict[str, Any] = {
    "application_name": "experiment export",
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
}
"""Parameters for an address that does not set them, by which a host that has disappeared is noticed
within a minute."""

_SESSION = """
SET tcp_keepalives_idle = 30; SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 3
"""
"""The same for the server, which otherwise would keep the lock of an export whose host has
disappeared."""

_PASSING = ("08", "25006", "25P03", "25P04", "40", "53", "55", "57", "58")
"""Beginnings of SQLSTATEs under which the same commit may succeed later: connection, transaction
that may only read (a standby), time limits of transactions, conflicts of transactions, resources as
the disk, locks, the operator, the system."""

_UNREACHABLE = (psycopg.OperationalError, psycopg.InterfaceError)

_QUOTED = re.compile(r'"[^"]*"')
_INVALID_OPTION = re.compile(
    r'invalid \w+ value: "[^"]*"|invalid integer value "[^"]*" for connection option "\w+"'
)

_COLUMNS = """
SELECT table_name, column_name,
       CASE WHEN data_type = 'numeric' AND numeric_precision IS NOT NULL
            THEN 'numeric(' || numeric_precision || ',' || numeric_scale || ')'
            ELSE data_type END,
       is_nullable = 'YES', column_default IS NOT NULL
FROM information_schema.columns
WHERE table_schema = current_schema() AND table_name = ANY(%s)
"""
_POSITIONS = """
INSERT INTO warehouse_positions VALUES (%s, %s, %s, %s, %s)
ON CONFLICT (source, source_partition) DO UPDATE SET last_offset = excluded.last_offset,
    last_record = excluded.last_record, sequences = excluded.sequences
"""


class PostgresTarget:
    """A schema of a PostgreSQL, held by an advisory lock.

    Args:
        connection: Of an export alone, with autocommit.
        silence: Ends it when the server no longer answers.
    """

    def __init__(self, connection: psycopg.Connection, silence: SilenceLimit) -> None:
        self._connection = connection
        self._silence = silence

    def states(self) -> Mapping[Place, StoredState]:
        """Return what was stored of every partition."""
        with self._transaction() as cursor:
            entries: dict[tuple[str, int], dict[str, bytes]] = {}
            cursor.execute("SELECT source, source_partition, entry, body FROM warehouse_state")
            for source, partition, entry, body in cursor:
                entries.setdefault((source, partition), {})[entry] = body
            cursor.execute("SELECT * FROM warehouse_positions")
            return {
                (Source(source), partition): StoredState(
                    last_offset, last_record, sequences, entries.get((source, partition), {})
                )
                for source, partition, last_offset, last_record, sequences in cursor
            }

    def commit(self, commit: Commit) -> None:
        """Take a commit as one transaction; see `Target.commit`."""
        heard = self._silence.heard
        with self._transaction() as cursor:
            for table, rows in commit.added.items():
                _copy(cursor, table, rows, heard)
            for table, replaced in commit.replaced.items():
                changed = list(replaced.changed)
                name = sql.Identifier(table.name)
                cursor.execute(
                    sql.SQL("DELETE FROM {} WHERE experiment_id = ANY(%s)").format(name), [changed]
                )
                of_changed = pc.is_in(replaced.rows["experiment_id"], pa.array(changed))
                _copy(cursor, table, replaced.rows.filter(of_changed), heard)
            for place, part in commit.parts.items():
                _store(cursor, place, part)
                heard()

    @contextmanager
    def _transaction(self) -> Iterator[psycopg.Cursor]:
        with (
            _answering(self._silence),
            self._connection.transaction(),
            self._connection.cursor() as cursor,
        ):
            yield cursor


@contextmanager
def opened_postgres(url: str) -> Iterator[PostgresTarget]:
    """Connect, check the tables or create them, and yield the target.

    Args:
        url: `postgresql://…`; what it does not say comes from the environment, as for `psql`.

    Raises:
        ConfigurationError: `url` is not an address of a PostgreSQL.
        DependencyError: it does not answer.
        WarehouseError: another export holds the schema, a table has other columns, or the tables
            are of another version.
    """
    parameters = {**_CONNECTION, **_parameters(url)}
    try:
        with _answering():
            connection = psycopg.connect(autocommit=True, **parameters)
    except UnicodeError as error:
        fault = "the host is no name: a label has more than 63 characters, or none"
        raise ConfigurationError(f"not an address of a PostgreSQL: {fault}", "--to") from error
    silence = SilenceLimit(connection.fileno(), ANSWER_S)
    try:
        with silence.watched():
            with _answering(silence):
                connection.execute(_SESSION)
                _lock(connection, silence.heard)
                with connection.transaction(), connection.cursor() as cursor:
                    _prepare(cursor)
            yield PostgresTarget(connection, silence)
    finally:
        connection.close()


def _parameters(url: str) -> dict[str, Any]:
    """Return the parameters of an address that libpq can use, whatever answers there.

    What is wrong is not repeated: where it is not percent-encoded, it may be part of a password.

    Raises:
        ConfigurationError: `url` is not an address of a PostgreSQL.
    """
    try:
        found = psycopg.conninfo.conninfo_to_dict(url)
    except psycopg.ProgrammingError as error:
        fault = _one_line(_QUOTED.sub("...", str(error)))
        raise ConfigurationError(f"not an address of a PostgreSQL: {fault}", "--to") from None
    ports = [port for port in str(found.get("port", "")).split(",") if port]
    if any(
        not (port.isascii() and port.isdigit() and 1 <= int(port[:6]) <= _PORTS) for port in ports
    ):
        raise ConfigurationError(
            f"not an address of a PostgreSQL: the port must be a number in 1..{_PORTS}; "
            "in a user or a password @ : / ? # and % are percent-encoded",
            "--to",
        )
    return found


def _lock(connection: psycopg.Connection, heard: Callable[[], None]) -> None:
    """Hold the schema until the connection ends."""
    schema = connection.execute("SELECT current_schema()").fetchone()
    if schema is None or schema[0] is None:
        raise ConfigurationError("the search_path names no schema that exists", "--to")
    until = time.monotonic() + LOCK_WAIT_S
    statement = "SELECT pg_try_advisory_lock(%s, hashtext(current_schema()))"
    while (taken := connection.execute(statement, [_LOCK]).fetchone()) != (True,):
        del taken
        heard()
        if time.monotonic() > until:
            raise WarehouseError(
                BUSY, f"another export writes the schema {quoted(schema[0])}", "--to"
            )
        time.sleep(_LOCK_EVERY_S)


def _prepare(cursor: psycopg.Cursor) -> None:
    cursor.execute("SELECT to_regclass(%s)", [VERSION_TABLE])
    found = cursor.fetchone()
    _check_columns(cursor)
    if found is not None and found[0] is not None:
        cursor.execute(sql.SQL("SELECT version FROM {}").format(sql.Identifier(VERSION_TABLE)))
        versions = [version for (version,) in cursor]
        if versions == [VERSION]:
            return
        if versions:
            raise other_version(versions[0])
    cursor.execute(warehouse_sql().encode())


def _check_columns(cursor: psycopg.Cursor) -> None:
    """Refuse tables of our names with other columns."""
    cursor.execute(_COLUMNS, [[table.name for table in TABLES]])
    found: dict[str, dict[str, tuple[str, bool, bool]]] = {}
    for name, column, kind, is_nullable, has_default in cursor:
        found.setdefault(name, {})[column] = kind, is_nullable, has_default
    for table in TABLES:
        there = found.get(table.name)
        if there is None:
            continue
        wanted = dict(columns_of(table))
        may_be_null = {each.name for each in table.columns if each.is_nullable}
        for column, kind in wanted.items():
            if column not in there:
                raise mismatch(table.name, column, None, kind)
            found_kind, is_nullable, _ = there[column]
            if column in may_be_null and not is_nullable:
                found_kind += " NOT NULL"
            if found_kind != kind:
                raise mismatch(table.name, column, found_kind, kind)
        for column, (kind, is_nullable, has_default) in there.items():
            if column not in wanted and not (is_nullable or has_default):
                raise mismatch(table.name, column, f"{kind} NOT NULL", None)


def _copy(cursor: psycopg.Cursor, table: Table, rows: pa.Table, heard: Callable[[], None]) -> None:
    columns = sql.SQL(", ").join(sql.Identifier(each.name) for each in table.columns)
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT csv)").format(
        sql.Identifier(table.name), columns
    )
    with cursor.copy(statement) as copy:
        for batch in rows.to_batches(_CSV_ROWS):
            buffer = BytesIO()
            csv.write_csv(batch, buffer, _CSV)
            copy.write(buffer.getbuffer())
            heard()
    heard()


def _store(cursor: psycopg.Cursor, place: Place, part: PartitionChanges) -> None:
    source, partition = place[0].value, place[1]
    progress = part.changes.progress
    gone = [*part.removed, *part.written]
    cursor.execute(
        "DELETE FROM warehouse_state WHERE source = %s AND source_partition = %s "
        "AND entry = ANY(%s)",
        [source, partition, gone],
    )
    with cursor.copy(
        "COPY warehouse_state (source, source_partition, entry, body) FROM STDIN (FORMAT binary)"
    ) as copy:
        copy.set_types(["text", "int4", "text", "bytea"])
        for entry, body in part.written.items():
            copy.write_row((source, partition, entry, body))
    values = source, partition, progress.last_offset, part.last_record, progress.sequences
    cursor.execute(_POSITIONS, values)


@contextmanager
def _answering(silence: SilenceLimit | None = None) -> Iterator[None]:
    """Turn what PostgreSQL says into errors of the engine; passwords are in none of them."""
    try:
        with nullcontext() if silence is None else silence.waiting():
            yield
    except psycopg.Error as error:
        if silence is not None and silence.is_exceeded:
            message = f"PostgreSQL has not answered for {ANSWER_S:g} s"
            raise DependencyError("postgresql", message) from error
        raise _engine_error(error) from error


def _engine_error(error: psycopg.Error) -> EngineError:
    """Return the error of the engine for one of PostgreSQL: one that may pass, or a refusal."""
    said = _one_line(error.diag.message_primary or str(error))
    fault = _INVALID_OPTION.search(said)
    if fault is not None:
        return ConfigurationError(f"not an address of a PostgreSQL: {fault[0]}", "--to")
    if error.sqlstate is None and isinstance(error, _UNREACHABLE):
        return DependencyError("postgresql", f"PostgreSQL cannot be reached: {said}")
    if (error.sqlstate or "").startswith(_PASSING):
        return DependencyError("postgresql", f"PostgreSQL cannot take the rows now: {said}")
    return WarehouseError(REFUSED, f"PostgreSQL refuses the rows: {said}", "--to")


def _one_line(text: str) -> str:
    return "; ".join(line.strip() for line in text.splitlines() if line.strip())
