"""Contrasts of tallies: the sums by which the variants of an experiment are compared.

The weight of a unit is chosen once for all metrics (`Weighting`); the comparisons of the leader,
the guardrails and the p-values all follow it.

Overlap weights assume more than inverse propensities do: a unit that was not assigned to one
variant was assigned to the other, so that 1 - p is the propensity of the other. All units together
test it. The sums of 1 - p over either variant differ by the units that the first has beyond the sum
of its propensities, which is a martingale exactly under that assumption, and each variant's sum of
1 / p stays near the number of all units. `Traffic.sample_ratio` tests both, and nothing is
concluded when one fails. Since w x <= w, the same sums without values show such a fault sooner than
a difference of means does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import assert_never

import numpy as np

from streams.model.quantities import (
    ALLOCATION_TOTAL,
    MICRO,
    PROPENSITY_ONE,
    PROPENSITY_PER_WEIGHT,
    inverse_propensity,
)
from streams.policies.arms import unseen_arms
from streams.policies.base import Policy
from streams.policies.weights import allocate, smallest_weight
from streams.stats.arrays import FloatArray
from streams.stats.sample import Sample, cubed_deviations, squared_deviations
from streams.stats.sequential.comparison import TUNED_ERROR, UNPLANNED, Readings, p_values
from streams.stats.sequential.contrasts import (
    Contrast,
    PlainSums,
    WeightedSums,
    fixed_contrast,
    inverse_contrast,
    overlap_contrast,
)
from streams.stats.sequential.sample_ratio import (
    Assigned,
    SampleRatio,
    sharper,
    under_fixed_weights,
    under_moving_weights,
    under_overlap_weights,
)
from streams.stats.sequential.tails import Moments
from streams.tallies.cell import MetricTally, VariantTally

_PAIR = 2


class Weighting(StrEnum):
    """Weight of a unit in a comparison."""

    PLAIN = "plain"
    """Its share of the traffic has never changed, so all units of a variant count alike."""

    OVERLAP = "overlap"
    """1 - propensity, for two variants: no unit counts much, so precision depends on no floor."""

    INVERSE = "inverse"
    """1 / propensity, for any number of variants."""


@dataclass(frozen=True, slots=True, eq=False)
class Traffic:
    """Split of the units among the variants; all shapes are (n_variants,).

    Attributes:
        weighting: Weight of a unit.
        shares: The shares all units had, if they never moved (`Weighting.PLAIN`).
        units: Units assigned.
        weight: Sum of 1 / propensity over them.
        weight_squared: Sum of (1 / propensity) squared.
        largest: Largest 1 / propensity there can be by the allocation in force, unless somebody
            else has assigned; >= 1.
        overlap: Sum of 1 - propensity over them.
        overlap_squared: Sum of (1 - propensity) squared.
    """

    weighting: Weighting
    shares: FloatArray
    units: FloatArray
    weight: FloatArray
    weight_squared: FloatArray
    largest: FloatArray
    overlap: FloatArray
    overlap_squared: FloatArray

    @classmethod
    def of(
        cls, policy: Policy, shares: Sequence[float], variants: Sequence[VariantTally]
    ) -> Traffic:
        """Return the split of the units.

        Args:
            policy: The policy that splits them.
            shares: Declared shares of the variants, which sum to 1.
            variants: Their tallies, in the order of the definition.
        """
        weights = np.full(len(variants), smallest_weight(policy, len(variants)))
        is_fixed = False
        if not policy.adaptive:
            weights = np.array(allocate(policy, unseen_arms(shares)))
            is_fixed = all(map(_has_weight, variants, weights.tolist()))
        planned = ALLOCATION_TOTAL / weights
        columns = [
            (
                float(variant.units),
                variant.weight / MICRO,
                variant.weight_squared / MICRO**2,
                _largest(variant.weight, variant.weight_squared, bound, MICRO),
                variant.overlap / PROPENSITY_ONE,
                variant.overlap_squared / PROPENSITY_ONE**2,
            )
            for variant, bound in zip(variants, planned.tolist(), strict=True)
        ]
        moving = Weighting.OVERLAP if len(variants) == _PAIR else Weighting.INVERSE
        weighting = Weighting.PLAIN if is_fixed else moving
        return cls(weighting, weights / ALLOCATION_TOTAL, *np.array(columns).T)

    def sample_ratio(self) -> SampleRatio:
        """Return how observed counts compare with the configured split."""
        if self.weighting is Weighting.PLAIN:
            return under_fixed_weights(self.units, self.shares)
        assigned = Assigned(self.weight, self.weight_squared, self.largest)
        found = under_moving_weights(assigned, self.units.sum())
        if self.weighting is Weighting.INVERSE:
            return found
        return sharper(under_overlap_weights(self.units, self.overlap, self.overlap_squared), found)


@dataclass(frozen=True, slots=True, eq=False)
class MetricContrasts:
    """One metric of all variants, ready to be compared; all shapes are (n_variants,).

    Attributes:
        traffic: Split of the units.
        is_bounded: Whether every value is 0 or 1.
        sums: Sums over the units, each of which counts by the weighting of the traffic.
    """

    traffic: Traffic
    is_bounded: bool
    sums: WeightedSums

    @classmethod
    def of(
        cls,
        traffic: Traffic,
        tallies: Sequence[MetricTally],
        samples: Sequence[Sample],
        *,
        is_bounded: bool,
    ) -> MetricContrasts:
        """Return the sums by which a metric is compared.

        Args:
            traffic: Split of the units.
            tallies: The metric of every variant.
            samples: The same beside the units.
            is_bounded: Whether its values are in [0, 1].
        """
        units = np.array([float(sample.units) for sample in samples])
        weighting = traffic.weighting
        match weighting:
            case Weighting.PLAIN:
                weight, weight_squared, columns = units, units, map(_plain, tallies)
                largest = np.ones_like(units)
            case Weighting.OVERLAP:
                weight, weight_squared = traffic.overlap, traffic.overlap_squared
                columns, largest = map(_by_overlap, tallies), np.ones_like(units)
            case Weighting.INVERSE:
                weight, weight_squared = traffic.weight, traffic.weight_squared
                columns = map(_by_inverse, tallies)
                largest = np.array(
                    [
                        _largest(each.weighted_total, each.weighted_total_squared, bound, MICRO**2)
                        for each, bound in zip(tallies, traffic.largest.tolist(), strict=True)
                    ]
                )
            case _:
                assert_never(weighting)
        total, cross, total_squared = np.array(list(columns)).T
        if is_bounded:
            variance, moments = np.zeros_like(units), None
        else:
            largest = np.full_like(units, math.inf)
            variance = _variance(tallies, units)
            heaviest = traffic.largest if weighting is Weighting.INVERSE else np.ones_like(units)
            moments = _moments(tallies, samples, heaviest)
        # Of a variant that has never had a propensity below 1 nothing is known by overlap weights.
        counted = np.where(weight > 0.0, units, 0.0)
        sums = WeightedSums(
            counted, weight, weight_squared, total, cross, total_squared, largest, variance
        )
        sums = replace(sums, moments=moments)
        return cls(traffic, is_bounded, sums)

    def contrast(self, a: Sequence[int], b: Sequence[int], times: float = 1.0) -> Contrast:
        """Return the contrasts of "mean of a minus `times` the mean of b".

        Args:
            a, b: Indices of variants, equally many or one of them one.
            times: Factor, >= 0.
        """
        first, second = list(a), list(b)
        better, worse = self._chosen(first, 1.0), self._chosen(second, times)
        match self.traffic.weighting:
            case Weighting.PLAIN:
                return fixed_contrast(self._shared(better, first), self._shared(worse, second))
            case Weighting.OVERLAP:
                return overlap_contrast(better, worse)
            case Weighting.INVERSE:
                return inverse_contrast(better, worse, self.traffic.units.sum())
            case _:
                assert_never(self.traffic.weighting)

    def p_values(
        self,
        control: int,
        others: Sequence[int],
        alpha: float = TUNED_ERROR,
        readings: Readings = UNPLANNED,
    ) -> list[float]:
        """Return the always-valid p-values of "as the control".

        Args:
            control: Index of the control.
            others: Indices of the variants that are compared with it.
            alpha: Error that they are made sharp for.
            readings: How the comparisons are read.
        """
        compared = self.contrast(others, [control])
        found: list[float] = p_values(compared, alpha, readings).tolist()
        return found

    @property
    def skewness(self) -> FloatArray | None:
        """Skewness of the values of each variant; None where no comparison depends on it."""
        return None if self.sums.moments is None else self.sums.moments.skewness

    def _chosen(self, variants: list[int], times: float) -> WeightedSums:
        """Return the sums of some variants, with `times` their values."""
        sums = self.sums
        return WeightedSums(
            units=sums.units[variants],
            weight=sums.weight[variants],
            weight_squared=sums.weight_squared[variants],
            total=times * sums.total[variants],
            cross=times * sums.cross[variants],
            total_squared=times * times * sums.total_squared[variants],
            largest=times * sums.largest[variants] if self.is_bounded else sums.largest[variants],
            variance=times * times * sums.variance[variants],
            moments=None if sums.moments is None else sums.moments.chosen(variants, times),
        )

    def _shared(self, sums: WeightedSums, variants: list[int]) -> PlainSums:
        """Return sums of plain values with the shares that the variants have had."""
        share = self.traffic.shares[variants]
        return PlainSums(
            sums.units,
            sums.total,
            sums.total_squared,
            share,
            sums.largest,
            moments=sums.moments,
        )


def _plain(tally: MetricTally) -> tuple[float, float, float]:
    total = tally.total / MICRO
    return total, total, tally.total_squared / MICRO**2


def _by_overlap(tally: MetricTally) -> tuple[float, float, float]:
    return (
        tally.overlap_total / (PROPENSITY_ONE * MICRO),
        tally.overlap_cross / (PROPENSITY_ONE**2 * MICRO),
        tally.overlap_total_squared / (PROPENSITY_ONE * MICRO) ** 2,
    )


def _by_inverse(tally: MetricTally) -> tuple[float, float, float]:
    return (
        tally.weighted_total / MICRO**2,
        tally.weighted_cross / MICRO**3,
        tally.weighted_total_squared / MICRO**4,
    )


def _variance(tallies: Sequence[MetricTally], units: FloatArray) -> FloatArray:
    """Return the variance of the values."""
    seen = np.maximum(units, 1.0)
    mean = np.array([tally.total / MICRO for tally in tallies]) / seen
    square = np.array([tally.total_squared / MICRO**2 for tally in tallies]) / seen
    variance: FloatArray = np.maximum(square - mean * mean, 0.0)
    return variance


def _moments(
    tallies: Sequence[MetricTally], samples: Sequence[Sample], heaviest: FloatArray
) -> Moments:
    """Return the moments of the values; of a variant with equal values those of all together."""
    columns = [
        (round(sample.units), tally.total, tally.total_squared, tally.total_cubed)
        for sample, tally in zip(samples, tallies, strict=True)
    ]
    together = _central([sum(column) for column in zip(*columns, strict=True)])
    found = [_central(column) for column in columns]
    variance, third = np.array([each if each[0] > 0.0 else together for each in found]).T
    return Moments(variance, third, heaviest)


def _central(sums: Sequence[int]) -> tuple[float, float]:
    """Return variance and third central moment of values, given their number and power sums."""
    units, total, squared, cubed = sums
    if not units:
        return 0.0, 0.0
    return (
        squared_deviations(units, total, squared) / units,
        cubed_deviations(units, total, squared, cubed) / units,
    )


def _has_weight(variant: VariantTally, weight: int) -> bool:
    """Return whether all units of a variant had the propensity of an integer weight."""
    inverse = inverse_propensity(weight * PROPENSITY_PER_WEIGHT)
    return variant.weight == variant.units * inverse and all(
        metric.weighted_total == metric.total * inverse for metric in variant.metrics.values()
    )


def _largest(total: int, total_squared: int, planned: float, one: int) -> float:
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
