"""A point of the time series of an experiment: its statistics at one time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from streams.experiments.snapshot import CellPlace, Snapshot
from streams.experiments.statistics.metric_model import MetricRole
from streams.experiments.statistics.recommendation import ReasonCode, RecommendedAction
from streams.experiments.statistics.variant_report import MetricReport
from streams.experiments.thinning import SLOT_MS
from streams.model.published import Int32, Open, Published

MOST_COMPARED = 128
"""Variants times declared metrics up to which a point has all of these metrics; beyond, only the
primary one. A point has up to 13 kB at this limit with names of 10 letters, and 30 kB with 256
variants."""

_DECLARED = (MetricRole.PRIMARY, MetricRole.SECONDARY, MetricRole.GUARDRAIL)


@dataclass(frozen=True, slots=True)
class PointMetric(Published):
    """One metric of one variant at a time.

    Attributes:
        mean, lower, upper: As in `MetricReport`.
        probability_better, difference, difference_lower, difference_upper, sequence_lower,
            sequence_upper: As in `AgainstControl`; None of the control, too.
    """

    mean: float | None
    lower: float | None
    upper: float | None
    probability_better: float | None = None
    difference: float | None = None
    difference_lower: float | None = None
    difference_upper: float | None = None
    sequence_lower: float | None = None
    sequence_upper: float | None = None


@dataclass(frozen=True, slots=True)
class PointVariant(Published):
    """One variant at a time.

    Attributes:
        assignments, exposures, observations, probability_best: As in `VariantReport`.
        weight: Its weight in the allocation, out of 65,536.
        metrics: Its declared metrics by name, or the primary one (`MOST_COMPARED`).
    """

    assignments: int
    observations: int
    weight: Int32
    probability_best: float
    metrics: dict[str, PointMetric]
    exposures: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TimePoint(Published):
    """Statistics of an experiment at one time.

    Attributes:
        experiment: Number of the experiment.
        at_ms: Time of the newest included event, in milliseconds since the epoch, > 0.
        version: Version of its snapshot.
        experiment_version: Version of the experiment in that snapshot.
        generation: Generation of the snapshot: other generations may have different cells.
        status: Status of the experiment.
        recommended_action, reason_code: Recommendation, and its reason.
        variants: The variants at that time, in the order of the definition.
        cells: Cells that the snapshot was computed from, for replays.
    """

    experiment: int
    at_ms: int
    version: int
    experiment_version: int
    generation: int
    status: str
    recommended_action: Open[RecommendedAction]
    reason_code: Open[ReasonCode]
    variants: tuple[PointVariant, ...]
    cells: tuple[CellPlace, ...] = field(default_factory=tuple)

    @property
    def slot(self) -> int:
        """Slot of its time (`streams.experiments.thinning`)."""
        return self.at_ms // SLOT_MS


def has_point(snapshot: Snapshot) -> bool:
    """Return whether a snapshot has a point: it was evaluated and includes events."""
    return (
        snapshot.failure is None
        and snapshot.as_of_ms > 0
        and snapshot.experiment.started_at_ms is not None
        and bool(snapshot.cells)
    )


def point_of(snapshot: Snapshot, generation: int) -> TimePoint:
    """Return the point of a snapshot.

    Args:
        snapshot: One that `has_point`.
        generation: Generation of the snapshot.
    """
    names = metrics_of_points(snapshot)
    return TimePoint(
        experiment=snapshot.experiment.number,
        at_ms=snapshot.as_of_ms,
        version=snapshot.version,
        experiment_version=snapshot.experiment.version,
        generation=generation,
        status=snapshot.experiment.status.value,
        recommended_action=snapshot.recommended_action,
        reason_code=snapshot.reason_code,
        variants=tuple(
            PointVariant(
                assignments=report.assignments,
                exposures=report.exposures,
                observations=report.observations,
                weight=weight,
                probability_best=report.probability_best,
                metrics=_metrics(report.metrics, names),
            )
            for report, weight in zip(snapshot.variants, snapshot.allocation.weights, strict=True)
        ),
        cells=snapshot.cells,
    )


def metrics_of_points(snapshot: Snapshot) -> list[str]:
    """Return the names of the metrics in the point of a snapshot."""
    primary = snapshot.experiment.definition.config.primary_metric
    others = [
        name
        for name, model in snapshot.metrics.items()
        if model.role in _DECLARED and name != primary
    ]
    is_large = (1 + len(others)) * len(snapshot.variants) > MOST_COMPARED
    return [primary] if is_large else [primary, *others]


def _metrics(reports: Mapping[str, MetricReport], names: list[str]) -> dict[str, PointMetric]:
    return {name: _metric(reports[name]) for name in names if name in reports}


def _metric(report: MetricReport) -> PointMetric:
    against = report.against_control
    if against is None:
        return PointMetric(report.mean, report.lower, report.upper)
    return PointMetric(
        report.mean,
        report.lower,
        report.upper,
        against.probability_better,
        against.difference,
        against.difference_lower,
        against.difference_upper,
        against.sequence_lower,
        against.sequence_upper,
    )
