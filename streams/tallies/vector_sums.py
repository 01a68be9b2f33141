"""Sums over the vectors of new units: by variant, and by pair where covariates are weighted.

If sums by pair are needed, units and values are first summed by chance, and all sums, including
those by variant, are derived from these: each vector is expanded once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping
from typing import NamedTuple, TypeVar

from streams.model.vectors import FEATURE_ONE, Vector
from streams.tallies.cell import VariantTally
from streams.tallies.fields import Chance, Weight, unit_weights
from streams.tallies.freezing import Metric, MetricKey
from streams.tallies.linear import LinearSums, add_entries, triangle
from streams.tallies.plan import Plan

Entries = tuple[int, ...]
"""Sums by index, as in `LinearTally`."""

_KeyT = TypeVar("_KeyT", bound=Hashable)
_NOBODY = VariantTally()


class VectorTallies(NamedTuple):
    """Sums over the vectors of new units.

    Attributes:
        grams: Matrices of the variants that have new units with features, with those so far.
        covariates: `overlap_features` and `overlap_gram` of those variants, likewise.
        moments, positive_moments: What new values add to the fields of these names.
        overlap_moments: What they add to `overlap_moment`.
    """

    grams: Mapping[int, Entries]
    covariates: Mapping[int, tuple[Entries, Entries]]
    moments: Mapping[Metric, Entries]
    positive_moments: Mapping[Metric, Entries]
    overlap_moments: Mapping[Metric, Entries]


_NO_VECTORS = VectorTallies({}, {}, {}, {}, {})


class VectorSums:
    """Builder of sums over vectors: the additions since the last `freeze`."""

    __slots__ = ("_contexts", "_conversions", "_rewards", "_weighted_contexts", "_weighted_rewards")

    def __init__(self) -> None:
        self._contexts: dict[tuple[int, Vector], int] = {}
        self._weighted_contexts: dict[tuple[Chance, Vector], int] = {}
        self._rewards: dict[tuple[int, str, Vector], int] = {}
        self._conversions: dict[tuple[int, str, Vector], int] = {}
        self._weighted_rewards: dict[tuple[MetricKey, Vector], int] = {}

    def add_units(self, units: Iterable[tuple[Chance, Vector]], count: int, plan: Plan) -> None:
        """Add the vectors of units.

        Args:
            units: Chance and vector of each.
            count: How many units each of them stands for.
            plan: The plan of the experiment.
        """
        if plan.weighted_covariates:
            weighted = self._weighted_contexts
            for unit in units:
                weighted[unit] = weighted.get(unit, 0) + count
            return
        contexts = self._contexts
        for chance, vector in units:
            context = chance[0], vector
            contexts[context] = contexts.get(context, 0) + count

    def add_value(
        self, key: MetricKey, vector: Vector, value: int, converted: int, plan: Plan
    ) -> None:
        """Add the values of units with a vector to a metric.

        Args:
            key: Chance and metric.
            vector: Their features.
            value: What is added to their values, in micro-units.
            converted: How many of them thereby have a value above 0.
            plan: The plan of the experiment.
        """
        reward = key[0], key[-1], vector
        self._conversions[reward] = self._conversions.get(reward, 0) + converted
        if plan.weighted_covariates:
            place = key, vector
            self._weighted_rewards[place] = self._weighted_rewards.get(place, 0) + value
        else:
            self._rewards[reward] = self._rewards.get(reward, 0) + value

    def freeze(self, known: Mapping[int, VariantTally], plan: Plan) -> VectorTallies:
        """Return the additions, including the known tallies where documented."""
        if not (self._contexts or self._weighted_contexts or self._conversions):
            return _NO_VECTORS
        conversions = _moments_of(self._conversions)
        if not plan.weighted_covariates:
            matrices = _grams(_gram_sums(self._contexts), known)
            return VectorTallies(matrices, {}, _moments_of(self._rewards), conversions, {})
        by_chance = _gram_sums(self._weighted_contexts)
        by_key = _moment_sums(self._weighted_rewards)
        return VectorTallies(
            _grams(_grams_by_variant(by_chance), known),
            _overlap_covariates(by_chance, known, plan),
            _moments_by_metric(by_key),
            conversions,
            _overlap_moments(by_key, plan),
        )


def _gram_sums(contexts: Mapping[tuple[_KeyT, Vector], int]) -> dict[_KeyT, Entries]:
    """Return the matrices of new units, by key.

    Args:
        contexts: How many units, by key and vector.
    """
    found: defaultdict[_KeyT, LinearSums] = defaultdict(LinearSums)
    for (key, vector), count in contexts.items():
        found[key].add_unit(vector, count)
    return {key: sums.freeze().gram for key, sums in found.items()}


def _moment_sums(values: Mapping[tuple[_KeyT, Vector], int]) -> dict[_KeyT, Entries]:
    """Return the sums of vector times value, by key.

    Args:
        values: Sums over new values, by key and vector.
    """
    found: defaultdict[_KeyT, LinearSums] = defaultdict(LinearSums)
    for (key, vector), value in values.items():
        found[key].add_value(vector, value)
    return {key: sums.freeze().moment for key, sums in found.items()}


def _moments_of(values: Mapping[tuple[int, str, Vector], int]) -> dict[Metric, Entries]:
    """Return the sums of vector times value, by variant and metric."""
    found: defaultdict[Metric, LinearSums] = defaultdict(LinearSums)
    for (variant, name, vector), value in values.items():
        found[variant, name].add_value(vector, value)
    return {key: sums.freeze().moment for key, sums in found.items()}


def _grams_by_variant(by_chance: Mapping[Chance, Entries]) -> dict[int, Entries]:
    """Return the matrices of the variants."""
    found: dict[int, Entries] = {}
    for (variant, _, _), gram in by_chance.items():
        found[variant] = add_entries(found.get(variant, ()), gram)
    return found


def _moments_by_metric(by_key: Mapping[MetricKey, Entries]) -> dict[Metric, Entries]:
    """Return the sums of vector times value of the metrics of the variants."""
    found: dict[Metric, Entries] = {}
    for (variant, _, _, name), moment in by_key.items():
        found[variant, name] = add_entries(found.get((variant, name), ()), moment)
    return found


def _grams(added: Mapping[int, Entries], known: Mapping[int, VariantTally]) -> dict[int, Entries]:
    """Return the matrices of the variants that have new units with features.

    Args:
        added: Those of the new units.
        known: The tallies so far.
    """
    return {
        variant: add_entries(known.get(variant, _NOBODY).gram, gram)
        for variant, gram in added.items()
    }


def _overlap_covariates(
    by_chance: Mapping[Chance, Entries], known: Mapping[int, VariantTally], plan: Plan
) -> dict[int, tuple[Entries, Entries]]:
    """Return `overlap_features` and `overlap_gram` of the variants that have new covariates.

    Args:
        by_chance: Matrices of the new units.
        known: The tallies so far.
        plan: The plan of the experiment.
    """
    n_adjusted = plan.n_adjusted
    found: dict[int, tuple[Entries, Entries]] = {}
    if not n_adjusted:
        return found
    for chance, gram in by_chance.items():
        old = known.get(chance[0], _NOBODY)
        features, products = found.get(chance[0], (old.overlap_features, old.overlap_gram))
        weights = unit_weights(*chance, n_adjusted)
        found[chance[0]] = (
            add_entries(features, _times(totals_of(gram), weights[Weight.OVERLAP])),
            add_entries(products, _times(gram, weights[Weight.OVERLAP_SQUARED])),
        )
    return found


def _overlap_moments(by_key: Mapping[MetricKey, Entries], plan: Plan) -> dict[Metric, Entries]:
    """Return what values add to `overlap_moment`, by variant and metric.

    Args:
        by_key: Sums of vector times new value.
        plan: The plan of the experiment.
    """
    n_adjusted = plan.n_adjusted
    found: dict[Metric, Entries] = {}
    if not n_adjusted:
        return found
    for (variant, propensity, packed, name), moment in by_key.items():
        if name in plan.declared:
            weights = unit_weights(variant, propensity, packed, n_adjusted)
            added = _times(moment, weights[Weight.OVERLAP_SQUARED])
            found[variant, name] = add_entries(found.get((variant, name), ()), added)
    return found


def totals_of(gram: Entries) -> Entries:
    """Return the sums of the vectors of units, which are in the products with the intercept.

    >>> totals_of((1024 * 1024, 512 * 1024, 512 * 512))
    (1024, 512)
    """
    totals: list[int] = []
    while triangle(len(totals)) < len(gram):
        totals.append(gram[triangle(len(totals))] // FEATURE_ONE)
    return tuple(totals)


def _times(entries: Entries, weight: int) -> Entries:
    return tuple([each * weight for each in entries])
