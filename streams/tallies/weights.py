"""Tallies of units that were all assigned with the same propensity."""

from __future__ import annotations

from collections.abc import Mapping

from streams.model.quantities import MICRO
from streams.tallies.cell import (
    METRIC_FIELDS,
    VARIANT_FIELDS,
    MetricTally,
    VariantTally,
)
from streams.tallies.fields import UnitWeights, statistics, unit_weights


def weighted(
    units: int,
    metrics: Mapping[str, MetricTally],
    propensity: int,
    *,
    variant: int = 0,
    weights: bytes = b"",
    n_variants: int = 2,
) -> VariantTally:
    """Return the tally of units of one variant that were all assigned with the same propensity.

    Args:
        units: How many there are.
        metrics: Their metrics by name: units, observations and plain sums; the rest is computed.
        propensity: Numerator over 2**32, in 1..2**32.
        variant: Index of the variant.
        weights: Weights of all variants, packed; of two variants they need not be given.
        n_variants: Variants of the experiment.
    """
    each = unit_weights(variant, propensity, weights, n_variants)
    by_name = {name: _weighted(metric, each) for name, metric in sorted(metrics.items())}
    nothing = VARIANT_FIELDS.values(VariantTally())
    sums = VARIANT_FIELDS.plus(nothing, statistics(units=units), each)
    return VARIANT_FIELDS.new(*sums, (), by_name, {}, {}, {}, 0)


def _weighted(metric: MetricTally, weights: UnitWeights) -> MetricTally:
    sums = METRIC_FIELDS.plus(
        METRIC_FIELDS.values(MetricTally()),
        statistics(
            units=metric.units,
            observations=metric.observations,
            value=metric.total,
            square=metric.total_squared,
            binary=metric.binary_observations,
            positive=metric.positive_units,
            surplus=metric.total - MICRO * metric.positive_units,
            cube=metric.total_cubed,
        ),
        weights,
    )
    return METRIC_FIELDS.new(*sums, metric.moment, metric.positive_moment)
