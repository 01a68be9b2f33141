"""Early stopping within a planned information, and beyond it.

The clock is information: the variance V of the sum S that is compared, as a share t of the variance
that was planned. Units that come at once and convert for weeks let it run for weeks, and nothing
depends on when they are looked at. S is as a Brownian motion in V, and the first variant is better

- within the plan (t <= 1) when S >= c sqrt(V_plan), one level all the time (O'Brien and Fleming's
  boundary for continuous looks);
- beyond it (t > 1) when S >= `BEYOND` c t sqrt(V_plan), where the interval keeps a width, or
  S >= c (1 + `STEEP` (t - 1)) sqrt(V_plan), which continues from the level: the information of a
  look at the planned end may be a little more than was planned.

With W(t) = S / sqrt(V_plan), the probability that the first ever happens is 2 (1 - Phi(c))
(reflection). Given W(1) = w < c, a bridge has stayed below c with 1 - exp(-2 c (c - w)), and for
t > 1 a motion ever crosses k c t with exp(-2 k c (k c - w)) (time inversion), and c + m (t - 1)
with exp(-2 m (c - w)). Integrated over the normal w, what the two lines add is at most

    Phi(c (1 - 2 k)) - exp(4 k c^2) Phi(-c (1 + 2 k))
    I(m) - I(m + c),  I(x) = exp(2 x (x - c)) Phi(c - 2 x).

Units that convert once, and are all there before, make a bridge of the sum: the variant that is
ahead has fewer units left to convert. S / (1 - p), with p the share that has converted, is a
Brownian motion in p / (1 - p), so S crosses the level by the planned share p with the probability

    Phi(-c) + exp(-2 c^2 p (1 - p)) Phi(-c (1 - 2 p)),

which is 2 (1 - Phi(c)) for p near 0 and more for larger ones. It is the same of amounts A that come
once, as single purchases: with F the share of the units that have theirs, the covariance of S at F
and at a later G is in proportion to F (1 - G r), r = (E A)^2 / E A^2, so p is r F, the square of
the mean value over the mean square. Units that come while others convert make no such bridge, nor
do values that come in many independent parts; for those that may all be there before and come once,
`rate` is the planned p.

Source: Lan and DeMets (1983), "Discrete sequential boundaries for clinical trials", for the level
    of continuous looks; Siegmund (1985), "Sequential analysis", chapter III, for the crossings.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import special

from streams.model.errors import InvalidParameterError
from streams.stats.arrays import FloatArray
from streams.stats.numerics.brent import brent_root
from streams.stats.sequential.beside_bets import BetLine, level_alone, power_beside
from streams.stats.sequential.contrasts import Contrast
from streams.stats.sequential.power import crossing_probability
from streams.stats.sequential.readings import Reading, z_values

BEYOND = 1.3
"""Level of the boundary where it begins beyond the plan, relative to that of the plan. At 1, the
continuation costs 2 points of the power within the plan; at 1.3 it costs 0.1, and sums that rise as
fast as the planned lift stay above it."""

STEEP = 3.0
"""Slope of the boundary right beyond the plan, in levels per planned information; it costs 3 % of
the error, and saves the look that comes at the end."""

_MIN_EVENTS = 50.0  # largest increments that would vary as much; below, it is not Gaussian enough
_JUST_BELOW = 1.0 - 1e-9  # so that no rounding puts a found lead beyond its error
_WIDEST = 40.0  # a level of which the probability is a machine number no longer


@dataclass(frozen=True, slots=True)
class PlannedInformation(Reading):
    """Early stopping within a planned variance of the sum, and beyond it.

    Attributes:
        variance: V_plan, as `Contrast.variance` is, > 0. It is fixed before the first unit.
        rate: Planned square of the mean value over the mean square, which is the share of the units
            that have the value 1 if all others have 0, if units may all be there before and each
            has its value once; in [0, 1). 0 otherwise; above 1/2 taken for 1/2.
        beside: Bets that are read as well and follow the same sum; None if none are. Then the error
            is that of leads which the bets have not found before.
    """

    variance: float
    rate: float = 0.0
    beside: BetLine | None = None

    def __post_init__(self) -> None:
        if not 0.0 < self.variance < np.inf:
            raise InvalidParameterError("variance", self.variance, "finite and > 0")
        if not 0.0 <= self.rate < 1.0:
            raise InvalidParameterError("rate", self.rate, "in [0, 1)")

    def progress(self, compared: Contrast) -> FloatArray:
        """Return t, the share of the planned information that there is; >= 0."""
        return compared.variance / self.variance

    def lower(self, compared: Contrast, error: FloatArray) -> FloatArray:
        """Return the lower ends: `difference` less the boundary."""
        known, root, factor = self._read(compared)
        levels = self.levels(compared, error)
        width = levels * factor / root * np.where(known, compared.standard_error, 0.0)
        return np.where(known, compared.difference - width, -np.inf)

    def p_values(self, compared: Contrast, error: FloatArray) -> FloatArray:
        """Return the probability that a level as high as the present one is ever crossed.

        Beside bets it is more than what the level adds to their error, so it is at most `error` by
        definition where the lead is found, and what it is where it is less.
        """
        known, root, factor = self._read(compared)
        height = np.where(known, z_values(compared), 0.0) * root / factor
        found = np.where(
            height > 0.0, np.minimum(crossed(np.maximum(height, 0.0), self.rate), 1.0), 1.0
        )
        if self.beside is None:
            return found
        is_found = height >= self.levels(compared, error)
        return np.where(is_found, np.minimum(found, _JUST_BELOW * error), found)

    def conditional_power(
        self, compared: Contrast, error: FloatArray, drift: FloatArray | float
    ) -> FloatArray:
        """Return the probability that a lead is yet found, given what is seen, if it is there.

        Args:
            compared: The contrasts.
            error: As for `lower`.
            drift: Mean of W(1), if the lead is there.

        Returns:
            The probability by the end of the plan or, beyond it, by as much information again; 1
            where the lead is found now.

        Source: Lan, Simon and Halperin (1982), "Stochastically curtailed tests in long-term
            clinical trials": stopping once it is at most g turns an error of the second kind of b
            into b / (1 - g) at most.
        """
        time = self.progress(compared)
        levels = self.levels(compared, error)
        place = z_values(compared) * np.sqrt(time)
        is_within = time < 1.0
        distance = np.where(is_within, levels, BEYOND * levels * time) - place
        slope = np.where(is_within, 0.0, BEYOND * levels)
        found = crossing_probability(distance, drift - slope, np.where(is_within, 1.0 - time, time))
        beside = self._beside(compared)
        if beside is None:
            return found
        now = np.minimum(time, 1.0)
        return np.where(
            is_within, power_beside(beside, levels, error, place, now, 1.0, drift), found
        )

    def power(
        self, compared: Contrast, error: FloatArray, drift: FloatArray, end: FloatArray | float
    ) -> FloatArray:
        """Return the probability that a lead is found by a time in the plan, if it is there.

        Args:
            compared: The contrasts; what they have found by now does not count.
            error: As for `lower`.
            drift: Mean of W(1), if the lead is there.
            end: Share of the planned information, in [0, 1].
        """
        levels, beside = self.levels(compared, error), self._beside(compared)
        if beside is None:
            return crossing_probability(levels, drift, end)
        nothing = np.zeros_like(levels)
        return power_beside(beside, levels, error, nothing, nothing, end, drift)

    def levels(self, compared: Contrast, error: FloatArray) -> FloatArray:
        """Return the levels c that have these errors, of any shape.

        Args:
            compared: The contrasts; bets count where they are read by them.
            error: One-sided errors.
        """
        beside = self._beside(compared)
        found = [level(each, self.rate, beside) for each in np.ravel(error).tolist()]
        return np.array(found).reshape(error.shape)

    def _beside(self, compared: Contrast) -> BetLine | None:
        """Return the bets that are read of these contrasts and follow the same sum."""
        pair, beside = compared.conversions, self.beside
        if beside is None or pair is None or (pair.share is None and not beside.is_moving):
            return None
        return beside

    def _read(self, compared: Contrast) -> tuple[NDArray[np.bool_], FloatArray, FloatArray]:
        """Return where it is valid, the root of t, and the boundary over c sqrt(V_plan)."""
        time = self.progress(compared)
        largest = np.maximum(compared.max_decrement, compared.max_increment)
        # Without a bound on the values, the caller counts those that are not 0.
        squares = compared.squares
        if compared.values is not None:  # of any centre, and their variance counts from the mean
            squares = np.minimum(squares, compared.variance * compared.squares_of_even)
        is_gaussian = np.isinf(largest) | (squares >= _MIN_EVENTS * largest * largest)
        varies = (time > 0.0) & (compared.standard_error > 0.0)
        known = np.asarray(is_gaussian & varies, dtype=np.bool_)
        root = np.sqrt(np.where(known, time, 1.0))
        return (
            known,
            root,
            np.where(time <= 1.0, 1.0, np.minimum(BEYOND * time, 1.0 + STEEP * (time - 1.0))),
        )


def crossed(height: FloatArray | float, rate: float = 0.0) -> FloatArray:
    """Return the probability that a level is ever crossed, on one side and without a lead.

    Args:
        height: c, >= 0.
        rate: As of `PlannedInformation`.

    Examples:
        >>> float(crossed(2.28).round(4))
        0.0234
    """
    c = np.asarray(height, dtype=np.float64)
    p = min(rate, 0.5)
    bridge = np.exp(-2.0 * p * (1.0 - p) * c * c) * special.ndtr(-c * (1.0 - 2.0 * p))
    return np.asarray(special.ndtr(-c) + bridge + _crossed_beyond(c))


def _crossed_beyond(c: FloatArray) -> FloatArray:
    """Return a bound on the probability that the boundary is crossed after the plan only."""
    both = np.exp(4.0 * BEYOND * c * c + special.log_ndtr(-c * (1.0 + 2.0 * BEYOND)))
    wide = special.ndtr(c * (1.0 - 2.0 * BEYOND)) - both
    steep = _beyond(c, STEEP) - _beyond(c, STEEP + 1.0)
    return np.asarray(np.maximum(wide, 0.0) + np.maximum(steep, 0.0))


def _beyond(c: FloatArray, slope: float) -> FloatArray:
    """Return I(x) for x = slope times c."""
    log = 2.0 * slope * (slope - 1.0) * c * c + special.log_ndtr(c * (1.0 - 2.0 * slope))
    return np.asarray(np.exp(log))


@lru_cache(maxsize=1_024)
def level(error: float, rate: float = 0.0, beside: BetLine | None = None) -> float:
    """Return the level c that is ever crossed with the probability `error`, in (0, 1).

    Args:
        error: The probability; beside bets, that it is crossed and their line has not been before.
        rate: As for `crossed`.
        beside: Bets that are read as well.

    Examples:
        >>> round(level(0.98 * 0.025), 3)
        2.263
    """

    def excess(c: float) -> float:
        if beside is None:
            return float(crossed(c, rate)) - error
        after = float(_crossed_beyond(np.asarray(c)))
        return level_alone(c, rate, beside, error) + after - error

    return brent_root(excess, 0.0, _WIDEST, 1e-12)
