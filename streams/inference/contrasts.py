"""One variant against another: a sum that rises on average only if the first is better.

Unit t was assigned variant a_t with the known propensities p_t and has the value x_t. For any
h_t > 0 that the past decides, the increments

    D_t = h_t x_t / p_t(a) [a_t = a] - h_t x_t / p_t(b) [a_t = b]

have, given the past, the mean h_t (mean a - mean b): an allocation that moves with the data does
not bias them, nor does a base rate that drifts meanwhile. What h is good for is the variance:

| weights w = h / p | h | increments | use |
|---|---|---|---|
| 1 / p | 1 | up to 1 / floor | what the tallies have always held, for any number of variants |
| "overlap", 1 - p for two variants | 1 / sum over k of 1 / p(k) | at most x | moving weights |
| 1 - q and q, with q = p(a) / (p(a) + p(b)) | q (1 - q) | at most x | fixed weights |

With h = 1, a period in which b had 1 % of the traffic adds a hundred times its share of noise, for
ever. Overlap weights give every period the weight its information has, as inverse variances would:
nothing depends on the floor any more. Under fixed weights they are the difference of the means.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from streams.domain.errors import InvalidParameterError


@dataclass(frozen=True, slots=True)
class TiltedSums:
    """Sums over the units of one variant, each with a weight w known before its value x.

    Attributes:
        units: Units of the variant, >= 0.
        weight: Sum of w, >= 0.
        weight_squared: Sum of w^2.
        total: Sum of w x.
        cross: Sum of w^2 x.
        total_squared: Sum of w^2 x^2.
        largest: Largest w x that a single unit can have, if values are >= 0 and bounded; infinite
            if they are not.
    """

    units: int
    weight: float
    weight_squared: float
    total: float
    cross: float
    total_squared: float
    largest: float = math.inf


@dataclass(frozen=True, slots=True)
class Contrast:
    """The sum of the increments of "a minus b", and how much it varies.

    Attributes:
        units: Units of both variants.
        fewest: Units of the one that has fewer.
        scale: Sum of h, so that sum / scale estimates the difference of the means; > 0 unless
            there are no units.
        total: Sum S of the increments.
        squares: Sum of the squared increments.
        deepest_fall: Deepest an increment can fall, as a number > 0; infinite without a bound.
        highest_rise: Highest it can rise.
        difference: Estimated mean a minus mean b, less noisy than total / scale: the values are
            taken from their common mean first (a control variate).
        standard_error: Standard error of `difference`.
    """

    units: int
    fewest: int
    scale: float
    total: float
    squares: float
    deepest_fall: float
    highest_rise: float
    difference: float
    standard_error: float

    @property
    def is_bounded(self) -> bool:
        """Whether exact inference is possible: values are >= 0 and have a bound."""
        return math.isfinite(self.deepest_fall) and math.isfinite(self.highest_rise)

    def reversed(self) -> Contrast:
        """Return the contrast of "b minus a"."""
        return Contrast(
            self.units,
            self.fewest,
            self.scale,
            -self.total,
            self.squares,
            self.highest_rise,
            self.deepest_fall,
            -self.difference,
            self.standard_error,
        )


def contrast(a: TiltedSums, b: TiltedSums, scale: float | None = None) -> Contrast:
    """Return the contrast of two variants whose units have weights h / p with the same h.

    Args:
        a: Sums of the variant that may be better.
        b: Sums of the other.
        scale: Sum of h over all units if it is known (with h = 1, their number). Otherwise it is
            estimated by the mean of the two sums of weights, each of which has that expectation;
            the sign of an interval does not depend on it.
    """
    weights = a.weight + b.weight
    mean = (a.total + b.total) / weights if weights > 0.0 else 0.0
    harmonic = 2.0 * a.weight * b.weight / weights if weights > 0.0 else 0.0
    centred_total = a.total - b.total - mean * (a.weight - b.weight)
    centred_squares = (
        (a.total_squared + b.total_squared)
        - 2.0 * mean * (a.cross + b.cross)
        + mean * mean * (a.weight_squared + b.weight_squared)
    )
    return Contrast(
        units=a.units + b.units,
        fewest=min(a.units, b.units),
        scale=weights / 2.0 if scale is None else scale,
        total=a.total - b.total,
        squares=a.total_squared + b.total_squared,
        deepest_fall=b.largest,
        highest_rise=a.largest,
        difference=centred_total / harmonic if harmonic > 0.0 else 0.0,
        standard_error=(
            math.sqrt(max(centred_squares, 0.0)) / harmonic if harmonic > 0.0 else math.inf
        ),
    )


@dataclass(frozen=True, slots=True)
class PlainSums:
    """Sums over the units of one variant under fixed weights.

    Attributes:
        units: Units of the variant, >= 0.
        total: Sum of their values.
        total_squared: Sum of their squares.
        share: Share of the traffic the variant has had all the time, in (0, 1].
        largest: Largest value of a unit, if values are >= 0 and bounded; else infinite.
    """

    units: int
    total: float
    total_squared: float
    share: float
    largest: float = math.inf


def fixed_contrast(a: PlainSums, b: PlainSums) -> Contrast:
    """Return the contrast of two variants whose shares never changed.

    Only the units of the two count: among them, a has had the propensity q = a / (a + b).

    Raises:
        InvalidParameterError: a share is outside (0, 1].
    """
    for sums in (a, b):
        if not 0.0 < sums.share <= 1.0:
            raise InvalidParameterError("share", sums.share, "in (0, 1]")
    q = a.share / (a.share + b.share)
    return contrast(_tilted(a, 1.0 - q), _tilted(b, q), (a.units + b.units) * q * (1.0 - q))


def _tilted(sums: PlainSums, weight: float) -> TiltedSums:
    square = weight * weight
    return TiltedSums(
        sums.units,
        weight * sums.units,
        square * sums.units,
        weight * sums.total,
        square * sums.total,
        square * sums.total_squared,
        weight * sums.largest,
    )
