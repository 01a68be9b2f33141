"""Statistics by the values of a dimension as a table for the terminal."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from rich.console import RenderableType
from rich.text import Text

from streams.cli.numbers import change, number, p_value
from streams.cli.tables import table_of
from streams.experiments.statistics.dimension_report import (
    DimensionReport,
    SliceContrast,
    SliceMetric,
    ValueReport,
)
from streams.experiments.stats_response import Stats
from streams.model.errors import counted

OTHERS = "(other)"
"""Shown in place of all values that are not declared."""


def dimension_view(stats: Stats, name: str) -> list[RenderableType]:
    """Return what is known by the values of a dimension; empty if it was not asked for."""
    found = next((each for each in stats.dimensions if each.name == name), None)
    if found is None or not found.values:
        return []
    said = (
        f"{counted(found.units, 'unit')} by {found.name}, {found.unknown_share:.1%} with none of "
        f"the declared values. Exploratory: nothing is decided by it. The {found.comparisons} "
        f"intervals of all dimensions hold together, at every look, with a probability of "
        f"{1.0 - found.error:.3g}; * marks one without 0."
    )
    return [_table(stats, found), Text(said, "dim")]


def _table(stats: Stats, found: DimensionReport) -> RenderableType:
    """Return one line for each value, variant and metric."""
    table = table_of(
        found.name, "variant", ">units", "metric", ">mean", ">lift [interval]", ">p", "sample ratio"
    )
    names = [variant.name for variant in stats.variants]
    for value in found.values:
        for index, variant in enumerate(value.variants):
            for place, (metric, report) in enumerate(_ordered(stats, value, index)):
                is_first = place == 0
                against = report.against_control
                table.add_row(
                    Text(_shown(value)) if is_first and index == 0 else "",
                    Text(names[index]) if is_first else "",
                    f"{variant.units:,}" if is_first else "",
                    metric,
                    "-" if report.mean is None else number(report.mean),
                    "" if against is None else _lift(against),
                    "" if against is None else p_value(against.p_value),
                    Text("mismatch", "yellow")
                    if value.sample_ratio.is_mismatch and is_first and index == 0
                    else "",
                )
    return table


def _ordered(stats: Stats, value: ValueReport, index: int) -> list[tuple[str, SliceMetric]]:
    """Return the metrics of a variant, the primary one first."""
    metrics = value.variants[index].metrics
    return sorted(metrics.items(), key=lambda each: (each[0] != stats.primary_metric, each[0]))


def _shown(value: ValueReport) -> str:
    return OTHERS if value.value is None else value.value


def _lift(against: SliceContrast) -> str:
    """Return a lift with its interval, as in `+12.3% [+1.0%, +24.1%] *` of a difference."""
    mark = " *" if against.is_different else ""
    if against.relative is None:
        value, lower, upper = against.difference, against.lower, against.upper
        written: Callable[[float], str] = partial(number, is_signed=True)
    else:
        value, lower, upper = against.relative, against.relative_lower, against.relative_upper
        written = change
    low = "-∞" if lower is None else written(lower)
    high = "∞" if upper is None else written(upper)
    return f"{written(value)} [{low}, {high}]{mark}"
