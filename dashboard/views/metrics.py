"""All metrics of all variants, and the same by the values of a dimension."""

from __future__ import annotations

from dataclasses import dataclass

from dashboard.views.facts import ExperimentFacts
from dashboard.views.isolation import isolated
from dashboard.views.text import count, duration, lift, number, percent, scale_of
from streams.experiments.statistics.dimension_report import DimensionReport

_ROLES = {
    "primary": "decides",
    "secondary": "compared",
    "guardrail": "guardrail",
    "observed": "not declared",
}
_ROLE_ORDER = [*_ROLES]
_MS_PER_S = 1_000
_SMALLEST_P = 0.001


@dataclass(frozen=True, slots=True)
class TableCell:
    """One metric of one variant.

    Attributes:
        index, name: The variant.
        units: Units with a value.
        mean: Mean per unit.
        difference, credible, relative, p_value: Against the control; empty of the control.
    """

    index: int
    name: str
    units: str
    mean: str
    difference: str = ""
    credible: str = ""
    relative: str = ""
    p_value: str = ""


@dataclass(frozen=True, slots=True)
class MetricTable:
    """A metric.

    Attributes:
        name: Its name.
        role: What it is for.
        about: Kind, direction, and what else is particular.
        cells: A row for each variant.
    """

    name: str
    role: str
    about: str
    cells: tuple[TableCell, ...]


@dataclass(frozen=True, slots=True)
class SliceRow:
    """One variant at one value of a dimension.

    Attributes:
        value: The value.
        index, name: The variant.
        units, mean: Of the primary metric.
        difference, range: Against the control, with the corrected confidence sequence.
        is_different: Whether that excludes 0.
        is_mismatch: Whether the units of the value are not comparable.
    """

    value: str
    index: int
    name: str
    units: str
    mean: str
    difference: str
    range: str
    is_different: bool
    is_mismatch: bool


@dataclass(frozen=True, slots=True)
class Slices:
    """A metric by the values of a dimension.

    Attributes:
        dimension: Name of the dimension.
        metric: Name of the metric.
        rows: A row for each value and variant.
        error: Probability that any of the ranges ever misses.
        comparisons: Number of ranges it is divided among.
    """

    dimension: str
    metric: str
    rows: tuple[SliceRow, ...]
    error: str
    comparisons: str


def metric_tables(facts: ExperimentFacts) -> list[MetricTable]:
    """Return a table for each metric: the one that decides, then the others by role and name."""
    models = facts.stats.metrics

    def order(name: str) -> tuple[int, str]:
        role = models[name].role
        return (_ROLE_ORDER.index(role) if role in _ROLES else len(_ROLES), name)

    return [_table(facts, name) for name in sorted(models, key=order)]


def _table(facts: ExperimentFacts, name: str) -> MetricTable:
    model = facts.stats.metrics[name]
    about = [str(model.kind), f"should {model.direction}"]
    if not model.is_declared:
        about[0] += " (inferred)"
    if model.maturity:
        about.append(f"units whose {duration(model.maturity * _MS_PER_S)} are over")
    if model.variance_removed is not None:
        about.append(f"covariates explain {percent(model.variance_removed)}")
    if model.winsorized_at is not None:
        about.append(f"values of units capped at {number(model.winsorized_at)}")
    return MetricTable(
        name,
        _ROLES.get(model.role, str(model.role)),
        ", ".join(about),
        tuple(_cell(facts, name, index) for index in range(len(facts.stats.variants))),
    )


def _cell(facts: ExperimentFacts, name: str, index: int) -> TableCell:
    variant, scale = facts.stats.variants[index], facts.scale_of(name)
    report = variant.stats.metrics.get(name)
    if report is None:
        return TableCell(index, variant.name, "0", "–")
    width = None if report.lower is None or report.upper is None else report.upper - report.lower
    units, mean = count(report.units), scale.value(report.mean, width)
    against = report.against_control
    if against is None:
        return TableCell(index, variant.name, units, mean)
    spread = against.difference_upper - against.difference_lower
    return TableCell(
        index,
        variant.name,
        units,
        mean,
        scale.difference(against.difference, spread),
        scale.interval(against.difference_lower, against.difference_upper),
        lift(against),
        p_value(against.p_value),
    )


def p_value(value: float) -> str:
    """Return an always-valid p-value.

    >>> p_value(0.00001), p_value(0.0312), p_value(1.0)
    ('< 0.001', '0.031', '1')
    """
    if value < _SMALLEST_P:
        return f"< {_SMALLEST_P}"
    text = f"{value:.3f}"
    return "1" if text == "1.000" else text


def slices(facts: ExperimentFacts, dimension: DimensionReport, metric: str) -> Slices:
    """Return a metric by the values of a dimension."""
    scale = (
        scale_of(facts.stats.metrics[metric].kind)
        if metric in facts.stats.metrics
        else (facts.scale)
    )
    rows = []
    for value in dimension.values:
        for index, variant in enumerate(value.variants):
            report = variant.metrics.get(metric)
            against = None if report is None else report.against_control
            spread = (
                None
                if against is None or against.lower is None or against.upper is None
                else against.upper - against.lower
            )
            rows.append(
                SliceRow(
                    value="all others" if value.value is None else isolated(value.value),
                    index=index,
                    name=facts.names[index],
                    units=count(variant.units),
                    mean="–" if report is None else scale.value(report.mean, spread),
                    difference=(
                        "" if against is None else scale.difference(against.difference, spread)
                    ),
                    range="" if against is None else scale.interval(against.lower, against.upper),
                    is_different=against is not None and against.is_different,
                    is_mismatch=value.sample_ratio.is_mismatch,
                )
            )
    return Slices(
        dimension.name, metric, tuple(rows), percent(dimension.error), count(dimension.comparisons)
    )
