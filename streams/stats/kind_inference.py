"""Inference of the kind of a metric from its tallies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from streams.model.quantities import MICRO
from streams.stats.kinds import Contradiction, ContradictionCode, MetricKind
from streams.tallies.cell import MetricTally

_SQUARE = MICRO * MICRO


@dataclass(frozen=True, slots=True)
class FoundKind:
    """The kind to model a metric by.

    Attributes:
        kind: The declared kind, unless there is none or the tallies contradict it; then the one
            inferred from them.
        is_declared: Whether it is the declared one.
        contradiction: Why a declared kind is not used; None if it is, or if none was declared.
    """

    kind: MetricKind
    is_declared: bool
    contradiction: Contradiction | None


@dataclass(frozen=True, slots=True)
class VariantMetric:
    """The tally of a metric of one variant beside the units the variant was assigned.

    Attributes:
        units: Units assigned.
        metric: The tally.
        parts: Tallies of some of its units each, where these are read by themselves: what holds for
            all together need not for each.
    """

    units: int
    metric: MetricTally
    parts: Sequence[MetricTally] = ()


def find_kind(declared: MetricKind | None, variants: Sequence[VariantMetric]) -> FoundKind:
    """Return the kind of a metric: as declared, unless the tallies say it cannot be.

    A contradiction is a finding and no error: the metric is modelled by the kind its values do
    have, and whoever reads the report is told so.

    Examples:
        >>> two = VariantMetric(9, MetricTally(1, 1, 2 * MICRO, 4 * MICRO**2))
        >>> find_kind(MetricKind.BINARY, [two]).contradiction.code.value
        'NOT_BINARY'
    """
    if declared is None:
        return FoundKind(infer_kind(variants), False, None)
    contradiction = _contradiction(declared, variants)
    if contradiction is None:
        return FoundKind(declared, True, None)
    return FoundKind(infer_kind(variants), False, contradiction)


def infer_kind(variants: Sequence[VariantMetric]) -> MetricKind:
    """Return the narrowest kind that the tallies of all variants allow.

    Sums can refute a kind and never prove it: three units with 0.5, 0.5 and 1 are told from counts
    by their squares, but rarely other values may have the sums of counts. What follows from such a
    mistake is small, as every kind estimates the mean by the mean and its spread from the values;
    who knows the kind declares it. Without observations a metric is binary.
    """
    if _first(variants, is_binary) is None:
        return MetricKind.BINARY
    if _first(variants, is_count) is None:
        return MetricKind.COUNT
    may_be_revenue = _first(variants, lambda metric: metric.total >= 0) is None
    if may_be_revenue and any(variant.metric.units < variant.units for variant in variants):
        return MetricKind.REVENUE
    return MetricKind.CONTINUOUS


def is_binary(metric: MetricTally) -> bool:
    """Return whether the values may all be 0 or 1: x^2 = x for these alone."""
    return metric.total_squared == metric.total * MICRO


def is_count(metric: MetricTally) -> bool:
    """Return whether the values may all be whole numbers >= 0.

    Their sum and the sum of their squares are whole, x^2 >= x, and x^2 - x is even.
    """
    if metric.total < 0 or metric.total % MICRO or metric.total_squared % _SQUARE:
        return False
    surplus = metric.total_squared // _SQUARE - metric.total // MICRO
    return surplus >= 0 and surplus % 2 == 0


def _contradiction(declared: MetricKind, variants: Sequence[VariantMetric]) -> Contradiction | None:
    match declared:
        case MetricKind.BINARY:
            code, found = ContradictionCode.NOT_BINARY, _first(variants, is_binary)
        case MetricKind.COUNT:
            code, found = ContradictionCode.NOT_COUNTS, _first(variants, is_count)
        case MetricKind.REVENUE:
            code = ContradictionCode.NEGATIVE_VALUES
            found = _first(variants, lambda metric: metric.total >= 0)
        case MetricKind.CONTINUOUS | MetricKind.RATIO:
            return None
    return None if found is None else Contradiction(code, found)


def _first(variants: Sequence[VariantMetric], allows: Callable[[MetricTally], bool]) -> int | None:
    """Return the index of the first variant whose tally does not allow a kind."""
    return next(
        (
            index
            for index, variant in enumerate(variants)
            if not (allows(variant.metric) and all(map(allows, variant.parts)))
        ),
        None,
    )
