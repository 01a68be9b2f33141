"""Tallies of units that were all assigned with the same propensity."""

from __future__ import annotations

from collections.abc import Mapping

from streams.model.quantities import MICRO
from streams.model.vectors import FEATURE_ONE
from streams.tallies.cell import (
    METRIC_FIELDS,
    VARIANT_FIELDS,
    MetricTally,
    VariantTally,
)
from streams.tallies.fields import UnitWeights, Weight, statistics, unit_weights
from streams.tallies.linear import triangle


def weighted(
    units: int,
    metrics: Mapping[str, MetricTally],
    propensity: int,
    *,
    variant: int = 0,
    weights: bytes = b"",
    n_variants: int = 2,
    gram: tuple[int, ...] = (),
) -> VariantTally:
    """Return the tally of units of one variant that were all assigned with the same propensity.

    Args:
        units: How many there are.
        metrics: Their metrics by name: units, observations, plain sums and moments; the rest is
            computed.
        propensity: Numerator over 2**32, in 1..2**32.
        variant: Index of the variant.
        weights: Weights of all variants, packed; of two variants they need not be given.
        n_variants: Variants of the experiment.
        gram: Sums of products of their covariates, as in `LinearTally`, of units that all have
            some; empty without any.
    """
    each = unit_weights(variant, propensity, weights, n_variants)
    by_name = {
        name: _weighted(metric, each, has_covariates=bool(gram))
        for name, metric in sorted(metrics.items())
    }
    nothing = VARIANT_FIELDS.values(VariantTally())
    sums = VARIANT_FIELDS.plus(nothing, statistics(units=units), each)
    features, products = _of_covariates(gram, each)
    return VARIANT_FIELDS.new(*sums, gram, features, products, by_name, {}, {}, {}, 0)


def _of_covariates(
    gram: tuple[int, ...], weights: UnitWeights
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the sums by pair of covariates, and of their products."""
    length = next(n for n in range(len(gram) + 1) if triangle(n) >= len(gram))
    totals = [gram[triangle(place)] // FEATURE_ONE for place in range(length)]
    return (
        tuple(each * weights[Weight.OVERLAP] for each in totals),
        tuple(each * weights[Weight.OVERLAP_SQUARED] for each in gram),
    )


def _weighted(metric: MetricTally, weights: UnitWeights, *, has_covariates: bool) -> MetricTally:
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
    factor = weights[Weight.OVERLAP_SQUARED] if has_covariates else 0
    by_pair = tuple(each * factor for each in metric.moment) if factor else ()
    return METRIC_FIELDS.new(*sums, metric.moment, metric.positive_moment, by_pair)
