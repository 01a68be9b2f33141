"""Sums of new events, added to the tallies of a cell.

Events are summed by propensity first, so the weights, which are the same for all units with the
same propensity, are multiplied in once per batch: sum(w * x) = w * sum(x), exactly. So are the
products of features, which are the same for all units of a variant in one context.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TypeVar

from streams.model.quantities import MICRO
from streams.model.vectors import Vector
from streams.tallies.cell import (
    METRIC_FIELDS,
    PRODUCT_FIELDS,
    VARIANT_FIELDS,
    MetricTally,
    ProductTally,
    VariantTally,
    without_surplus,
)
from streams.tallies.fields import OF_ONE, Statistics, statistics, unit_weights
from streams.tallies.linear import LinearSums, add_entries
from streams.tallies.plan import Pair

N_SUMS = 7
UNITS, FURTHER, TOTAL, SQUARED, POSITIVE, BINARY, CUBED = range(N_SUMS)
"""Places in the sums over the values of one propensity: units and their further observations, their
values, the squares of these, units above 0, observations that are 0 or 1, cubes of the values."""

N_PRODUCTS = 3
"""Sums over products of two values x and y: of x * y, x**2 * y and x * y**2."""

Metric = tuple[int, str]
"""Variant and name of a metric."""

KeyT = TypeVar("KeyT", bound=Hashable)

_NOBODY = VariantTally()
_NO_VALUES = MetricTally()
_NO_PRODUCT = ProductTally()


def unit_sums(
    units: Mapping[tuple[int, int], int], known: Mapping[int, VariantTally]
) -> dict[int, list[int]]:
    """Return the sums of the variants that have new units, in the order of their fields.

    Args:
        units: How many new units, by variant and propensity.
        known: The tallies so far.
    """
    weights = _summed_weights(
        (variant, propensity, count) for (variant, propensity), count in units.items()
    )
    return {
        variant: VARIANT_FIELDS.plus(
            VARIANT_FIELDS.values(known.get(variant, _NOBODY)), OF_ONE, summed
        )
        for variant, summed in weights.items()
    }


def metric_tallies(
    values: Mapping[tuple[int, int, str], Sequence[int]],
    ones: Mapping[tuple[int, int, str], int],
    moments: Mapping[Metric, tuple[int, ...]],
    positive_moments: Mapping[Metric, tuple[int, ...]],
    known: Mapping[int, VariantTally],
) -> dict[int, dict[str, MetricTally]]:
    """Return the metrics that have new values, by variant and name.

    Args:
        values: Sums over new values, by variant, propensity and metric.
        ones: New units whose only value is 1, likewise.
        moments, positive_moments: What the values add to the fields of these names.
        known: The tallies so far.
    """
    found: dict[Metric, list[int]] = {}
    for (variant, propensity, name), sums in values.items():
        key = variant, name
        total = found.get(key) or METRIC_FIELDS.values(_metric(known, key))
        found[key] = METRIC_FIELDS.plus(total, _statistics(sums), unit_weights(propensity))
    weights = _summed_weights(
        ((variant, name), propensity, count) for (variant, propensity, name), count in ones.items()
    )
    for key, summed in weights.items():
        total = found.get(key) or METRIC_FIELDS.values(_metric(known, key))
        found[key] = METRIC_FIELDS.plus(total, OF_ONE, summed)
    metrics: defaultdict[int, dict[str, MetricTally]] = defaultdict(dict)
    for key, sums_of_metric in found.items():
        old = _metric(known, key)
        moment, positive_moment = old.moment, old.positive_moment
        if key in moments:
            moment = add_entries(moment, moments[key])
            positive_moment = add_entries(positive_moment, positive_moments[key])
        variant, name = key
        metrics[variant][name] = METRIC_FIELDS.new(
            *without_surplus(sums_of_metric), moment, positive_moment
        )
    return metrics


def product_tallies(
    products: Mapping[tuple[int, int, Pair], Sequence[int]], known: Mapping[int, VariantTally]
) -> dict[int, dict[Pair, ProductTally]]:
    """Return the products of the variants that have new ones, in order of their pairs.

    Args:
        products: Changes of sums of products, by variant, propensity and pair.
        known: The tallies so far.
    """
    found: dict[int, dict[Pair, ProductTally]] = {}
    for (variant, propensity, pair), (total, first_squared, second_squared) in products.items():
        sums = found.get(variant)
        if sums is None:
            sums = found[variant] = dict(known.get(variant, _NOBODY).products)
        before = PRODUCT_FIELDS.values(sums.get(pair, _NO_PRODUCT))
        changed = statistics(value=total, square=first_squared, cube=second_squared)
        sums[pair] = PRODUCT_FIELDS.new(
            *PRODUCT_FIELDS.plus(before, changed, unit_weights(propensity))
        )
    return {variant: dict(sorted(sums.items())) for variant, sums in found.items()}


def grams(
    contexts: Mapping[tuple[int, Vector], int], known: Mapping[int, VariantTally]
) -> dict[int, tuple[int, ...]]:
    """Return the matrices of the variants that have new units with features.

    Args:
        contexts: How many new units, by variant and vector.
        known: The tallies so far.
    """
    found: defaultdict[int, LinearSums] = defaultdict(LinearSums)
    for (variant, vector), count in contexts.items():
        found[variant].add_unit(vector, count)
    return {
        variant: add_entries(known.get(variant, _NOBODY).gram, sums.freeze().gram)
        for variant, sums in found.items()
    }


def moments_of(values: Mapping[tuple[int, str, Vector], int]) -> dict[Metric, tuple[int, ...]]:
    """Return the sums of vector times value, by variant and metric."""
    found: defaultdict[Metric, LinearSums] = defaultdict(LinearSums)
    for (variant, name, vector), value in values.items():
        found[variant, name].add_value(vector, value)
    return {key: sums.freeze().moment for key, sums in found.items()}


def _statistics(sums: Sequence[int]) -> Statistics:
    """Return the statistics of the values of one propensity."""
    units, further, total, squared, positive, binary, cubed = sums
    observations = units + further
    # What is not binary has no surplus in the end.
    surplus = total - positive * MICRO if binary == observations else 0
    return units, observations, total, squared, binary, positive, surplus, cubed


def _summed_weights(units: Iterable[tuple[KeyT, int, int]]) -> dict[KeyT, list[int]]:
    """Return the sums of `unit_weights` by key.

    Args:
        units: Keys, each with a propensity and how many units have it.
    """
    found: dict[KeyT, list[int]] = {}
    for key, propensity, count in units:
        one, inverse, inverse_squared, overlap, overlap_squared = unit_weights(propensity)
        sums = found.get(key)
        if sums is None:
            found[key] = [
                one * count,
                inverse * count,
                inverse_squared * count,
                overlap * count,
                overlap_squared * count,
            ]
            continue
        # For every propensity of every metric: a loop takes twice as long.
        sums[0] += one * count
        sums[1] += inverse * count
        sums[2] += inverse_squared * count
        sums[3] += overlap * count
        sums[4] += overlap_squared * count
    return found


def _metric(known: Mapping[int, VariantTally], key: Metric) -> MetricTally:
    variant, name = key
    return known.get(variant, _NOBODY).metrics.get(name, _NO_VALUES)
