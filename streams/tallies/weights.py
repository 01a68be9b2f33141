"""Tallies of units that were all assigned with the same propensity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from streams.model.quantities import MICRO
from streams.tallies.cell import METRIC_FIELDS, VARIANT_FIELDS, MetricTally, VariantTally
from streams.tallies.fields import statistics, unit_weights


def weighted(units: int, metrics: Mapping[str, MetricTally], propensity: int) -> VariantTally:
    """Return the tally of units that were all assigned with the same propensity.

    Args:
        units: How many there are.
        metrics: Their metrics by name: units, observations and plain sums; the rest is computed.
        propensity: Numerator over 2**32, in 1..2**32.
    """
    weights = unit_weights(propensity)
    by_name = {name: _weighted(metric, weights) for name, metric in sorted(metrics.items())}
    nothing = VARIANT_FIELDS.values(VariantTally())
    sums = VARIANT_FIELDS.plus(nothing, statistics(units=units), weights)
    return VARIANT_FIELDS.new(*sums, (), by_name, {}, {})


def _weighted(metric: MetricTally, weights: Sequence[int]) -> MetricTally:
    sums = METRIC_FIELDS.plus(
        METRIC_FIELDS.values(MetricTally()),
        statistics(
            units=metric.units,
            observations=metric.observations,
            value=metric.total,
            square=metric.total_squared,
            binary=metric.binary_observations,
            positive=metric.positive_units,
            surplus=metric.total - MICRO * metric.positive_units if metric.is_binary else 0,
            cube=metric.total_cubed,
        ),
        weights,
    )
    return METRIC_FIELDS.new(*sums, metric.moment, metric.positive_moment)
