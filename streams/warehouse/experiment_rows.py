"""Rows of the tables that say what holds of an experiment now."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import orjson
import pyarrow as pa

from streams.experiments.config import ExperimentConfig
from streams.experiments.lifecycle import Experiment
from streams.experiments.measurement_plan import plan_of
from streams.experiments.snapshot import Snapshot
from streams.experiments.statistics.metric_model import MetricRole
from streams.model.quantities import ALLOCATION_TOTAL, MICRO
from streams.model.times import LAST_MS
from streams.stats.kinds import MetricKind
from streams.warehouse.columns import FIRST_MS
from streams.warehouse.tables import EXPERIMENTS, METRICS, TEST_RESULTS, VARIANTS, Table

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


def table_of(table: Table, rows: list[Row]) -> pa.Table:
    """Return rows as an Arrow table."""
    columns = list(zip(*rows, strict=True)) or [()] * len(table.columns)
    arrays = [
        pa.array(column, each.type.arrow)
        for column, each in zip(columns, table.columns, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=table.schema)


def rows_of(experiment: Experiment, snapshot: Snapshot | None) -> dict[Table, list[Row]]:
    """Return the rows of an experiment.

    Args:
        experiment: Definition and lifecycle.
        snapshot: Its newest statistics; None before the first.
    """
    return {
        EXPERIMENTS: [_experiment_row(experiment, snapshot)],
        VARIANTS: _variant_rows(experiment, snapshot),
        METRICS: _metric_rows(experiment),
        TEST_RESULTS: [] if snapshot is None else _result_rows(snapshot),
    }


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


def dimensions_json(experiment: Experiment, packed: bytes) -> str:
    """Return the values of a unit in the dimensions of an experiment, as JSON."""
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
