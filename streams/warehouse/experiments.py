"""Experiments as commands and snapshots have left them, as rows of the tables that say what holds.

A draft may be changed as a whole, so the plan of an experiment is known once it has started; no
command after that changes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any

import orjson
import pyarrow as pa

from schemas import catalogue
from streams.experiments.config import ExperimentConfig
from streams.experiments.lifecycle import Experiment, Status
from streams.experiments.measurement_plan import plan_of
from streams.experiments.snapshot import Snapshot
from streams.experiments.statistics.metric_model import MetricRole
from streams.fold.experiment_state import ExperimentState
from streams.kafka.records import StoredRecord, records_since
from streams.model.errors import EventError
from streams.model.events import CONCLUSION
from streams.model.ids import experiment_id
from streams.model.partitioning import Partition
from streams.model.quantities import ALLOCATION_TOTAL, MICRO
from streams.model.times import LAST_MS
from streams.replay.partitions import Reading
from streams.stats.kinds import MetricKind
from streams.tallies.plan import PLAIN, Plan
from streams.warehouse.columns import FIRST_MS
from streams.warehouse.tables import (
    EXPERIMENTS,
    METRICS,
    STATE_TABLES,
    TEST_RESULTS,
    VARIANTS,
    Table,
)
from streams.warehouse.target import ReplacedRows
from streams.wire.commands import decode_command
from streams.wire.decisions import decode_decision
from streams.wire.snapshots import decode_snapshot

Row = tuple[Any, ...]
_AGAINST = (
    "probability_better",
    "expected_loss",
    "difference",
    "difference_lower",
    "difference_upper",
    "relative",
    "relative_lower",
    "relative_upper",
    "p_value",
    "sequence_lower",
    "sequence_upper",
)


class Experiments:
    """Reads `commands` and snapshots on, from where they were read before.

    Args:
        reading: The log.
        generation: Gives the generation whose snapshots are read.
    """

    def __init__(self, reading: Reading, generation: Callable[[], int]) -> None:
        self._reading = reading
        self._generation = generation
        self._positions: dict[str, dict[int, int]] = {}
        self._states: dict[int, ExperimentState] = {}
        self._plans: dict[int, Plan] = {}
        self._snapshots: dict[int, Snapshot] = {}
        self._conclusions: dict[int, Snapshot] = {}
        self._rows: dict[int, dict[Table, list[Row]]] = {}
        self._changed: set[int] = set()
        self._dimensions: dict[tuple[int, bytes], str | None] = {}

    def plan_of(self, number: int) -> Plan | None:
        """Return the plan of an experiment that has started; None while it is not known."""
        plan = self._plans.get(number)
        if plan is None and (found := self._experiment(number)) is not None:
            if found.status is Status.DRAFT:
                return None
            plan = self._plans[number] = plan_of(found.definition, found.n_started)
        return plan

    def learn(self, number: int) -> None:
        """Read `commands` to their end, by which the plan of an experiment is known permanently.

        Receipts exist only after the start of their experiment is durable. So one that is not there
        by then was not started before them, and is counted plainly, as workers do.
        """
        self.read_commands()
        if self.plan_of(number) is None:
            found = self._experiment(number)
            self._plans[number] = (
                PLAIN if found is None else plan_of(found.definition, found.n_started)
            )

    def read_commands(self) -> None:
        """Apply the commands since the last call."""
        self._read(catalogue.COMMANDS.name, self._take_commands)

    def read_snapshots(self) -> None:
        """Take the newest snapshots since the last call."""
        newest: dict[bytes | None, StoredRecord] = {}

        def take(_: Partition, records: Iterable[StoredRecord]) -> None:
            newest.update((record.key, record) for record in records)

        topic = catalogue.of_generation(catalogue.POSTERIORS, self._generation())
        self._read(topic.name, take)
        for record in newest.values():
            if record.value is None:
                continue
            try:
                snapshot = decode_snapshot(record.value, self._reading.codec)
            except EventError:
                continue  # the next one of the experiment is in its place
            number = snapshot.experiment.number
            known = self._snapshots.get(number)
            if known is None or known.order <= snapshot.order:
                self._snapshots[number] = snapshot
                self._changed.add(number)
        self._read_conclusions()

    def _read_conclusions(self) -> None:
        """Take the reports of conclusions where no snapshot is, as after a rebuild."""
        lacking = {
            number
            for number, state in self._states.items()
            if number not in self._snapshots
            and state.experiment is not None
            and state.experiment.concluded_at_ms is not None
        }
        if lacking:
            self._read(catalogue.DECISIONS.name, self._take_conclusions)
        for number in lacking & self._conclusions.keys():
            self._snapshots[number] = self._conclusions[number]
            self._changed.add(number)

    def _take_conclusions(self, _: Partition, records: Iterable[StoredRecord]) -> None:
        for record in records:
            try:
                decision = decode_decision(record.value, self._reading.codec)
                if decision.kind == CONCLUSION:
                    report = decode_snapshot(decision.snapshot)
                    self._conclusions.setdefault(decision.experiment, report)
            except EventError:
                continue

    def take_changes(self) -> dict[Table, ReplacedRows]:
        """Return the tables that say what holds now; none if nothing has changed."""
        if not self._changed:
            return {}
        changed, self._changed = sorted(self._changed), set()
        for number in changed:
            self._rows[number] = self._rows_of(number)
        names = [experiment_id(number) for number in changed]
        return {table: ReplacedRows(self._table(table), names) for table in STATE_TABLES}

    def dimensions_of(self, number: int, packed: bytes) -> str | None:
        """Return the values of a unit in the dimensions of its experiment, as JSON."""
        key = number, packed
        if key not in self._dimensions:
            found = self._experiment(number)
            self._dimensions[key] = None if found is None else _dimensions(found, packed)
        return self._dimensions[key]

    def _experiment(self, number: int) -> Experiment | None:
        state = self._states.get(number)
        return None if state is None else state.experiment

    def _read(self, topic: str, take: Callable[[Partition, Iterable[StoredRecord]], None]) -> None:
        for partition, records in records_since(
            self._reading, topic, self._positions.setdefault(topic, {})
        ):
            take(partition, records)

    def _take_commands(self, partition: Partition, records: Iterable[StoredRecord]) -> None:
        for record in records:
            try:
                command = decode_command(record.value, partition, self._reading.codec)
            except EventError:
                continue  # a dead letter
            state = self._states.setdefault(command.experiment, ExperimentState(command.experiment))
            state.take_command(record.offset, command)
            if state.experiment is not None:
                self._changed.add(command.experiment)

    def _rows_of(self, number: int) -> dict[Table, list[Row]]:
        snapshot = self._snapshots.get(number)
        experiment = self._experiment(number)
        if experiment is None:
            assert snapshot is not None  # noqa: S101 - one of both has changed
            experiment = snapshot.experiment
        return {
            EXPERIMENTS: [_experiment_row(experiment, snapshot)],
            VARIANTS: _variant_rows(experiment, snapshot),
            METRICS: _metric_rows(experiment),
            TEST_RESULTS: [] if snapshot is None else _result_rows(snapshot),
        }

    def _table(self, table: Table) -> pa.Table:
        rows = [row for _, found in sorted(self._rows.items()) for row in found[table]]
        return table_of(table, rows)


def table_of(table: Table, rows: list[Row]) -> pa.Table:
    """Return rows as an Arrow table."""
    columns = list(zip(*rows, strict=True)) or [()] * len(table.columns)
    arrays = [
        pa.array(column, each.type.arrow)
        for column, each in zip(columns, table.columns, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=table.schema)


def _experiment_row(experiment: Experiment, snapshot: Snapshot | None) -> Row:
    config = experiment.definition.config
    winner = experiment.winner if snapshot is None else snapshot.winner
    evaluated: Row = (None,) * 8
    if snapshot is not None:
        evaluated = (
            snapshot.recommended_action.value,
            snapshot.reason_code.value,
            snapshot.confidence,
            snapshot.duplicates,
            sum(each.units for each in snapshot.voided),
            sum(each.requests for each in snapshot.outside),
            snapshot.version,
            _time(snapshot.as_of_ms or None),
        )
    return (
        experiment.id,
        experiment.key,
        config.name,
        config.description,
        config.type,
        config.unit.value,
        config.exposure.value,
        experiment.status.value,
        experiment.version,
        config.primary_metric,
        config.traffic_allocation,
        config.attribution_window or None,
        _time(experiment.created_at_ms),
        _time(experiment.started_at_ms),
        _time(experiment.concluded_at_ms),
        None if winner is None else experiment.variant_id(winner),
        *evaluated,
        config.model_dump_json(by_alias=True),
    )


def _variant_rows(experiment: Experiment, snapshot: Snapshot | None) -> list[Row]:
    rows = []
    reports = () if snapshot is None else snapshot.variants
    weights = () if snapshot is None else snapshot.allocation.weights
    for index, spec in enumerate(experiment.definition.variants):
        evaluated: Row = (None,) * 9
        if index < len(reports):
            report = reports[index]
            evaluated = (
                weights[index] / ALLOCATION_TOTAL if index < len(weights) else None,
                report.assignments,
                report.exposures,
                report.observations,
                report.mean,
                report.lower,
                report.upper,
                report.probability_best,
                report.expected_loss,
            )
        rows.append(
            (
                experiment.id,
                experiment.variant_id(index),
                index,
                spec.name,
                spec.is_control,
                spec.is_active,
                spec.weight,
                orjson.dumps(spec.config).decode(),
                *evaluated,
            )
        )
    return rows


def _metric_rows(experiment: Experiment) -> list[Row]:
    """Return what is declared of the metrics, with the bounds that the plan has."""
    config = experiment.definition.config
    plan = plan_of(experiment.definition, experiment.n_started)
    parts = {part for spec in config.metrics.values() for part in spec.components or ()}
    names = {
        *config.counted_metrics,
        config.primary_metric,
        *config.secondary_metrics,
        *config.guardrail_metrics,
        *config.metrics,
    }
    windows = dict(plan.windows) | dict(plan.limits)
    rows = []
    for name in sorted(names):
        spec = config.spec(name)
        numerator, denominator = spec.components or (None, None)
        rows.append(
            (
                experiment.id,
                name,
                config.role(name).value,
                None if spec.kind is None else spec.kind.value,
                numerator,
                denominator,
                _value(plan.floors.get(name)),
                _value(plan.caps.get(name)),
                plan.delays.get(name),
                windows.get(name),
                _reads_once(config, name, is_part=name in parts),
            )
        )
    return rows


def _reads_once(config: ExperimentConfig, name: str, *, is_part: bool) -> bool:
    """Return whether a metric may be read as `streams.analysis.binary_once` says."""
    spec = config.spec(name)
    is_bounded = any(each is not None for each in (spec.floor, spec.cap, spec.winsorize))
    return not (is_part or is_bounded) and spec.model_kind in {None, MetricKind.BINARY}


def _result_rows(snapshot: Snapshot) -> list[Row]:
    experiment = snapshot.experiment
    return [
        (
            experiment.id,
            experiment.variant_id(index),
            name,
            _role(snapshot, name),
            report.kind.value,
            snapshot.version,
            report.units,
            report.observations,
            _value(report.sum_micro),
            report.mean,
            report.lower,
            report.upper,
            *(getattr(report.against_control, each, None) for each in _AGAINST),
        )
        for index, variant in enumerate(snapshot.variants)
        for name, report in variant.metrics.items()
    ]


def _role(snapshot: Snapshot, name: str) -> str:
    model = snapshot.metrics.get(name)
    return MetricRole.OBSERVED.value if model is None else model.role.value


def _dimensions(experiment: Experiment, packed: bytes) -> str:
    dimensions = experiment.definition.config.dimensions
    found: Mapping[str, str | None] = {
        each.name: each.values[index - 1] if 0 < index <= len(each.values) else None
        for each, index in zip(dimensions, packed, strict=False)
    }
    return orjson.dumps(found).decode()


def _value(micro: int | None) -> Decimal | None:
    return (
        None
        if micro is None
        else Decimal(micro).scaleb(-6)
        if micro % MICRO
        else Decimal(micro // MICRO)
    )


def _time(milliseconds: int | None) -> int | None:
    if milliseconds is None:
        return None
    return 1000 * min(max(milliseconds, FIRST_MS), LAST_MS)
