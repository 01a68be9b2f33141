"""Posterior densities of the variants' means, by their published parameters."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from dashboard.views.facts import ExperimentFacts
from dashboard.views.scales import axis_of
from dashboard.views.text import axis_marks, probability
from dashboard.views.variants import distinct
from streams.stats.posterior_parameters import MetricPosterior, PosteriorFamily

POINTS = 60
"""Points of a curve: enough to look smooth, few enough to be sent often."""

HEIGHT = 200
"""Height of the drawing without its axis, in CSS pixels."""

_GRID = 400
_TAIL = 0.001
_BEYOND = 1.0
"""Part of a 95 % interval's width that is looked at on either side of it."""

_SKEWED = 2.5
"""The same on the right: tails of amounts are long there."""


@dataclass(frozen=True, slots=True)
class Curve:
    """The density of one variant.

    Attributes:
        index, name: The variant.
        points: The curve, in a box of 100 by 100, as an attribute of SVG.
        mean, range: Posterior mean and 95 % interval.
        probability_best: That the mean is the best.
    """

    index: int
    name: str
    points: str
    mean: str
    range: str
    probability_best: str


@dataclass(frozen=True, slots=True)
class Densities:
    """The chart.

    Attributes:
        curves: Of the variants whose posterior is published.
        drawn: Those of them that are drawn; all, unless there are more than can be distinguished.
        height: Of the drawing, in CSS pixels.
        marks: Position and text of the marks of the axis.
        metric: Name of the metric.
        label: The chart in words.
        is_of_now: Whether units of different times count differently.
    """

    curves: tuple[Curve, ...]
    drawn: tuple[Curve, ...]
    height: int
    marks: tuple[tuple[str, str], ...]
    metric: str
    label: str
    is_of_now: bool


def densities(facts: ExperimentFacts) -> Densities | None:
    """Return the densities of the primary metric; None while none is known."""
    metric, scale = facts.metric, facts.scale
    found = []
    for index, variant in enumerate(facts.stats.variants):
        report = variant.stats.metrics.get(metric)
        if report is None or report.posterior is None or not variant.is_active:
            continue
        if report.lower is None or report.upper is None:
            continue
        curve = _sampled(report.posterior, report.lower, report.upper)
        if curve:
            found.append((index, variant, report, curve))
    if not found:
        return None
    drawn = distinct(facts, [index for index, *_ in found])
    shown = [curve for index, *_, curve in found if index in drawn]
    ends = [x for curve in shown for x in (curve[0][0], curve[-1][0])]
    axis = axis_of(ends)
    highest = max(y for curve in shown for _, y in curve)
    curves = []
    for index, variant, report, curve in found:
        assert report.lower is not None  # noqa: S101 - as above
        assert report.upper is not None  # noqa: S101
        width = report.upper - report.lower
        low, high = scale.value(report.lower, width), scale.value(report.upper, width)
        curves.append(
            Curve(
                index=index,
                name=variant.name,
                points=" ".join(
                    f"{axis.at(x).removesuffix('%')},{100.0 - 96.0 * y / highest:.2f}"
                    for x, y in [(curve[0][0], 0.0), *curve, (curve[-1][0], 0.0)]
                ),
                mean=scale.value(report.mean, width),
                range=f"{low} to {high}",
                probability_best=probability(variant.stats.probability_best),
            )
        )
    model = facts.primary
    marks = axis.marks()
    texts = axis_marks([scale.shown(mark) for mark in marks])
    percent = " %" if scale.is_rate else ""
    return Densities(
        curves=tuple(curves),
        drawn=tuple(curve for curve in curves if curve.index in drawn),
        height=HEIGHT,
        marks=tuple(
            (axis.at(mark), text + percent) for mark, text in zip(marks, texts, strict=True)
        ),
        metric=metric,
        label=f"Where the mean of {metric} probably is. "
        + ". ".join(f"{each.name}: {each.mean}, {each.range}" for each in curves)
        + ".",
        is_of_now=model is not None and model.periods is not None,
    )


def _sampled(
    posterior: MetricPosterior, lower: float, upper: float
) -> list[tuple[float, float]] | None:
    """Return points of a density between its quantiles 0.1 % and 99.9 %, about evenly spaced."""
    build = _LOGARITHMS.get(posterior.family)
    width = upper - lower
    if build is None or not width > 0.0:
        return None
    try:
        logarithm = build(posterior.parameters)
    except (KeyError, ValueError, OverflowError):
        return None
    start, end = lower - _BEYOND * width, upper + _SKEWED * width
    grid = [start + (end - start) * step / _GRID for step in range(_GRID + 1)]
    heights = [_height(logarithm, x) for x in grid]
    total = sum(heights)
    if not 0.0 < total < math.inf:
        return None
    first = _place_of(heights, _TAIL * total)
    last = _GRID - _place_of(heights[::-1], _TAIL * total)
    if last - first < 2:  # noqa: PLR2004 - no curve
        return None
    left, right = grid[first], grid[last]
    xs = [left + (right - left) * step / (POINTS - 1) for step in range(POINTS)]
    return [(x, _height(logarithm, x)) for x in xs]


def _place_of(heights: Sequence[float], mass: float) -> int:
    """Return where the sum of the heights first reaches a mass."""
    reached = 0.0
    for place, height in enumerate(heights):
        reached += height
        if reached >= mass:
            return place
    return len(heights) - 1


def _height(logarithm: Callable[[float], float], x: float) -> float:
    try:
        return math.exp(min(logarithm(x), 700.0))
    except (ValueError, OverflowError, ZeroDivisionError):  # outside of the support
        return 0.0


Logarithm = Callable[[float], float]


def _beta(values: Mapping[str, float]) -> Logarithm:
    a, b = values["alpha"], values["beta"]
    constant = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    return lambda x: constant + (a - 1) * math.log(x) + (b - 1) * math.log1p(-x)


def _gamma(values: Mapping[str, float]) -> Logarithm:
    shape, rate = values["shape"], values["rate"]
    constant = shape * math.log(rate) - math.lgamma(shape)
    return lambda x: constant + (shape - 1) * math.log(x) - rate * x


def _beta_prime(values: Mapping[str, float]) -> Logarithm:
    a, b, scale = values["alpha"], values["beta"], values["scale"]
    constant = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) - math.log(scale)
    return lambda x: constant + (a - 1) * math.log(x / scale) - (a + b) * math.log1p(x / scale)


def _student_t(values: Mapping[str, float]) -> Logarithm:
    location, scale, degrees = values["location"], values["scale"], values["degrees"]
    half = (degrees + 1) / 2
    constant = (
        math.lgamma(half)
        - math.lgamma(degrees / 2)
        - math.log(degrees * math.pi) / 2
        - math.log(scale)
    )
    return lambda x: constant - half * math.log1p(((x - location) / scale) ** 2 / degrees)


_LOGARITHMS: Mapping[str, Callable[[Mapping[str, float]], Logarithm]] = {
    PosteriorFamily.BETA: _beta,
    PosteriorFamily.GAMMA: _gamma,
    PosteriorFamily.BETA_PRIME: _beta_prime,
    PosteriorFamily.STUDENT_T: _student_t,
}
