"""Covariate adjustment of sums by pair of variants.

Under moving weights the sum of v x is compared, v being the weight of a unit in the comparison of
its variant with another one. With the sums of v c, v^2 c, v^2 c c^T and v^2 c x, the sum of
v (x - theta (c - m)) and that of its squared terms are known exactly for every theta and m.
Whatever the share is that covariates explain, and however it changes with the weights, the variance
of what is compared is the sum over the same terms.

A covariate is known before the assignment. So for any fixed theta the increments of "a minus b"
have the mean that they have without covariates, given the past.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from streams.analysis.pair_arrays import by_pair
from streams.model.quantities import MICRO, PROPENSITY_ONE
from streams.model.vectors import FEATURE_ONE
from streams.stats.arrays import FloatArray
from streams.stats.regression_adjustment import least_squares
from streams.stats.sequential.contrasts import WeightedSums
from streams.tallies.cell import MetricTally, VariantTally
from streams.tallies.linear import triangle

UNITS_PER_ENTRY = 20.0
"""Effective units per covariate entry below which a comparison is not adjusted: coefficients would
fit noise."""

_V = PROPENSITY_ONE


@dataclass(frozen=True, slots=True, eq=False)
class OverlapAdjusted:
    """Sums over adjusted values.

    Attributes:
        sums: The sums.
        coefficients: Those of a beside b at [a, b]; shape (n_variants, n_variants, d).
        squares_before, squares_after: Sums of the squared deviations that are compared, over all
            pairs of different variants.
    """

    sums: WeightedSums
    coefficients: FloatArray
    squares_before: float
    squares_after: float


@dataclass(frozen=True, slots=True, eq=False)
class OverlapCovariates:
    """Sums over the covariates c of the units of a, weighted for b, at [a, b].

    Attributes:
        totals: Sum of v c; shape (n_variants, n_variants, d).
        cross: Sum of v^2 c; likewise.
        products: Sum of v^2 c c^T; shape (n_variants, n_variants, d, d).
    """

    totals: FloatArray
    cross: FloatArray
    products: FloatArray

    @classmethod
    def read(cls, variants: Sequence[VariantTally], n_entries: int) -> Self | None:
        """Read the sums; None if not kept.

        Args:
            variants: Tallies of the variants.
            n_entries: Entries of the covariates, without the intercept.
        """
        if not any(variant.overlap_gram for variant in variants):
            return None
        places = range(1, n_entries + 1)
        features = [variant.overlap_features for variant in variants]
        grams = [variant.overlap_gram for variant in variants]

        def product(row: int, column: int) -> FloatArray:
            place = triangle(max(row, column)) + min(row, column)
            return _entry(grams, place, _V**2 * FEATURE_ONE**2)

        return cls(
            np.stack([_entry(features, each, _V * FEATURE_ONE) for each in places], axis=-1),
            np.stack([product(0, each) for each in places], axis=-1),
            np.stack(
                [np.stack([product(row, each) for each in places], axis=-1) for row in places],
                axis=-1,
            ),
        )

    def adjusted(self, raw: WeightedSums, tallies: Sequence[MetricTally]) -> OverlapAdjusted:
        """Return the sums over the adjusted values.

        Covariates and values are centred at their weighted means over the units of the pair, like
        the comparison. The coefficients minimise its variance.

        Args:
            raw: Sums over the values.
            tallies: The metric of every variant.
        """
        moments = [tally.overlap_moment for tally in tallies]
        places = range(1, self.totals.shape[-1] + 1)
        one = _V**2 * FEATURE_ONE * MICRO
        moment = np.stack([_entry(moments, each, one) for each in places], axis=-1)

        weights = raw.weight + raw.weight.T
        some = np.where(weights > 0.0, weights, 1.0)
        mean = (raw.total + raw.total.T) / some
        centre = _both(self.totals) / some[..., None]

        weight, squares = raw.weight[..., None], raw.weight_squared[..., None]
        totals = self.totals - weight * centre
        cross = self.cross - squares * centre
        crossed = moment - raw.cross[..., None] * centre
        outer = centre[..., None] * self.cross[..., None, :]
        products = self.products - outer - np.swapaxes(outer, -1, -2)
        products += squares[..., None] * centre[..., None] * centre[..., None, :]
        from_mean = crossed - mean[..., None] * cross

        theta = least_squares(_both(products), _both(from_mean))
        effective = weights**2 / np.maximum(raw.weight_squared + raw.weight_squared.T, 1.0 / _V)
        theta[effective < UNITS_PER_ENTRY * len(places)] = 0.0

        removed = 2.0 * _dot(theta, crossed) - np.einsum("abde,abd,abe->ab", products, theta, theta)
        sums = replace(
            raw,
            total=raw.total - _dot(theta, totals),
            cross=raw.cross - _dot(theta, cross),
            total_squared=np.maximum(raw.total_squared - removed, 0.0),
        )
        return OverlapAdjusted(sums, theta, _squares(raw, mean), _squares(sums, mean))


def _entry(tallies: Sequence[tuple[int, ...]], place: int, one: int) -> FloatArray:
    return by_pair([each[place] if place < len(each) else 0 for each in tallies], one)


def _both(of_one: FloatArray) -> FloatArray:
    """Return sums over the units of both variants of a pair."""
    return of_one + np.swapaxes(of_one, 0, 1)


def _dot(left: FloatArray, right: FloatArray) -> FloatArray:
    return np.asarray((left * right).sum(axis=-1))


def _squares(sums: WeightedSums, mean: FloatArray) -> float:
    """Return the sum of the squared deviations from the means of the pairs."""
    found = sums.total_squared - mean * (2.0 * sums.cross - mean * sums.weight_squared)
    return float(found.sum() - np.trace(found))
