"""Sums of new events, added to the tallies of a cell.

Events are summed by `Chance` first, so the weights, which are the same for all units with the same
chance, are multiplied in once per batch: sum(w * x) = w * sum(x), exactly.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TypeVar

from streams.model.quantities import MICRO, PROPENSITY_ONE
from streams.model.variant_weights import added_variants, excluded_variants
from streams.tallies.bins import BIN_FIELDS, BinTally, ByBin, filled
from streams.tallies.cell import (
    METRIC_FIELDS,
    PRODUCT_FIELDS,
    VARIANT_FIELDS,
    MetricTally,
    ProductTally,
    VariantTally,
)
from streams.tallies.fields import (
    Chance,
    Statistics,
    UnitWeights,
    statistics,
    unit_weights,
    weigher,
)
from streams.tallies.linear import add_entries
from streams.tallies.plan import Pair, Plan

N_SUMS = 7
UNITS, FURTHER, TOTAL, SQUARED, POSITIVE, BINARY, CUBED = range(N_SUMS)
"""Places in the sums over the values of one chance: units and their further observations, their
values, the squares of these, units above 0, observations that are 0 or 1, cubes of the values."""

N_PRODUCTS = 3
"""Sums over products of two values x and y: of x * y, x**2 * y and x * y**2."""

Metric = tuple[int, str]
"""Variant and name of a metric."""

MetricKey = tuple[int, int, bytes, str]
"""The three of a `Chance`, and the name of a metric."""

ProductKey = tuple[int, int, bytes, Pair]
"""The three of a `Chance`, and a pair of metrics."""

N_BIN_SUMS = 4
"""Sums over the units of a bin: units, their values, and the squares and cubes of these."""

BinKey = tuple[int, int, bytes, str, int]
"""The three of a `Chance`, the name of a metric, and a bin."""

KeyT = TypeVar("KeyT", bound=Hashable)

_NOBODY = VariantTally()
_NO_VALUES = MetricTally()
_NO_PRODUCT = ProductTally()
_NO_BIN = BinTally()


def unit_sums(
    units: Mapping[Chance, int], known: Mapping[int, VariantTally], plan: Plan
) -> dict[int, list[int]]:
    """Return the sums of the variants that have new units, in the order of their fields.

    Args:
        units: How many new units, by chance.
        known: The tallies so far.
        plan: The plan of the experiment.
    """
    n_compared, weights_of = plan.n_compared, weigher(plan.baseline)
    weights = _summed(
        (chance[0], weights_of(*chance, n_compared), count) for chance, count in units.items()
    )
    return {
        variant: VARIANT_FIELDS.plus_ones(
            VARIANT_FIELDS.values(known.get(variant, _NOBODY)), summed
        )
        for variant, summed in weights.items()
    }


def excluded_units(units: Mapping[Chance, int], n_variants: int) -> tuple[int, ...]:
    """Return the number of new units excluded from each variant, without trailing zeros.

    Args:
        units: How many new units, by chance.
        n_variants: Variants of the experiment.
    """
    found: list[int] = []
    for (variant, propensity, packed), count in units.items():
        if not packed and propensity != PROPENSITY_ONE:
            continue  # most of them: no variant is known to be excluded
        for other in excluded_variants(variant, propensity, packed, n_variants):
            found += [0] * (other + 1 - len(found))
            found[other] += count
    return tuple(found)


def offered_units(units: Mapping[Chance, int], n_variants: int) -> tuple[int, ...]:
    """Return the number of new units offered to each variant added since the start.

    Args:
        units: How many new units, by chance.
        n_variants: Variants of the experiment at its start; 0 if that is not known.

    Returns:
        By index, up to the last one that is not 0; 0 for those of the start.
    """
    found: list[int] = []
    for (variant, propensity, packed), count in units.items():
        if len(packed) > n_variants:
            for added in added_variants(variant, propensity, packed, n_variants):
                found += [0] * (added + 1 - len(found))
                found[added] += count
    return tuple(found)


def metric_tallies(
    values: Mapping[MetricKey, Sequence[int]],
    ones: Mapping[MetricKey, int],
    moments: Mapping[Metric, tuple[int, ...]],
    positive_moments: Mapping[Metric, tuple[int, ...]],
    weighted_moments: Mapping[Metric, tuple[int, ...]],
    known: Mapping[int, VariantTally],
    plan: Plan,
) -> dict[int, dict[str, MetricTally]]:
    """Return the metrics that have new values, by variant and name.

    Args:
        values: Sums over new values, by chance and metric.
        ones: New units whose only value is 1, likewise.
        moments, positive_moments: What the values add to the fields of these names.
        weighted_moments: What they add to `overlap_moment`.
        known: The tallies so far.
        plan: The plan of the experiment; sums by pair are kept only for its declared metrics.
    """
    if not values and not ones:
        return {}
    found: dict[Metric, list[int]] = {}
    n_compared, weights_of = plan.compared, weigher(plan.baseline)
    for (variant, propensity, packed, name), sums in values.items():
        key = variant, name
        total = found.get(key) or METRIC_FIELDS.values(_metric(known, key))
        found[key] = METRIC_FIELDS.plus(
            total,
            _statistics(sums),
            weights_of(variant, propensity, packed, n_compared.get(name, 0)),
        )
    weights = _summed(
        (
            (variant, name),
            weights_of(variant, propensity, packed, n_compared.get(name, 0)),
            count,
        )
        for (variant, propensity, packed, name), count in ones.items()
    )
    for key, summed in weights.items():
        total = found.get(key) or METRIC_FIELDS.values(_metric(known, key))
        found[key] = METRIC_FIELDS.plus_ones(total, summed)
    metrics: defaultdict[int, dict[str, MetricTally]] = defaultdict(dict)
    for key, sums_of_metric in found.items():
        old = _metric(known, key)
        moment, positive_moment = old.moment, old.positive_moment
        if key in moments:
            moment = add_entries(moment, moments[key])
            positive_moment = add_entries(positive_moment, positive_moments[key])
        by_pair = old.overlap_moment
        if key in weighted_moments:
            by_pair = add_entries(by_pair, weighted_moments[key])
        variant, name = key
        metrics[variant][name] = METRIC_FIELDS.new(
            *sums_of_metric, moment, positive_moment, by_pair
        )
    return metrics


def product_tallies(
    products: Mapping[ProductKey, Sequence[int]], known: Mapping[int, VariantTally], plan: Plan
) -> dict[int, dict[Pair, ProductTally]]:
    """Return the products of the variants that have new ones, in order of their pairs.

    Args:
        products: Changes of sums of products, by chance and pair.
        known: The tallies so far.
        plan: The plan of the experiment.
    """
    if not products:
        return {}
    found: dict[int, dict[Pair, ProductTally]] = {}
    weights_of = weigher(plan.baseline)
    for (variant, propensity, packed, pair), changes in products.items():
        sums = found.get(variant)
        if sums is None:
            sums = found[variant] = dict(known.get(variant, _NOBODY).products)
        before = PRODUCT_FIELDS.values(sums.get(pair, _NO_PRODUCT))
        total, first_squared, second_squared = changes
        changed = statistics(value=total, square=first_squared, cube=second_squared)
        weights = weights_of(variant, propensity, packed, plan.n_compared)
        sums[pair] = PRODUCT_FIELDS.new(*PRODUCT_FIELDS.plus(before, changed, weights))
    return {variant: dict(sorted(sums.items())) for variant, sums in found.items()}


def bin_tallies(
    binned: Mapping[BinKey, Sequence[int]], known: Mapping[int, VariantTally], plan: Plan
) -> dict[int, dict[str, ByBin]]:
    """Return the bins of the variants that have new values in them, by metric.

    Args:
        binned: Changes of sums, by chance, metric and bin.
        known: The tallies so far.
        plan: The plan of the experiment.
    """
    if not binned:
        return {}
    found: defaultdict[Metric, dict[int, BinTally]] = defaultdict(dict)
    n_binned = plan.n_binned
    for (variant, propensity, packed, name, index), changes in binned.items():
        key = variant, name
        if key not in found:
            found[key] = dict(known.get(variant, _NOBODY).bins.get(name, {}))
        units, total, squared, cubed = changes
        changed = statistics(units=units, value=total, square=squared, cube=cubed)
        weights = unit_weights(variant, propensity, packed, n_binned)
        before = BIN_FIELDS.values(found[key].get(index, _NO_BIN))
        found[key][index] = BIN_FIELDS.new(*BIN_FIELDS.plus(before, changed, weights))
    variants: dict[int, dict[str, ByBin]] = {}
    for (variant, name), bins in found.items():
        if variant not in variants:
            variants[variant] = dict(known.get(variant, _NOBODY).bins)
        variants[variant][name] = filled(dict(sorted(bins.items())))
    return {variant: dict(sorted(bins.items())) for variant, bins in variants.items()}


def _statistics(sums: Sequence[int]) -> Statistics:
    """Return the statistics of the values of one chance."""
    units, further, total, squared, positive, binary, cubed = sums
    observations = units + further
    # Also for non-binary metrics, which become binary again if the other units are removed.
    surplus = total - positive * MICRO
    return units, observations, total, squared, binary, positive, surplus, cubed


def _summed(weighed: Iterable[tuple[KeyT, UnitWeights, int]]) -> dict[KeyT, list[int]]:
    """Return the sums of the weights of units by key.

    Args:
        weighed: Key, weights of each unit, and how many units.
    """
    found: dict[KeyT, list[int]] = {}
    # For every chance of every metric: a loop over the weights takes twice as long.
    for key, (one, inverse, inverse_squared, overlap, overlap_squared), count in weighed:
        sums = found.get(key)
        if sums is None:
            sums = found[key] = [0, 0, 0, 0, 0]
        sums[0] += one * count
        sums[1] += inverse * count
        sums[2] += inverse_squared * count
        if not overlap_squared:
            continue  # no sums by pair are kept, or the receipt has no weights
        if count == 1:  # most chances have one unit, and multiplying long numbers by pair is slow
            sums[3] += overlap
            sums[4] += overlap_squared
        else:
            sums[3] += overlap * count
            sums[4] += overlap_squared * count
    return found


def _metric(known: Mapping[int, VariantTally], key: Metric) -> MetricTally:
    variant, name = key
    return known.get(variant, _NOBODY).metrics.get(name, _NO_VALUES)
