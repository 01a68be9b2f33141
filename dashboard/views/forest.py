"""The forest plot: each variant against the control, by both intervals."""

from __future__ import annotations

from dataclasses import dataclass

from dashboard.views.facts import ExperimentFacts
from dashboard.views.scales import Axis, axis_of
from dashboard.views.text import Scale, axis_marks, lift
from streams.experiments.statistics.variant_report import AgainstControl

ROW_HEIGHT = 46
"""Height of the row of a variant, in CSS pixels."""

AXIS_HEIGHT = 40

WIDEST_OF_CREDIBLE = 6.0
"""Largest width of the axis for the sake of sequences, in widths of all credible intervals: the
first sequences are so wide that nothing else could be seen."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A line from one position to another.

    Attributes:
        x, width: Where it begins and how long it is, in percent.
        end: Where it ends, in percent.
        is_cut_left, is_cut_right: Whether it continues beyond the chart.
    """

    x: str
    width: str
    end: str
    is_cut_left: bool = False
    is_cut_right: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """A variant in the plot.

    Attributes:
        index: Index of the variant, which gives its color.
        name: Its name.
        y: Middle of its row, in pixels.
        point: Position of the observed difference, in percent.
        credible: The credible interval.
        sequence: The confidence sequence; None while it is too early to decide.
        difference, credible_text, sequence_text, relative: The same in words.
    """

    index: int
    name: str
    y: int
    point: str
    credible: Bar
    sequence: Bar | None
    difference: str
    credible_text: str
    sequence_text: str
    relative: str


@dataclass(frozen=True, slots=True)
class Forest:
    """The plot.

    Attributes:
        rows: A row for each variant that is compared.
        height: Of the drawing, in pixels.
        zero: Position of "no difference", in percent.
        negligible: What counts as none, around it; None where that is not known.
        marks: Position and text of the marks of the axis.
        unit: Unit of the axis.
        is_mirrored: Whether less is better, so that the axis runs from more to less.
        label: The plot in words.
        metric: Name of the metric.
    """

    rows: tuple[Row, ...]
    height: int
    zero: str
    negligible: Bar | None
    marks: tuple[tuple[str, str], ...]
    unit: str
    is_mirrored: bool
    label: str
    metric: str


def forest(facts: ExperimentFacts) -> Forest | None:
    """Return the plot of the primary metric; None while no variant can be compared.

    Right is better: the differences of a metric that should decrease are mirrored.
    """
    metric = facts.metric
    sign = -1.0 if facts.is_decrease(metric) else 1.0
    found = _against_control(facts, metric)
    if not found:
        return None
    negligible = None if facts.evidence is None else facts.evidence.negligible
    axis = _axis(
        [
            (
                sign * each.difference,
                sign * each.difference_lower,
                sign * each.difference_upper,
                None if each.sequence_lower is None else sign * each.sequence_lower,
                None if each.sequence_upper is None else sign * each.sequence_upper,
            )
            for _, _, each in found
        ]
    )
    scale = facts.scale
    rows = [
        _row(place, index, name, each, axis=axis, sign=sign, scale=scale)
        for place, (index, name, each) in enumerate(found)
    ]
    zone = None if not negligible else _bar(axis, 1.0, -negligible, negligible)
    marks = axis.marks()
    texts = axis_marks([sign * scale.shown(mark) for mark in marks], is_signed=True)
    return Forest(
        rows=tuple(rows),
        height=len(rows) * ROW_HEIGHT + AXIS_HEIGHT,
        zero=axis.at(0.0),
        negligible=zone,
        marks=tuple(zip(map(axis.at, marks), texts, strict=True)),
        unit=scale.unit,
        is_mirrored=sign < 0,
        label=_label(facts, rows),
        metric=metric,
    )


def _against_control(facts: ExperimentFacts, metric: str) -> list[tuple[int, str, AgainstControl]]:
    """Return index, name and comparison of each variant that can be compared."""
    found = []
    for index, variant in enumerate(facts.stats.variants):
        report = variant.stats.metrics.get(metric)
        against = None if report is None else report.against_control
        if against is not None:
            found.append((index, variant.name, against))
    return found


def _row(
    place: int,
    index: int,
    name: str,
    each: AgainstControl,
    *,
    axis: Axis,
    sign: float,
    scale: Scale,
) -> Row:
    width = each.difference_upper - each.difference_lower
    has_sequence = each.sequence_lower is not None or each.sequence_upper is not None
    return Row(
        index=index,
        name=name,
        y=place * ROW_HEIGHT + ROW_HEIGHT // 2 + 6,
        point=axis.at(sign * each.difference),
        credible=_bar(axis, sign, each.difference_lower, each.difference_upper),
        sequence=(
            _bar(axis, sign, each.sequence_lower, each.sequence_upper) if has_sequence else None
        ),
        difference=scale.difference(each.difference, width),
        credible_text=scale.interval(each.difference_lower, each.difference_upper),
        sequence_text=(
            scale.interval(each.sequence_lower, each.sequence_upper)
            if has_sequence
            else "too early to decide"
        ),
        relative=(
            lift(each) if each.relative is not None else "not defined: the control may be 0 or less"
        ),
    )


def _axis(values: list[tuple[float, float, float, float | None, float | None]]) -> Axis:
    inner = axis_of([0.0, *(end for row in values for end in row[:3])])
    outer = axis_of([inner.lower, inner.upper, *(end for row in values for end in row[3:])])
    room = WIDEST_OF_CREDIBLE * (inner.upper - inner.lower)
    if outer.upper - outer.lower <= room:
        return outer
    middle = (inner.lower + inner.upper) / 2.0
    return Axis(max(outer.lower, middle - room / 2.0), min(outer.upper, middle + room / 2.0))


def _bar(axis: Axis, sign: float, lower: float | None, upper: float | None) -> Bar:
    ends = (lower, upper) if sign > 0 else (upper, lower)
    left = axis.lower if ends[0] is None else sign * ends[0]
    right = axis.upper if ends[1] is None else sign * ends[1]
    return Bar(
        x=axis.at(left),
        width=axis.span(left, right),
        end=axis.at(right),
        is_cut_left=ends[0] is None or left < axis.lower,
        is_cut_right=ends[1] is None or right > axis.upper,
    )


def _label(facts: ExperimentFacts, rows: list[Row]) -> str:
    parts = [
        f"{row.name}: {row.difference}; the difference probably is {row.credible_text}; the range "
        f"to decide by is {row.sequence_text}"
        for row in rows
    ]
    return f"Difference of {facts.metric} to {facts.control_name}. {'. '.join(parts)}."
