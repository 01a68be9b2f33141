"""Interface of a target: the commit that it takes at once, and the state it gives back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import pyarrow as pa

from streams.fold.partition import Changes
from streams.model.errors import EngineError, quoted
from streams.tallies.cell import Source
from streams.warehouse.tables import VERSION, Table

SCHEMA_MISMATCH = "WAREHOUSE_SCHEMA_MISMATCH"
SCHEMA_VERSION = "WAREHOUSE_SCHEMA_VERSION"
OTHER_LOG = "WAREHOUSE_OTHER_LOG"
NOT_EMPTY = "WAREHOUSE_NOT_EMPTY"
BUSY = "WAREHOUSE_BUSY"
DAMAGED = "WAREHOUSE_DAMAGED"
PART_MISSING = "WAREHOUSE_PART_MISSING"
REFUSED = "WAREHOUSE_REFUSED"

Place = tuple[Source, int]
"""A source topic and a partition of it."""


class WarehouseError(EngineError):
    """A target cannot take the rows as they are; nothing of it was changed.

    Operator action: correct what the message names, or export elsewhere.
    """


@dataclass(frozen=True, slots=True)
class StoredState:
    """State of the fold of one partition, as of the rows that a target has.

    Attributes:
        last_offset: Last offset whose rows it has.
        last_record: Digest of the record there, by which another log is recognised.
        sequences: Sequences of the senders, encoded.
        entries: Encoded cells, segments and ends, by key.
    """

    last_offset: int
    last_record: str
    sequences: bytes
    entries: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class PartitionChanges:
    """Change of the state of one partition by a commit.

    Attributes:
        changes: As the fold has given them.
        last_record: Digest of the last record folded.
        written: New entries by key.
        removed: Keys of entries that are not needed any more.
    """

    changes: Changes
    last_record: str
    written: Mapping[str, bytes]
    removed: Sequence[str]


@dataclass(frozen=True, slots=True)
class ReplacedRows:
    """Rows of a table of current values, which replace the former ones.

    Attributes:
        rows: All rows of it.
        changed: Experiments whose rows differ from those of the last commit.
    """

    rows: pa.Table
    changed: Sequence[str]


@dataclass(frozen=True, slots=True)
class Commit:
    """Rows and the state that they follow from: a target takes all of it or nothing.

    Attributes:
        added: New rows by table.
        replaced: Tables that say what holds now, where something has changed.
        parts: What has changed of the partitions.
    """

    added: Mapping[Table, pa.Table] = field(default_factory=dict)
    replaced: Mapping[Table, ReplacedRows] = field(default_factory=dict)
    parts: Mapping[Place, PartitionChanges] = field(default_factory=dict)


class Warehouse(Protocol):
    """A warehouse that is held for this process alone."""

    def states(self) -> Mapping[Place, StoredState]:
        """Return what was stored of every partition."""

    def commit(self, commit: Commit) -> None:
        """Take a commit: all of it or, when this raises or the process dies, nothing.

        Raises:
            DependencyError: the target does not answer; whether it has taken the commit is seen
                once it is opened again.
            WarehouseError: it refuses the rows.
        """


def mismatch(table: str, column: str, found: str | None, wanted: str | None) -> WarehouseError:
    """Return the error of a target with other columns.

    Args:
        table, column: Where.
        found: Type of the column there; None if it is missing.
        wanted: Type it must have; None if there must be none.
    """
    if found is None:
        what = f"has no column {column}, which must be {wanted}"
    elif wanted is None:
        what = f"has a column {column} that is not of this schema"
    else:
        what = f"has a column {column} of type {found}, which must be {wanted}"
    return WarehouseError(
        SCHEMA_MISMATCH,
        f"the table {table} {what}; export into another schema or directory, or change it as "
        "schemas/warehouse.sql has it",
        f"{table}.{column}",
    )


def other_version(found: object) -> WarehouseError:
    """Return the error of a target whose tables are of another version."""
    return WarehouseError(
        SCHEMA_VERSION,
        f"the tables are of version {quoted(found)}, and this release writes version {VERSION}",
        "warehouse_schema.version",
    )
