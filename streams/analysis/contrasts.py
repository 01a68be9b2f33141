"""Contrasts of tallies: the sums by which the variants of an experiment are compared.

The weight of a unit (`Weighting`) is chosen once for all metrics whose sums allow it; the
comparisons of the leader, the guardrails and the p-values all use it.

Under moving weights every pair of variants has its own comparison (`streams.stats.sequential.
contrasts`). It is exact at any time, for any adaptive policy and any drift of the base rate,
because the weight of a unit is *predictable*: the propensities of all variants are in its receipt,
and so known before its value, and the overlap of a pair is the same number for both variants. So
given the past, a unit adds h (mean a - mean b) on average.

That assumes that units arrive as they were assigned, which `Traffic.sample_ratio` tests; nothing is
concluded when it fails.

Source: Howard, Ramdas, McAuliffe and Sekhon (2021), "Time-uniform, nonparametric, nonasymptotic
    confidence sequences", section 1, for sums with predictable weights; Waudby-Smith et al., arXiv
    2210.10768, for importance weights under moving propensities.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from streams.analysis.moments import moments_of, variance_of
from streams.analysis.pair_arrays import by_pair, in_every_pair
from streams.analysis.traffic import Traffic, largest_weighted
from streams.model.quantities import MICRO, PROPENSITY_ONE
from streams.stats.arrays import FloatArray
from streams.stats.bounds import BINARY, Bounds
from streams.stats.comparable_samples import Comparisons
from streams.stats.sample import Sample
from streams.stats.sequential.comparison import p_values
from streams.stats.sequential.contrasts import (
    Contrast,
    PlainSums,
    WeightedSums,
    fixed_contrast,
    inverse_contrast,
    overlap_contrast,
)
from streams.stats.sequential.tails import Moments
from streams.stats.weighting import Weighting
from streams.tallies.cell import MetricTally

Indices = NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class MetricContrasts:
    """One metric of all variants, ready to be compared.

    Attributes:
        traffic: Split of the units.
        weighting: Weight of a unit.
        bounds: Bounds of the values, if comparisons are exact by them; None if they are not.
        sums: Sums over the units of a, weighted for the comparison with b, at [a, b]; shape
            (n_variants, n_variants).
        observations: Observations of the metric; shape (n_variants,).
        variance_removed: Share of the variance that covariates explain and that is removed; None
            without covariates in use.
    """

    traffic: Traffic
    weighting: Weighting
    bounds: Bounds | None
    sums: WeightedSums
    observations: FloatArray
    variance_removed: float | None = field(default=None, kw_only=True)

    @classmethod
    def of(
        cls,
        traffic: Traffic,
        tallies: Sequence[MetricTally],
        samples: Sequence[Sample],
        *,
        bounds: Bounds | None,
        weighting: Weighting | None = None,
    ) -> MetricContrasts:
        """Return the sums by which a metric is compared.

        Args:
            traffic: Split of the units.
            tallies: The metric of every variant.
            samples: The metric with the units of every variant.
            bounds: Bounds of its values, if any are known.
            weighting: Weighting of its units; None for the one that its sums allow.
        """
        weighting = weighting or traffic.weighting_of(tallies)
        sums = weighted_sums(traffic, tallies, samples, weighting)
        largest = np.ones(len(samples))  # weights, of which the bounds make values
        if weighting is Weighting.INVERSE:
            largest = traffic.largest
            if bounds == BINARY:
                largest = np.array(
                    [
                        largest_weighted(
                            each.weighted_total, each.weighted_total_squared, bound, MICRO**2
                        )
                        for each, bound in zip(tallies, traffic.largest.tolist(), strict=True)
                    ]
                )
        moments, converted = None, None
        if bounds != BINARY:
            variance, third = in_every_pair(moments_of(tallies, samples))
            moments = Moments(variance, third, in_every_pair(largest))
        elif weighting is not Weighting.INVERSE:
            converted = in_every_pair(np.array([tally.total / MICRO for tally in tallies]))
        sums = replace(
            sums,
            # Overlap weights give no information on a variant that always had the propensity 1.
            units=np.where(sums.weight > 0.0, sums.units, 0.0),
            largest=sums.largest if bounds is None else in_every_pair(largest),
            variance=sums.variance if bounds is None else np.zeros_like(sums.variance),
            moments=moments,
            heaviest=None if bounds is None or moments is None else moments.heaviest,
            converted=converted,
        )
        observations = np.array([float(tally.observations) for tally in tallies])
        return cls(traffic, weighting, bounds, sums, observations)

    @property
    def is_comparable(self) -> bool:
        """Whether the compared units are of requests that could get either variant.

        If some variants were not eligible for some units, only sums by pair are over such requests.
        """
        return not (self.weighting is Weighting.INVERSE and self.traffic.has_excluded)

    @property
    def is_bounded(self) -> bool:
        """Whether comparisons are exact for any number of units."""
        return self.bounds is not None

    def contrast(self, a: Sequence[int], b: Sequence[int], times: float = 1.0) -> Contrast:
        """Return the contrasts of "mean of a minus `times` the mean of b".

        Args:
            a, b: Indices of variants, equally many or one of them one.
            times: Factor, >= 0.
        """
        # Values of both are shifted by the smallest possible value of either.
        least = 0.0 if self.bounds is None else self.bounds[0] * max(times, 1.0)
        first, second = np.array(a, np.intp), np.array(b, np.intp)
        better, worse = self.sums.at(first, second), self.sums.at(second, first)
        if times != 1.0:
            worse = worse.multiplied(times)
        if self.bounds is not None:
            better = better.counted_from(least, self.bounds[1])
            worse = worse.counted_from(least, times * self.bounds[1])
        found = self._contrast(better, worse, first, second)
        if not self.is_comparable:
            never = np.zeros_like(found.has_lower)
            found = replace(found, has_lower=never, has_upper=never)
        if self.is_bounded:
            return found
        # The clock of an asymptotic sequence is observations, not assignments: units assigned at
        # once bring values for weeks, and the sum changes all that time.
        units = np.maximum(better.units + worse.units, 1.0)
        observed = self.observations[..., first] + self.observations[..., second]
        return replace(found, time=found.time * observed / units)

    def _contrast(
        self, better: WeightedSums, worse: WeightedSums, a: Indices, b: Indices
    ) -> Contrast:
        match self.weighting:
            case Weighting.PLAIN:
                return fixed_contrast(self._shared(better, a), self._shared(worse, b))
            case Weighting.OVERLAP:
                return overlap_contrast(better, worse)
            case Weighting.INVERSE:
                return inverse_contrast(better, worse, np.array(self.traffic.all_units))
            case _:
                assert_never(self.weighting)

    def mean_beside(self, variant: int, other: int) -> float:
        """Return the mean of a variant by the sums that compare it with another one.

        Their difference is that of two such means. Where units count by their time or propensity,
        or values are adjusted, it is another one than the reported mean. 0 without units.

        Args:
            variant, other: Indices of variants.
        """
        weight = float(self.sums.weight[variant, other])
        return float(self.sums.total[variant, other]) / weight if weight > 0.0 else 0.0

    def comparisons(self) -> Comparisons:
        """Return the weighted means of all variants, for pairwise comparison."""
        return Comparisons.of(self.sums)

    @property
    def skewness(self) -> FloatArray | None:
        """Skewness of the values of each variant; None where no comparison depends on it."""
        if self.sums.moments is None or self.is_bounded:
            return None
        return self.sums.moments.skewness.diagonal()

    @property
    def likeness(self) -> Hashable:
        """Properties that metrics must share to be compared in one call (`stacked`)."""
        sums = self.sums
        optional = sums.moments, sums.heaviest, sums.converted
        return self.traffic, self.weighting, self.bounds, *(each is None for each in optional)

    def stacked(self, others: Sequence[MetricContrasts]) -> MetricContrasts:
        """Return this metric stacked with similar ones along a new first axis."""
        if not others:
            return self
        several = self, *others
        return replace(
            self,
            sums=WeightedSums.stack([each.sums for each in several]),
            observations=np.array([each.observations for each in several]),
        )

    def _shared(self, sums: WeightedSums, variants: Indices) -> PlainSums:
        """Return sums of plain values with the shares that the variants have had."""
        share = self.traffic.shares[variants]
        return PlainSums(
            sums.units,
            sums.total,
            sums.total_squared,
            share,
            sums.largest,
            moments=sums.moments,
            heaviest=sums.heaviest,
            converted=sums.converted,
        )


def p_values_of(
    metrics: Sequence[MetricContrasts], control: int, others: Sequence[int]
) -> list[list[float]]:
    """Return always-valid p-values of "equal to the control" by metric, for reporting only.

    Similar metrics are compared in one call: for few numbers the cost of an operation is constant.

    Args:
        metrics: The metrics, of the same variants.
        control: Index of the control.
        others: Indices of the variants that are compared with it.
    """
    alike: dict[Hashable, list[int]] = {}
    for place, each in enumerate(metrics):
        alike.setdefault(each.likeness, []).append(place)
    found: dict[int, list[float]] = {}
    for places in alike.values():
        first, *rest = (metrics[place] for place in places)
        rows = p_values(first.stacked(rest).contrast(others, [control]))
        found |= zip(places, rows.reshape(len(places), -1).tolist(), strict=True)
    return [found[place] for place in range(len(metrics))]


def weighted_sums(
    traffic: Traffic,
    tallies: Sequence[MetricTally],
    samples: Sequence[Sample],
    weighting: Weighting,
) -> WeightedSums:
    """Return the sums over the units of a metric, without those that only sequences need.

    Args:
        traffic: Split of the units.
        tallies: The metric of every variant.
        samples: The metric with the units of every variant.
        weighting: Weighting of its units.
    """
    # In the order of `WeightedSums`; the largest value is unknown.
    columns = np.empty((8, len(samples)))
    columns[0] = [sample.units for sample in samples]
    columns[6], columns[7] = math.inf, variance_of(tallies, columns[0])
    match weighting:
        case Weighting.PLAIN:
            columns[1:3], columns[3:6] = columns[0], _columns(_plain, tallies)
        case Weighting.OVERLAP:
            units, unknown, variance = in_every_pair(columns[[0, 6, 7]])
            weights = traffic.overlap, traffic.overlap_squared
            return WeightedSums(units, *weights, *_by_overlap(tallies), unknown, variance)
        case Weighting.INVERSE:
            columns[1], columns[2] = traffic.weight, traffic.weight_squared
            columns[3:6] = _columns(_by_inverse, tallies)
        case _:
            assert_never(weighting)
    return WeightedSums(*in_every_pair(columns))


def _plain(tally: MetricTally) -> tuple[float, float, float]:
    total = tally.total / MICRO
    return total, total, tally.total_squared / MICRO**2


def _by_overlap(tallies: Sequence[MetricTally]) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return sums of w x, w^2 x and w^2 x^2 with the overlap weights w of pairs.

    Shape (n_variants, n_variants) each: over the units of a, weighted for b, at [a, b].
    """
    return (
        by_pair([each.overlap_total for each in tallies], PROPENSITY_ONE * MICRO),
        by_pair([each.overlap_cross for each in tallies], PROPENSITY_ONE**2 * MICRO),
        by_pair([each.overlap_total_squared for each in tallies], (PROPENSITY_ONE * MICRO) ** 2),
    )


def _by_inverse(tally: MetricTally) -> tuple[float, float, float]:
    return (
        tally.weighted_total / MICRO**2,
        tally.weighted_cross / MICRO**3,
        tally.weighted_total_squared / MICRO**4,
    )


def _columns(
    sums_of: Callable[[MetricTally], tuple[float, float, float]], tallies: Sequence[MetricTally]
) -> FloatArray:
    return np.array([sums_of(tally) for tally in tallies]).T
