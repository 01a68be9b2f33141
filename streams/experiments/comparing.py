"""From tallies to contrasts: by which sums the variants of an experiment are compared.

Where the shares never moved, plain sums are compared. Where they did, or where somebody else has
assigned with shares of his own, every value counts with one over its propensity: that is not biased
by weights that follow the data, and costs precision.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from streams.allocation.policies import Arm, Policy
from streams.allocation.weights import allocate, smallest_weight
from streams.domain.quantities import (
    ALLOCATION_TOTAL,
    MICRO,
    PROPENSITY_ONE,
    inverse_propensity,
)
from streams.inference.comparison import p_values
from streams.inference.contrasts import Contrast, PlainSums, fixed_contrast
from streams.inference.posterior import FloatArray
from streams.inference.sample import Sample
from streams.inference.sample_ratio import (
    Assigned,
    SampleRatio,
    under_fixed_weights,
    under_moving_weights,
)
from streams.tallies.cell import MetricTally, VariantTally

MIN_UNITS_WITH_VALUE = 30
"""Units with a value every variant needs before the asymptotic sequence of a metric that is not
binary is believed: with fewer, a lucky arm may have seen none of the rare large values."""

_PROPENSITY_PER_WEIGHT = PROPENSITY_ONE // ALLOCATION_TOTAL
_INVERSE_OF_EVEN_SQUARED = 4.0


@dataclass(frozen=True, slots=True, eq=False)
class Traffic:
    """How units were shared out among the variants; all shapes are (n_variants,).

    Attributes:
        shares: The shares all units had, if they never moved; None if they did.
        units: Units assigned.
        weight: Sum of 1 / propensity over them.
        weight_squared: Sum of (1 / propensity) squared.
        largest: Largest 1 / propensity there can be by the allocation in force, unless somebody
            else has assigned; >= 1.
    """

    shares: FloatArray | None
    units: FloatArray
    weight: FloatArray
    weight_squared: FloatArray
    largest: FloatArray

    @classmethod
    def of(cls, policy: Policy, arms: Sequence[Arm], variants: Sequence[VariantTally]) -> Traffic:
        """Return how the units of the variants were shared out.

        Args:
            policy: By which the experiment shares them out.
            arms: The variants as the policy sees them.
            variants: Their tallies, in the order of the definition.
        """
        weights = np.full(len(variants), smallest_weight(policy, len(variants)))
        is_fixed = False
        if not policy.adaptive:
            weights = np.array(allocate(policy, arms))
            is_fixed = all(map(_has_weight, variants, weights.tolist()))
        planned = ALLOCATION_TOTAL / weights
        return cls(
            shares=weights / ALLOCATION_TOTAL if is_fixed else None,
            units=np.array([float(variant.units) for variant in variants]),
            weight=np.array([variant.weight / MICRO for variant in variants]),
            weight_squared=np.array([variant.weight_squared / MICRO**2 for variant in variants]),
            largest=np.array(
                [
                    _largest(variant.weight, variant.weight_squared, bound, MICRO)
                    for variant, bound in zip(variants, planned.tolist(), strict=True)
                ]
            ),
        )

    def sample_ratio(self) -> SampleRatio:
        """Return whether units arrive as they were shared out."""
        if self.shares is not None:
            return under_fixed_weights(self.units, self.shares)
        assigned = Assigned(self.weight, self.weight_squared, self.largest)
        return under_moving_weights(assigned, self.units.sum())


@dataclass(frozen=True, slots=True, eq=False)
class Compared:
    """One metric of all variants, ready to be compared; all shapes are (n_variants,).

    Attributes:
        traffic: How the units were shared out.
        is_bounded: Whether every value is 0 or 1.
        units: Units.
        with_value: Units with a value.
        total: Sum of the values.
        total_squared: Sum of their squares.
        weighted: Sum of value / propensity.
        weighted_squared: Sum of (value / propensity) squared.
        largest: Largest value / propensity of one unit; infinite without a bound.
    """

    traffic: Traffic
    is_bounded: bool
    units: FloatArray
    with_value: FloatArray
    total: FloatArray
    total_squared: FloatArray
    weighted: FloatArray
    weighted_squared: FloatArray
    largest: FloatArray

    @classmethod
    def of(
        cls,
        traffic: Traffic,
        tallies: Sequence[MetricTally],
        samples: Sequence[Sample],
        *,
        is_binary: bool,
    ) -> Compared:
        """Return what comparisons of a metric rest on.

        Args:
            traffic: How the units were shared out.
            tallies: The metric of every variant.
            samples: The same beside the units.
            is_binary: Whether its values are 0 or 1.
        """
        columns = np.array(
            [
                (
                    sample.units,
                    sample.units_with_value,
                    sample.total,
                    tally.total_squared / MICRO**2,
                    tally.weighted_total / MICRO**2,
                    tally.weighted_total_squared / MICRO**4,
                    _largest(tally.weighted_total, tally.weighted_total_squared, bound, MICRO**2)
                    if is_binary
                    else math.inf,
                )
                for tally, sample, bound in zip(
                    tallies, samples, traffic.largest.tolist(), strict=True
                )
            ]
        )
        return cls(traffic, is_binary, *columns.T)

    def contrast(self, a: Sequence[int], b: Sequence[int], times: float = 1.0) -> Contrast:
        """Return the contrasts of "mean of a minus `times` the mean of b".

        Args:
            a, b: Indices of variants, equally many or one of them one.
            times: Factor, >= 0.
        """
        first, second = list(a), list(b)
        if self.traffic.shares is not None:
            return fixed_contrast(self._plain(first, 1.0), self._plain(second, times))
        return self._by_inverse(first, second, times)

    def has_enough(self, *variants: Sequence[int]) -> bool:
        """Return whether the sequences of these variants are to be believed."""
        chosen = [index for indices in variants for index in indices]
        return self.is_bounded or bool((self.with_value[chosen] >= MIN_UNITS_WITH_VALUE).all())

    def p_values(self, control: int, others: Sequence[int]) -> list[float]:
        """Return the always-valid p-values of "as the control"; 1 until there is enough to ask."""
        found = p_values(self.contrast(others, [control])).tolist()
        return [
            p if self.has_enough([other, control]) else 1.0
            for other, p in zip(others, found, strict=True)
        ]

    def _plain(self, chosen: list[int], times: float) -> PlainSums:
        assert self.traffic.shares is not None  # noqa: S101 - asked before
        bound = times if self.is_bounded else math.inf
        return PlainSums(
            self.units[chosen],
            times * self.total[chosen],
            times * times * self.total_squared[chosen],
            self.traffic.shares[chosen],
            np.full(len(chosen), bound),
        )

    def _by_inverse(self, a: list[int], b: list[int], times: float) -> Contrast:
        """Return the contrasts of values over propensities.

        As `inverse_contrast`, but not centred: for that the sum of value / propensity^2 is needed,
        which the tallies do not hold. The squares are at least what the values by themselves lead
        to expect: a variant that has had little traffic may not have shown its large values yet,
        and their absence must not pass for certainty.
        """
        moving = self.traffic
        everyone = float(moving.units.sum())
        total = self.weighted[a] - times * self.weighted[b]
        squares = self.weighted_squared[a] + times * times * self.weighted_squared[b]
        weight_squared = moving.weight_squared[a] + moving.weight_squared[b]
        seen = np.maximum(self.units, 1.0)
        moments = self.total_squared / seen
        expected = np.maximum(moments[a], times * times * moments[b]) * weight_squared
        return Contrast(
            fewest=np.minimum(moving.units[a], moving.units[b]),
            time=weight_squared / _INVERSE_OF_EVEN_SQUARED,
            scale=np.full_like(total, everyone),
            total=total,
            squares=squares,
            deepest_fall=np.broadcast_to(times * self.largest[b], total.shape),
            highest_rise=np.broadcast_to(self.largest[a], total.shape),
            difference=total / max(everyone, 1.0),
            standard_error=np.sqrt(np.maximum(squares, expected)) / max(everyone, 1.0)
            if everyone
            else np.full_like(total, math.inf),
        )


def _has_weight(variant: VariantTally, weight: int) -> bool:
    """Return whether all units of a variant had the propensity of an integer weight."""
    inverse = inverse_propensity(weight * _PROPENSITY_PER_WEIGHT)
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
        one: What stands for 1 in the sums.
    """
    limit = (round(planned * MICRO) + 1) * (one // MICRO)  # inverse propensities are rounded
    if total_squared <= limit * total:
        return planned
    return max(planned, math.sqrt(total_squared) / one)
