"""Tables of a warehouse: the same columns and types in PostgreSQL and in Parquet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from functools import cached_property

import pyarrow as pa

VERSION = 1
"""Version of the tables. A target that says another one is left untouched."""

VERSION_TABLE = "warehouse_schema"


class ColumnType(Enum):
    """Type of a column: its name in PostgreSQL, and that in `information_schema`."""

    TEXT = "TEXT", "text"
    INTEGER = "INTEGER", "integer"
    BIGINT = "BIGINT", "bigint"
    DOUBLE = "DOUBLE PRECISION", "double precision"
    BOOLEAN = "BOOLEAN", "boolean"
    TIME = "TIMESTAMPTZ", "timestamp with time zone"
    VALUE = "NUMERIC(19, 6)", "numeric(19,6)"
    """A value or an amount, exactly: six decimals are micro-units."""
    SUM = "NUMERIC(38, 6)", "numeric(38,6)"

    @property
    def sql(self) -> str:
        """The name in a declaration."""
        return self.value[0]

    @property
    def catalogued(self) -> str:
        """The name in `information_schema.columns`."""
        return self.value[1]

    @property
    def arrow(self) -> pa.DataType:
        """The type in Arrow and Parquet."""
        return _ARROW[self]


_ARROW: dict[ColumnType, pa.DataType] = {
    ColumnType.TEXT: pa.string(),
    ColumnType.INTEGER: pa.int32(),
    ColumnType.BIGINT: pa.int64(),
    ColumnType.DOUBLE: pa.float64(),
    ColumnType.BOOLEAN: pa.bool_(),
    ColumnType.TIME: pa.timestamp("us", "UTC"),
    ColumnType.VALUE: pa.decimal128(19, 6),
    ColumnType.SUM: pa.decimal128(38, 6),
}


@dataclass(frozen=True, slots=True)
class Column:
    """A column.

    Attributes:
        name: Its name.
        type: Its type.
        meaning: One line.
        is_nullable: Whether a row may have none.
    """

    name: str
    type: ColumnType
    meaning: str
    is_nullable: bool = False


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        name: Its name.
        meaning: One sentence.
        columns: Its columns.
        key: Columns of its primary key.
        is_log: Whether rows are only added; those of other tables say what holds now.
        index: Columns of a second index in PostgreSQL; none without.
    """

    name: str
    meaning: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    is_log: bool = False
    index: tuple[str, ...] = ()

    @cached_property
    def schema(self) -> pa.Schema:
        """The columns for Arrow and Parquet."""
        fields = [pa.field(each.name, each.type.arrow, each.is_nullable) for each in self.columns]
        return pa.schema(fields)

    def ddl(self) -> str:
        """Return the statements that create it."""
        lines = [
            f"    {each.name} {each.type.sql}{'' if each.is_nullable else ' NOT NULL'},"
            f"  -- {each.meaning}"
            for each in self.columns
        ]
        lines.append(f"    PRIMARY KEY ({', '.join(self.key)})")
        made = [f"-- {self.meaning}", f"CREATE TABLE IF NOT EXISTS {self.name} (", *lines, ");"]
        if self.index:
            columns = ", ".join(self.index)
            made.append(
                f"CREATE INDEX IF NOT EXISTS {self.name}_by_experiment ON {self.name} ({columns});"
            )
        return "\n".join(made) + "\n"


_T = ColumnType
_PLACE = (
    Column("source_partition", _T.INTEGER, "partition of the topic that the row comes from"),
    Column("source_offset", _T.BIGINT, "offset of its record there"),
    Column("source_index", _T.INTEGER, "place of the event in the record, from 0"),
)
_PLACE_KEY = ("source_partition", "source_offset", "source_index")
_VARIANT = (
    Column("experiment_id", _T.TEXT, "id of the experiment"),
    Column("variant_id", _T.TEXT, "id of the variant"),
    Column("phase", _T.TEXT, "trial; promoted or rolled_back after a conclusion"),
)
_UNIT = (
    Column("assignment_key", _T.BIGINT, "stands for the assignment id, which is a secret"),
    Column("unit_hash", _T.BIGINT, "hash of the unit, as in experiment_assignments"),
)
_ASSIGNED = (
    Column("assigned_at", _T.TIME, "time of the assignment"),
    Column("propensity", _T.DOUBLE, "probability that the variant had, in (0, 1]"),
)


def _optional(name: str, kind: ColumnType, meaning: str) -> Column:
    return Column(name, kind, meaning, is_nullable=True)


