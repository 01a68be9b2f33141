"""Confidence intervals of off-policy estimates.

An estimate's error is, to first order, the mean of one *influence* a unit. Three intervals are made
of that, and the ends reported are the widest of those that apply:

- normal: value +- z s / sqrt(n), which needs many units;
- skewness removed: the influences of rare large weights and of large amounts are skewed, and the
  normal interval then misses on one side. Hall's transformation
  W + g W^2 / 3 + g^2 W^3 / 27 + g / (6 n) of W = mean / s, with g the skewness, is monotone and has
  a Normal distribution to the next order;
- binomial: of values in [0, largest], the interval of Clopper and Pearson with the effective units
  as trials. Without it, no observed conversion would pass for a rate of exactly 0. Of all
  distributions on [0, largest] with one mean, that of values 0 and largest spreads the most.

Source: Hall (1992), "On the removal of skewness by transformation", JRSS B 54(1); Clopper and
    Pearson (1934), "The use of confidence or fiducial limits illustrated in the case of the
    binomial"; Hoeffding (1963), "Probability inequalities for sums of bounded random variables",
    section 2, for the last sentence.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from streams.model.errors import InvalidParameterError

FloatArray = NDArray[np.float64]

LEVEL = 0.95
"""Level of every interval."""

UNITS_PER_SQUARED_MOMENT = 25.0
"""Units that an interval of amounts needs for each squared third absolute moment of the influences
in deviations: with fewer, the large values that decide may not have been seen yet. The error of the
normal approximation is bounded by a multiple of that moment over the root of the units (Berry and
Esseen), on both sides, where the skewness of the two can cancel."""

_SMALL_SKEWNESS = 1e-6


@dataclass(frozen=True, slots=True)
class ValueEstimate:
    """A mean value per unit, in units of the metric.

    Attributes:
        value: The estimate; NaN where nothing can be said.
        lower, upper: Ends of its confidence interval; infinite where nothing is known.
        is_reliable: Whether the interval can be believed: the values have a bound, or there are
            `UNITS_PER_SQUARED_MOMENT`.
    """

    value: float
    lower: float
    upper: float
    is_reliable: bool = True

    @classmethod
    def of(cls, value: float, standard_error: float, level: float = LEVEL) -> ValueEstimate:
        """Return the estimate with the interval that a normal distribution gives.

        Args:
            value: The estimate.
            standard_error: Its standard error, >= 0, or infinite.
            level: Probability that the interval covers, in (0, 1).

        Raises:
            InvalidParameterError: `level` is outside (0, 1).

        Examples:
            >>> ValueEstimate.of(1.0, 0.5).upper
            1.979981992270027
        """
        if not 0.0 < level < 1.0:
            raise InvalidParameterError("level", level, "in (0, 1)")
        radius = float(special.ndtri((1.0 + level) / 2.0)) * standard_error
        return cls(value, value - radius, value + radius)

    @property
    def is_known(self) -> bool:
        """Whether there is a number and an interval around it."""
        return math.isfinite(self.value) and math.isfinite(self.lower + self.upper)


UNKNOWN = ValueEstimate(math.nan, -math.inf, math.inf, is_reliable=False)


@dataclass(frozen=True, slots=True)
class BoundedSample:
    """Values in [0, largest], and how many of equal weight say as much.

    Attributes:
        largest: Largest value, > 0.
        units: Effective units, > 0; infinite where nothing is left to chance.
        value: The estimate that is known to be in [0, largest], where the one reported differs from
            it by a constant; None for that one itself.
    """

    largest: float
    units: float
    value: float | None = None


def estimate(
    value: float, influences: FloatArray, level: float = LEVEL, bounded: BoundedSample | None = None
) -> ValueEstimate:
    """Return an estimate with its interval.

    Args:
        value: The estimate.
        influences: Its error is their mean, to first order; shape (n,), n >= 1, of mean 0.
        level: Probability that the interval covers, in (0, 1).
        bounded: What is known of the values; None for nothing.

    Raises:
        InvalidParameterError: `level` is outside (0, 1).
    """
    n_units = len(influences)
    if n_units == 1:
        return ValueEstimate.of(value, math.inf, level)
    squares = float(np.square(influences).sum())
    normal = ValueEstimate.of(value, math.sqrt(squares / (n_units - 1) / n_units), level)
    lowers, uppers = [normal.lower], [normal.upper]
    deviation = math.sqrt(squares / n_units)
    moment = 0.0
    if deviation > 0.0:
        cubes = (influences / deviation) ** 3
        skewness, moment = float(cubes.mean()), float(np.abs(cubes).mean())
        lower, upper = _without_skewness(n_units, skewness, level)
        lowers.append(value - upper * deviation)
        uppers.append(value - lower * deviation)
    if bounded is not None:
        within = value if bounded.value is None else bounded.value
        lower, upper = _binomial(within, bounded, level)
        lowers.append(value + lower - within)
        uppers.append(value + upper - within)
    is_reliable = bounded is not None or n_units >= UNITS_PER_SQUARED_MOMENT * moment**2
    return ValueEstimate(value, min(lowers), max(uppers), is_reliable)


def _without_skewness(n_units: int, skewness: float, level: float) -> tuple[float, float]:
    """Return between which values mean / s lies, by the inverse of Hall's transformation."""
    z = float(special.ndtri((1.0 + level) / 2.0)) / math.sqrt(n_units)
    if abs(skewness) < _SMALL_SKEWNESS:
        return -z, z
    third = skewness / 3.0
    shift = skewness / (6.0 * n_units)
    lower, upper = ((math.cbrt(1.0 + skewness * (end - shift)) - 1.0) / third for end in (-z, z))
    return lower, upper


def _binomial(value: float, bounded: BoundedSample, level: float) -> tuple[float, float]:
    """Return the interval of Clopper and Pearson of a mean of values in [0, largest]."""
    trials = bounded.units
    share = min(max(value / bounded.largest, 0.0), 1.0)
    if math.isinf(trials):
        return value, value
    successes, failures = share * trials, (1.0 - share) * trials
    tail = (1.0 - level) / 2.0
    lower = float(special.betaincinv(successes, failures + 1.0, tail)) if successes > 0.0 else 0.0
    upper = (
        float(special.betaincinv(successes + 1.0, failures, 1.0 - tail)) if failures > 0.0 else 1.0
    )
    return min(lower * bounded.largest, value), max(upper * bounded.largest, value)
