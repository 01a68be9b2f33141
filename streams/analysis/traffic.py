"""Split of the units of an experiment among its variants, and the test of it.

All units together test the split: the sums of the overlap weights over a and over b differ by a
martingale exactly if units arrive as they were assigned, for every pair, and each variant's sum of
1 / p stays near the number of all units. Since w x <= w, these sums without values show a fault
sooner than a difference of means does.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from streams.analysis.pair_arrays import by_pair
from streams.model.quantities import (
    ALLOCATION_TOTAL,
    MICRO,
    PROPENSITY_ONE,
    PROPENSITY_PER_WEIGHT,
    inverse_propensity,
)
from streams.model.variant_weights import OWN_WEIGHT
from streams.policies.arms import unseen_arms
from streams.policies.base import Policy
from streams.policies.contextual.base import ContextualPolicy
from streams.policies.weights import allocate, smallest_weight
from streams.stats.arrays import FloatArray, any_of
from streams.stats.sequential.sample_ratio import (
    Assigned,
    SampleRatio,
    sharper,
    under_fixed_weights,
    under_moving_weights,
    under_overlap_weights,
)
from streams.stats.weighting import Weighting
from streams.tallies.cell import MetricTally, VariantTally
from streams.tallies.pair_sums import unpack_pairs

_ROUNDING = 1e-12  # of sums of equal weights as floats


@dataclass(frozen=True, slots=True)
class TrafficPlan:
    """Plan of a split of units among variants; every tuple has one entry per variant.

    Attributes:
        policy: The policy that splits them, with the floor that bounds propensities.
        shares: Declared shares, which sum to 1.
        excluded: Units that each could not have; what is beyond the last entry is 0.
        smallest: Smallest weight of each so far, where a fixed allocation has changed; None where
            it has not.
        n_variants: Variants of the experiment, including stopped ones; 0 for these.
        all_units: Units of all of them; None for those of these variants.
    """

    policy: Policy
    shares: tuple[float, ...]
    excluded: tuple[int, ...] = ()
    smallest: tuple[int, ...] | None = None
    n_variants: int = 0
    all_units: int | None = None


@dataclass(frozen=True, eq=False)
class Traffic:
    """Split of the units among the variants; shapes are (n_variants,) unless stated.

    Attributes:
        weighting: Weight of a unit.
        shares: The shares all units had, if they never moved (`Weighting.PLAIN`).
        units: Units assigned.
        weight: Sum of 1 / propensity over them.
        weight_squared: Sum of (1 / propensity) squared.
        largest: Largest 1 / propensity under the allocation in force, assuming that no other system
            assigns; >= 1.
        overlap: Sum over the units of a of their weights in the comparison with b, at [a, b]; shape
            (n_variants, n_variants); zeros where that is not known.
        overlap_squared: Likewise of the squared weights.
        is_by_context: Whether the weights of a unit depend on its request.
        excluded: Units that could not be assigned to each variant, as it was not eligible, had the
            weight 0 or did not exist.
        all_units: Units of all variants of the experiment.
    """

    weighting: Weighting
    shares: FloatArray
    units: FloatArray
    weight: FloatArray
    weight_squared: FloatArray
    largest: FloatArray
    overlap: FloatArray
    overlap_squared: FloatArray
    is_by_context: bool
    excluded: FloatArray
    all_units: float

    @classmethod
    def of(cls, plan: TrafficPlan, variants: Sequence[VariantTally]) -> Traffic:
        """Return the split of the units of some variants.

        Args:
            plan: How they were to be split.
            variants: Tallies of the variants of the plan.
        """
        policy, smallest = plan.policy, plan.smallest
        weights = np.full(len(variants), smallest_weight(policy, plan.n_variants or len(variants)))
        is_fixed = False
        if smallest is not None:
            weights = np.maximum(np.array(smallest), 1)
        elif not policy.adaptive:
            weights = np.array(allocate(policy, unseen_arms(plan.shares)))
            is_fixed = all(map(_has_weight, variants, weights.tolist()))
        planned = ALLOCATION_TOTAL / weights
        columns = [
            (
                float(variant.units),
                variant.weight / MICRO,
                variant.weight_squared / MICRO**2,
                largest_weighted(variant.weight, variant.weight_squared, bound, MICRO),
            )
            for variant, bound in zip(variants, planned.tolist(), strict=True)
        ]
        sums = [(variant.units, variant.overlap) for variant in variants]
        moving = Weighting.OVERLAP if _are_by_pair(sums) else Weighting.INVERSE
        weighting = Weighting.PLAIN if is_fixed else moving
        units, inverse, inverse_squared, largest = np.array(columns).T
        return cls(
            weighting,
            weights / ALLOCATION_TOTAL,
            units,
            inverse,
            inverse_squared,
            largest,
            by_pair([each.overlap for each in variants], PROPENSITY_ONE),
            by_pair([each.overlap_squared for each in variants], PROPENSITY_ONE**2),
            isinstance(policy, ContextualPolicy),
            np.array(
                [max(n, 0) for n in (*plan.excluded, *[0] * len(variants))[: len(variants)]], float
            ),
            float(units.sum()) if plan.all_units is None else float(plan.all_units),
        )

    @cached_property
    def has_excluded(self) -> bool:
        """Whether some variants could not be shown to some units."""
        return any_of(self.excluded)

    @cached_property
    def has_moved(self) -> bool:
        """Whether the units of the variants may be those of different requests."""
        if self.weighting is Weighting.PLAIN:
            return False
        if self.has_excluded:
            return True
        spread = self.units * self.weight_squared - self.weight * self.weight
        return any_of(spread > _ROUNDING * self.weight * self.weight)

    def sample_ratio(self) -> SampleRatio:
        """Return how observed counts compare with the configured split."""
        if self.weighting is Weighting.PLAIN:
            return under_fixed_weights(self.units, self.shares)
        assigned = Assigned(self.weight, self.weight_squared, self.largest)
        found = under_moving_weights(assigned, np.maximum(self.all_units - self.excluded, 0.0))
        if self.weighting is Weighting.INVERSE:
            return found
        return sharper(under_overlap_weights(self.overlap, self.overlap_squared), found)

    def weighting_of(self, tallies: Sequence[MetricTally]) -> Weighting:
        """Return how the units of a metric count: sums by pair are kept of declared ones alone."""
        sums = [(each.total, each.overlap_total) for each in tallies]
        is_missing = self.weighting is Weighting.OVERLAP and not _are_by_pair(sums)
        return Weighting.INVERSE if is_missing else self.weighting


def largest_weighted(total: int, total_squared: int, planned: float, one: int) -> float:
    """Return a bound of (value of at most 1) / propensity: the planned one, unless it is exceeded.

    Terms that never exceed the bound have a sum of squares of at most bound times their sum. If
    they do not, the propensities came from elsewhere, and none exceeds the root of that sum.

    Args:
        total: Sum of the terms, in units of 1 / `one`.
        total_squared: Sum of their squares.
        planned: The bound by the allocation.
        one: Representation of 1 in the sums.
    """
    limit = (round(planned * MICRO) + 1) * (one // MICRO)  # inverse propensities are rounded
    if total_squared <= limit * total:
        return planned
    return max(planned, math.sqrt(total_squared) / one)


def _are_by_pair(sums: Iterable[tuple[int, int]]) -> bool:
    """Return whether sums by pair are kept of all units, as the diagonal shows.

    Args:
        sums: Plain sum of each variant, and its sums by pair, packed.
    """
    for own, (plain, packed) in enumerate(sums):
        digits = unpack_pairs(packed)
        if plain * OWN_WEIGHT != (digits[own] if own < len(digits) else 0):
            return False
    return True


def _has_weight(variant: VariantTally, weight: int) -> bool:
    """Return whether all units of a variant had the propensity of an integer weight."""
    inverse = inverse_propensity(weight * PROPENSITY_PER_WEIGHT)
    return variant.weight == variant.units * inverse and all(
        metric.weighted_total == metric.total * inverse for metric in variant.metrics.values()
    )
