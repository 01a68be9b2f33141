"""What a unit counts with besides 1: powers of 1 / propensity, and of 1 - propensity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache

from streams.model.quantities import inverse_propensity, overlap_weight
from streams.tallies.cell import MetricTally, VariantTally

_PROPENSITIES_REMEMBERED = 4_096


@lru_cache(maxsize=_PROPENSITIES_REMEMBERED)
def unit_weights(propensity: int) -> tuple[int, int, int, int]:
    """Return 1 / propensity, its square, 1 - propensity and its square.

    The former are in micro-units and micro-units squared, the latter numerators over 2**32 and
    2**64, as the propensity is one over 2**32.
    """
    inverse, overlap = inverse_propensity(propensity), overlap_weight(propensity)
    return inverse, inverse * inverse, overlap, overlap * overlap


def weighted(units: int, metrics: Mapping[str, MetricTally], propensity: int) -> VariantTally:
    """Return the tally of units that were all assigned with the same propensity.

    Args:
        units: How many there are.
        metrics: Their metrics by name: units, observations and plain sums; the rest is computed.
        propensity: Numerator over 2**32, in 1..2**32.
    """
    inverse, inverse_squared, overlap, overlap_squared = unit_weights(propensity)
    return VariantTally(
        units=units,
        weight=inverse * units,
        weight_squared=inverse_squared * units,
        metrics={
            name: replace(
                metric,
                weighted_total=inverse * metric.total,
                weighted_total_squared=inverse_squared * metric.total_squared,
                weighted_cross=inverse_squared * metric.total,
                overlap_total=overlap * metric.total,
                overlap_cross=overlap_squared * metric.total,
                overlap_total_squared=overlap_squared * metric.total_squared,
            )
            for name, metric in sorted(metrics.items())
        },
        overlap=overlap * units,
        overlap_squared=overlap_squared * units,
    )
