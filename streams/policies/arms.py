"""From the tallies of an experiment to the arms that its policy sees."""

from __future__ import annotations

from collections.abc import Sequence

from streams.model.quantities import MICRO
from streams.policies.base import Arm
from streams.tallies.cell import MetricTally, VariantTally


def arms_of(
    variants: Sequence[VariantTally], metric: str, weights: Sequence[float]
) -> tuple[Arm, ...]:
    """Return the arms of some variants, by one metric.

    Impressions and observations come by different topics: an observation may be here before its
    impression, and then its unit counts as assigned.

    Args:
        variants: Tallies, in the order of the definition.
        metric: Name of the metric; a variant without it has seen no value.
        weights: Declared shares, which sum to 1.
    """
    tallies = [variant.metrics.get(metric, _NONE) for variant in variants]
    # x^2 = x for 0 and 1 alone, and squares are in micro-units twice.
    is_binary = all(tally.total_squared == tally.total * MICRO for tally in tallies)
    return tuple(
        _arm(max(variant.units, tally.units), tally, is_binary=is_binary, weight=weight)
        for variant, tally, weight in zip(variants, tallies, weights, strict=True)
    )


_NONE = MetricTally()


def _arm(units: int, tally: MetricTally, *, is_binary: bool, weight: float) -> Arm:
    # Differences of large sums are taken in integers, and divided once.
    spread = units * tally.total_squared - tally.total * tally.total
    return Arm(
        units=units,
        total=tally.total / MICRO,
        squared_deviations=spread / (units * MICRO * MICRO) if units else 0.0,
        is_binary=is_binary,
        weight=weight,
    )
