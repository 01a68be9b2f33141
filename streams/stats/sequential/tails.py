"""Condition under which the normal approximation of a mean is used: tails have been seen.

Of values with a heavy tail, the largest are missing from most samples: from their mean and from
their variance alike. So the mean of such a variant is too small nearly always and its interval too
narrow, and what is compared with it wins by chance, at any number of units. The skewness of a sum
measures how far it is from normal, and that of the values how many units it takes until their tail
is in the sums.

Only one side of an interval errs. A sum that is skewed to the right is less often too large, by
many of its estimated standard errors, than a normal one is, and more often too small. So a lower
end of "a minus b" is believed when the right tail of b and the left tail of a have been seen, and
the sum is not skewed to the left.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streams.stats.arrays import FloatArray

UNITS_PER_SHAPE = 60.0
"""Units a variant needs, times 1 + skewness squared of its values: 60 units of values without a
tail, and some 60 buyers who spend alike if few units buy. 1 + skewness squared is the smallest
kurtosis that values of this skewness can have."""

LARGEST_SKEWNESS = 0.06
"""Skewness of a weighted sum, in the direction of the error, up to which it passes for normal."""

_ALL_EQUAL = 1e-12  # beyond the largest weight, as a share: all weights are the largest one


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """Moments of the values of the units of variants, without weights; all of one shape.

    Attributes:
        variance: Their variance.
        third: Their third central moment.
        heaviest: Largest weight of a unit.
    """

    variance: FloatArray
    third: FloatArray
    heaviest: FloatArray

    @property
    def columns(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """The arrays, in their order."""
        return self.variance, self.third, self.heaviest

    @classmethod
    def stack(cls, several: Sequence[Moments]) -> Moments:
        """Return moments along a new first axis."""
        return cls(*map(np.array, zip(*(each.columns for each in several), strict=True)))

    @property
    def skewness(self) -> FloatArray:
        """Skewness of the values; infinite where all are equal, as nothing is known of a tail."""
        unknown = np.full_like(self.third, np.inf)
        return np.divide(self.third, self.variance**1.5, out=unknown, where=self.variance > 0.0)

    def each(self, function: Callable[[FloatArray], FloatArray]) -> Moments:
        """Return the moments with a function applied to every array."""
        return Moments(function(self.variance), function(self.third), function(self.heaviest))

    def multiplied(self, times: float) -> Moments:
        """Return the moments of values multiplied by `times` >= 0."""
        return Moments(times**2 * self.variance, times**3 * self.third, self.heaviest)

    def tilted(self, weight: FloatArray) -> Moments:
        """Return the moments of units that all have one weight."""
        return Moments(self.variance, self.third, weight)


@dataclass(frozen=True, slots=True, eq=False)
class Tails:
    """Tails of the weighted sums over the units of variants; all of one shape.

    Attributes:
        is_right_seen, is_left_seen: Whether so many units count that the skewness of their values
            is believed, and with it the mean, if the long tail is on that side.
        variance: Variance of the sum.
        least_third, most_third: Ends of the third central moment of the sum. How the weights are
            distributed is known by their sum and sum of squares, which leaves a range.
    """

    is_right_seen: NDArray[np.bool_]
    is_left_seen: NDArray[np.bool_]
    variance: FloatArray
    least_third: FloatArray
    most_third: FloatArray

    @classmethod
    def of(
        cls, moments: Moments, units: FloatArray, weight: FloatArray, weight_squared: FloatArray
    ) -> Tails:
        """Return the tails of sums.

        Args:
            moments: Moments of the values, and the largest weight.
            units: Units of the variant.
            weight, weight_squared: Sum of their weights, and of the squared ones.
        """
        least, most = _cubes(units, weight, weight_squared, moments.heaviest)
        # Weights do not hide a tail: the values of all units show it.
        skewness, counting = moments.skewness, np.where(weight > 0.0, units, 0.0)
        ends = least * moments.third, most * moments.third
        return cls(
            counting >= units_needed(np.maximum(skewness, 0.0)),
            # Where nothing is known of a tail, it may be on either side.
            counting
            >= units_needed(np.maximum(np.where(np.isinf(skewness), skewness, -skewness), 0.0)),
            weight_squared * moments.variance,
            np.minimum(*ends),
            np.maximum(*ends),
        )


def units_needed(skewness: FloatArray) -> FloatArray:
    """Return how many units are needed before a tail of this skewness counts as seen."""
    return np.asarray(UNITS_PER_SHAPE * (1.0 + skewness * skewness))


def are_ends_believed(tails: Tails) -> NDArray[np.bool_]:
    """Return whether a lower end of "a minus b" is believed, and whether an upper end is.

    An upper end is a lower one of "b minus a".

    Args:
        tails: Those of a, then those of b, along the first axis.

    Returns:
        Of the same shape: the lower ends, then the upper ones.
    """
    least = tails.least_third - tails.most_third[::-1]
    limit = LARGEST_SKEWNESS * (tails.variance[0] + tails.variance[1]) ** 1.5
    return np.asarray(tails.is_left_seen & tails.is_right_seen[::-1] & (least >= -limit))


def _cubes(
    units: FloatArray, weight: FloatArray, weight_squared: FloatArray, heaviest: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return the ends of the sum of the cubes of weights in [0, heaviest], given their moments.

    Source: Cauchy and Schwarz for the smallest one. The largest one is that of weights of which
        some are `heaviest` and all others equal: the upper principal representation of the moments
        (Karlin and Studden 1966, "Tchebycheff systems", chapter II).
    """
    some = (weight > 0.0) & (units > 0.0) & (heaviest > 0.0)
    full = np.where(some, units, 1.0)
    top = np.where(some, heaviest, 1.0)
    first, second = weight / (full * top), weight_squared / (full * top * top)
    rest = np.maximum(1.0 - first, 0.0)
    lost = (first - second) ** 2 / np.where(rest > _ALL_EQUAL, rest, np.inf)
    most = np.where(some, full * top**3 * np.maximum(second - lost, 0.0), 0.0)
    least = weight_squared**2 / np.where(some, weight, np.inf)
    return np.minimum(least, most), np.maximum(least, most)