EXPERIMENTS = Table(
    "experiments",
    "Experiments as they are now: configuration, status, and what the last evaluation says.",
    (
        Column("experiment_id", _T.TEXT, "id"),
        _optional("key", _T.TEXT, "key by which ad servers ask"),
        Column("name", _T.TEXT, "name"),
        Column("description", _T.TEXT, "description"),
        Column("type", _T.TEXT, "policy: thompson_sampling, ucb, bayesian_ab, …"),
        Column("unit", _T.TEXT, "impression, user or session"),
        Column("exposure", _T.TEXT, "assignment or event: with what a unit begins to count"),
        Column("status", _T.TEXT, "draft, running, paused, concluded or archived"),
        Column("version", _T.BIGINT, "commands applied"),
        Column("primary_metric", _T.TEXT, "metric that decides"),
        Column("traffic_allocation", _T.DOUBLE, "share of the units that take part"),
        _optional("attribution_window_s", _T.BIGINT, "seconds; NULL for no limit"),
        Column("created_at", _T.TIME, "time of its creation"),
        _optional("started_at", _T.TIME, "time of its start"),
        _optional("concluded_at", _T.TIME, "time of its conclusion"),
        _optional("winner_variant_id", _T.TEXT, "declared or chosen winner"),
        _optional("recommended_action", _T.TEXT, "of the last evaluation"),
        _optional("reason_code", _T.TEXT, "why"),
        _optional("confidence", _T.DOUBLE, "probability that the leader is the best"),
        _optional("duplicates", _T.BIGINT, "events that were sent again and not counted"),
        _optional("voided_units", _T.BIGINT, "units that were taken out again"),
        _optional("outside_requests", _T.BIGINT, "requests that took no part, such as junk ids"),
        _optional("snapshot_version", _T.BIGINT, "version of the last evaluation"),
        _optional("as_of", _T.TIME, "time of the newest event in it"),
        Column("config", _T.TEXT, "whole configuration, as JSON"),
    ),
    ("experiment_id",),
)

VARIANTS = Table(
    "experiment_variants",
    "Variants with the statistics of the last evaluation, as `GET /experiments/{id}/stats` says.",
    (
        Column("experiment_id", _T.TEXT, "id of the experiment"),
        Column("variant_id", _T.TEXT, "id"),
        Column("variant_index", _T.INTEGER, "place in the definition, from 0"),
        Column("name", _T.TEXT, "name"),
        Column("is_control", _T.BOOLEAN, "whether the others are compared with it"),
        Column("is_active", _T.BOOLEAN, "whether it is not stopped"),
        _optional("weight", _T.DOUBLE, "declared share of the traffic"),
        Column("config", _T.TEXT, "configuration, as JSON"),
        _optional("allocation", _T.DOUBLE, "share of the traffic now"),
        _optional("assignments", _T.BIGINT, "units assigned"),
        _optional("exposures", _T.BIGINT, "units exposed; NULL where exposures do not count"),
        _optional("observations", _T.BIGINT, "observations of all metrics"),
        _optional("mean", _T.DOUBLE, "posterior mean of the primary metric"),
        _optional("lower", _T.DOUBLE, "lower end of its 95 % credible interval"),
        _optional("upper", _T.DOUBLE, "upper end"),
        _optional("probability_best", _T.DOUBLE, "probability that it is the best"),
        _optional("expected_loss", _T.DOUBLE, "expected loss of choosing it"),
    ),
    ("variant_id",),
)

METRICS = Table(
    "experiment_metrics",
    "Declared metrics: what of a unit's observations counts.",
    (
        Column("experiment_id", _T.TEXT, "id of the experiment"),
        Column("metric", _T.TEXT, "name"),
        Column("role", _T.TEXT, "primary, secondary, guardrail or observed"),
        _optional("kind", _T.TEXT, "declared kind"),
        _optional("numerator", _T.TEXT, "of a ratio"),
        _optional("denominator", _T.TEXT, "of a ratio"),
        _optional("floor", _T.VALUE, "smallest value of a unit"),
        _optional("cap", _T.VALUE, "largest value of a unit"),
        _optional("delay_s", _T.BIGINT, "seconds before which observations do not count"),
        _optional("window_s", _T.BIGINT, "seconds after which they do not count"),
        Column("reads_once", _T.BOOLEAN, "whether a unit counts once if all values are 0 or 1"),
    ),
    ("experiment_id", "metric"),
)

