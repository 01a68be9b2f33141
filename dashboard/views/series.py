"""Difference and traffic over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dashboard.views.facts import ExperimentFacts
from dashboard.views.history import HistoryRow
from dashboard.views.text import DAY_MS, Scale, forecast, percent
from dashboard.views.variants import colors
from experiment_streams_client import Timeseries
from streams.experiments.timeseries_response import SeriesContrast

TABLE_ROWS = 20
"""Rows of the table behind a chart: points at even distances, and the newest one."""

SETTLED_SHARE = 8
"""The axis of differences shows the range of an eighth of the run whole: the first points would
flatten the rest."""

_PACE_MS = 7 * DAY_MS
_NEAR_MS = 10 * 365 * DAY_MS
_MARGIN = 0.1


@dataclass(frozen=True, slots=True)
class SeriesRow:
    """A point in the table.

    Attributes:
        at: When, in milliseconds since the epoch.
        difference, range: Of the variant to the control.
        shares: Traffic of each variant.
    """

    at: int
    difference: str
    range: str
    shares: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SeriesView:
    """Both charts of an experiment.

    Attributes:
        data: What the charts are drawn from, as JSON: times in seconds, values as they are shown.
        variant_id: The variant that is compared with the control.
        others: Id and name of the variants that can be chosen.
        names: Of all variants, in order.
        rows: The table, oldest first.
        difference_label, traffic_label: The charts in words.
        planned: When the planned size is reached; empty where it is not known.
        marks: What happened, in the order of its number in the charts.
    """

    data: dict[str, Any]
    variant_id: str
    others: tuple[tuple[str, str], ...]
    names: tuple[str, ...]
    rows: tuple[SeriesRow, ...]
    difference_label: str
    traffic_label: str
    planned: str
    marks: tuple[HistoryRow, ...]


def series_view(
    facts: ExperimentFacts,
    series: Timeseries,
    happenings: Sequence[HistoryRow],
    variant_id: str = "",
) -> SeriesView | None:
    """Return both charts; None while there are not two points, which make a line.

    Args:
        facts: The experiment.
        series: Its primary metric over time.
        happenings: Its history.
        variant_id: The variant to compare; the leading one unless given.
    """
    points = series.points
    if len(points) < 2:  # noqa: PLR2004 - no line
        return None
    chosen = _chosen(facts, variant_id)
    contrasts = [
        next((each.against_control for each in point.variants if each.id == chosen), None)
        for point in points
    ]
    shares = [
        [
            next((each.allocation for each in point.variants if each.id == variant.id), 0.0)
            for point in points
        ]
        for variant in facts.stats.variants
    ]
    names, name = tuple(facts.names), facts.name_of(chosen)
    planned_ms, planned = _planned_at(facts, series)
    begin, end = points[0].at, points[-1].at
    within = (each for each in happenings if begin <= each.at_ms <= end)
    marks = tuple(sorted(within, key=lambda each: each.at_ms))[-9:]
    return SeriesView(
        data={
            "times": [point.at / 1000 for point in points],
            **_difference_data(facts, contrasts),
            "variant": name,
            "color": names.index(name) if name in names else 0,
            "colors": list(colors(facts)),
            "shares": shares,
            "names": names,
            "planned": None if planned_ms is None else planned_ms / 1000,
            "marks": [mark.at_ms / 1000 for mark in marks],
        },
        variant_id=chosen,
        others=tuple((each.id, each.name) for each in facts.stats.variants if not each.is_control),
        names=names,
        rows=_rows(facts, series, contrasts, shares),
        difference_label=(
            f"{name} minus {facts.control_name} over time, {facts.metric}. "
            f"Now: {_newest(facts.scale, contrasts[-1])}."
        ),
        traffic_label=_traffic_label(names, shares),
        planned=planned,
        marks=marks,
    )


def _difference_data(
    facts: ExperimentFacts, contrasts: Sequence[SeriesContrast | None]
) -> dict[str, Any]:
    """Return the lines of the difference to the control, and their axis."""
    scale = facts.scale
    difference = _shown(scale, [None if each is None else each.difference for each in contrasts])
    ends = [
        _shown(scale, [None if each is None else each.sequence_lower for each in contrasts]),
        _shown(scale, [None if each is None else each.sequence_upper for each in contrasts]),
    ]
    return {
        "difference": difference,
        "lower": ends[0],
        "upper": ends[1],
        "range": _range(difference, ends),
        "unit": scale.unit,
        "isMirrored": facts.is_decrease(facts.metric),
    }


def _shown(scale: Scale, values: Sequence[float | None]) -> list[float | None]:
    return [None if value is None else scale.shown(value) for value in values]


def _newest(scale: Scale, contrast: SeriesContrast | None) -> str:
    if contrast is None:
        return "not known"
    width = contrast.difference_upper - contrast.difference_lower
    decided_by = scale.interval(contrast.sequence_lower, contrast.sequence_upper)
    return f"{scale.difference(contrast.difference, width)}, range to decide by {decided_by}"


def _traffic_label(names: Sequence[str], shares: Sequence[Sequence[float]]) -> str:
    newest = zip(names, shares, strict=True)
    now = ", ".join(f"{name} {percent(share[-1])}" for name, share in newest)
    return f"Share of the traffic over time. Now: {now}."


def _chosen(facts: ExperimentFacts, variant_id: str) -> str:
    variants = facts.stats.variants
    if any(each.id == variant_id and not each.is_control for each in variants):
        return variant_id
    leader = None if facts.evidence is None else facts.evidence.leader
    if leader is not None and leader != facts.control:
        return variants[leader].id
    return next(each.id for each in variants if not each.is_control)


def _range(
    difference: Sequence[float | None], ends: Sequence[Sequence[float | None]]
) -> list[float]:
    """Return the ends of the axis of differences."""
    settled = len(difference) // SETTLED_SHARE
    later = [value for line in (difference, *ends) for value in line[settled:] if value is not None]
    at_settled = [line[settled] for line in ends if line[settled] is not None]
    limits = [value for value in at_settled if value is not None]
    known = [
        0.0,
        *(limits or later),
        *(value for value in difference[settled:] if value is not None),
    ]
    low, high = min(known), max(known)
    margin = _MARGIN * (high - low) or 1.0
    return [low - margin, high + margin]


def _planned_at(facts: ExperimentFacts, series: Timeseries) -> tuple[float | None, str]:
    """Return when the planned units will have come, and in words; None where that is far away."""
    left_ms = _planned_in(facts, series)
    if left_ms is None:
        return None, ""
    if left_ms > _NEAR_MS:
        return None, "in more than ten years, at last week's pace"
    at_ms = round(series.points[-1].at + left_ms)
    return at_ms, f"about {forecast(at_ms, left_ms)}, at last week's pace (dashed)"


def _planned_in(facts: ExperimentFacts, series: Timeseries) -> float | None:
    """Return the time until the planned units have come at last week's pace, in milliseconds."""
    planned, active = facts.planned_units, max(len(facts.active), 1)
    if planned is None or facts.stats.status != "running":
        return None
    units = [sum(each.assignments for each in point.variants) for point in series.points]
    newest = series.points[-1].at
    first = next(i for i, point in enumerate(series.points) if point.at >= newest - _PACE_MS)
    elapsed, come = newest - series.points[first].at, units[-1] - units[first]
    missing = planned * active - units[-1]
    if missing <= 0 or come <= 0 or elapsed <= 0:
        return None
    return missing * elapsed / come


def _rows(
    facts: ExperimentFacts,
    series: Timeseries,
    contrasts: Sequence[Any],
    shares: Sequence[Sequence[float]],
) -> tuple[SeriesRow, ...]:
    n = len(series.points)
    step = max(-(-n // TABLE_ROWS), 1)
    chosen = sorted({*range(0, n, step), n - 1})
    scale = facts.scale
    rows = []
    for place in chosen:
        each = contrasts[place]
        width = None if each is None else each.difference_upper - each.difference_lower
        rows.append(
            SeriesRow(
                series.points[place].at,
                "–" if each is None else scale.difference(each.difference, width),
                "–" if each is None else scale.interval(each.sequence_lower, each.sequence_upper),
                tuple(percent(line[place]) for line in shares),
            )
        )
    return tuple(rows)