TEST_RESULTS = Table(
    "experiment_test_results",
    "Every metric of every variant as of the last evaluation, and how it compares to the control.",
    (
        Column("experiment_id", _T.TEXT, "id of the experiment"),
        Column("variant_id", _T.TEXT, "id of the variant"),
        Column("metric", _T.TEXT, "name of the metric"),
        Column("role", _T.TEXT, "primary, secondary, guardrail or observed"),
        Column("kind", _T.TEXT, "how it is modelled"),
        Column("snapshot_version", _T.BIGINT, "version of the evaluation"),
        Column("units", _T.BIGINT, "units with an observation"),
        Column("observations", _T.BIGINT, "observations counted"),
        Column("value_sum", _T.SUM, "exact sum of the units' values"),
        _optional("mean", _T.DOUBLE, "posterior mean per unit; NULL where undefined"),
        _optional("lower", _T.DOUBLE, "lower end of its 95 % credible interval"),
        _optional("upper", _T.DOUBLE, "upper end"),
        _optional("probability_better", _T.DOUBLE, "probability that it beats the control"),
        _optional("expected_loss", _T.DOUBLE, "loss of shipping it in place of the control"),
        _optional("difference", _T.DOUBLE, "posterior mean of variant - control"),
        _optional("difference_lower", _T.DOUBLE, "lower end of its 95 % credible interval"),
        _optional("difference_upper", _T.DOUBLE, "upper end"),
        _optional("relative", _T.DOUBLE, "the lift: difference over the control's mean"),
        _optional("relative_lower", _T.DOUBLE, "lower end"),
        _optional("relative_upper", _T.DOUBLE, "upper end"),
        _optional("p_value", _T.DOUBLE, "always-valid p-value of no difference"),
        _optional("sequence_lower", _T.DOUBLE, "lower end of the difference at every look"),
        _optional("sequence_upper", _T.DOUBLE, "upper end"),
    ),
    ("variant_id", "metric"),
)

ASSIGNMENTS = Table(
    "experiment_assignments",
    "Units assigned, each once for every variant it was assigned to.",
    (
        *_PLACE,
        *_VARIANT,
        _UNIT[1],
        *_ASSIGNED,
        Column("allocation_version", _T.BIGINT, "version of the weights that decided"),
        _optional("dimensions", _T.TEXT, "values of the declared dimensions, as JSON"),
        _optional("context", _T.TEXT, "attributes of the request, as JSON"),
    ),
    _PLACE_KEY,
    is_log=True,
    index=("experiment_id", "variant_id"),
)

OBSERVATIONS = Table(
    "experiment_observations",
    "Observations that count: duplicates, untimely and refused ones are left out.",
    (
        *_PLACE,
        *_VARIANT,
        *_UNIT,
        Column("metric", _T.TEXT, "name of the metric"),
        Column("value", _T.VALUE, "value"),
        Column("observed_at", _T.TIME, "time of the observation"),
        *_ASSIGNED,
        _optional("attribution_window_s", _T.BIGINT, "of the assignment; NULL for no limit"),
        _optional("event_id", _T.TEXT, "the sender's name of the event"),
    ),
    _PLACE_KEY,
    is_log=True,
    index=("experiment_id", "metric", "variant_id"),
)

EXPOSURES = Table(
    "experiment_exposures",
    "First exposures of units; one that was earlier and came later is another row.",
    (*_PLACE, *_VARIANT, *_UNIT, Column("exposed_at", _T.TIME, "time of the exposure"), *_ASSIGNED),
    _PLACE_KEY,
    is_log=True,
    index=("experiment_id", "assignment_key"),
)

VOIDS = Table(
    "experiment_voids",
    "Assignments that were voided: nothing of them counts, before or after.",
    (
        *_PLACE,
        *_VARIANT,
        *_UNIT,
        Column("reason", _T.TEXT, "why"),
        Column("voided_at", _T.TIME, "time of the request"),
        _ASSIGNED[0],
    ),
    _PLACE_KEY,
    is_log=True,
    index=("experiment_id", "assignment_key"),
)

SCHEMA = Table(
    VERSION_TABLE,
    "One row: the version of these tables.",
    (Column("version", _T.INTEGER, "version"),),
    ("version",),
)

LOG_TABLES = (ASSIGNMENTS, OBSERVATIONS, EXPOSURES, VOIDS)
STATE_TABLES = (EXPERIMENTS, VARIANTS, METRICS, TEST_RESULTS)
TABLES = (SCHEMA, *STATE_TABLES, *LOG_TABLES)


def ddl() -> str:
    """Return the statements that create all tables and say their version."""
    insert = f"INSERT INTO {VERSION_TABLE} VALUES ({VERSION}) ON CONFLICT DO NOTHING;\n"  # noqa: S608
    return "\n".join([*(table.ddl() for table in TABLES), insert])


def columns_of(table: Table) -> Iterator[tuple[str, str]]:
    """Yield name and type of the columns, as `information_schema` has them."""
    for column in table.columns:
        yield column.name, column.type.catalogued
