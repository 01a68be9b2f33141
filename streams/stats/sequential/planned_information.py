"""Early stopping within a planned information, and beyond it.

The clock is information: the variance V of the sum S that is compared, as a share t of the variance
that was planned. Units that come at once and convert for weeks let it run for weeks, and nothing
depends on when they are looked at. S is as a Brownian motion in V, and the first variant is named

- within the plan (t <= 1) when S >= c sqrt(V_plan), one level all the time (O'Brien and Fleming's
  boundary for continuous looks);
- beyond it (t > 1) when S >= `BEYOND` c t sqrt(V_plan): the interval keeps a width.

With W(t) = S / sqrt(V_plan), the probability that the first ever happens is 2 (1 - Phi(c))
(reflection), and that the second happens and not the first, with k = `BEYOND`,

    Phi(c (1 - 2 k)) - exp(4 k c^2) Phi(-c (1 + 2 k)):

given W(1) = w < c, a bridge stays below c with the probability 1 - exp(-2 c (c - w)), and a motion
ever crosses k c t for t > 1 with exp(-2 k c (k c - w)) (time inversion); both are integrated over
the normal w.

Source: Lan and DeMets (1983), "Discrete sequential boundaries for clinical trials", for the level
    of continuous looks; Siegmund (1985), "Sequential analysis", chapter III, for the crossings.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from streams.model.errors import InvalidParameterError
from streams.stats.arrays import FloatArray
from streams.stats.sequential.contrasts import Contrast
from streams.stats.sequential.readings import Reading, z_values

BEYOND = 1.2
"""How much higher than the level of the plan the boundary begins beyond it. At 1, the continuation
costs 2 points of the power within the plan; at 1.2 it costs 0.2, and sums that rise as fast as the
planned lift lets expect stay above it."""

_MIN_EVENTS = 50.0  # largest increments that would vary as much; below, it is not Gaussian enough
_WIDEST = 40.0  # a level of which the probability is a machine number no longer


@dataclass(frozen=True, slots=True)
class PlannedInformation(Reading):
    """Early stopping within a planned variance of the sum, and beyond it.

    Attributes:
        variance: V_plan, as `Contrast.variance` is, > 0. It is fixed before the first unit.
    """

    variance: float

    def __post_init__(self) -> None:
        if not 0.0 < self.variance < np.inf:
            raise InvalidParameterError("variance", self.variance, "finite and > 0")

    def progress(self, compared: Contrast) -> FloatArray:
        """Return t, the share of the planned information that there is; >= 0."""
        return compared.variance / self.variance

    def lower(self, compared: Contrast, error: FloatArray) -> FloatArray:
        """Return the lower ends: `difference` less the boundary."""
        known, root, factor = self._read(compared)
        levels = np.array([level(each) for each in np.ravel(error).tolist()]).reshape(error.shape)
        width = levels * factor / root * np.where(known, compared.standard_error, 0.0)
        return np.where(known, compared.difference - width, -np.inf)

    def p_values(self, compared: Contrast, error: FloatArray) -> FloatArray:
        """Return the probability that a level as high as the present one is ever crossed."""
        del error  # one family of boundaries serves all levels
        known, root, factor = self._read(compared)
        height = np.where(known, z_values(compared), 0.0) * root / factor
        return np.where(height > 0.0, np.minimum(crossed(np.maximum(height, 0.0)), 1.0), 1.0)

    def _read(self, compared: Contrast) -> tuple[NDArray[np.bool_], FloatArray, FloatArray]:
        """Return where it is valid, the root of t, and the boundary over c sqrt(V_plan)."""
        time = self.progress(compared)
        largest = np.maximum(compared.max_decrement, compared.max_increment)
        # Without a bound on the values, the caller counts those that are not 0.
        is_gaussian = np.isinf(largest) | (compared.squares >= _MIN_EVENTS * largest * largest)
        varies = (time > 0.0) & (compared.standard_error > 0.0)
        known = np.asarray(is_gaussian & varies, dtype=np.bool_)
        root = np.sqrt(np.where(known, time, 1.0))
        return known, root, np.where(time <= 1.0, 1.0, BEYOND * time)


def crossed(height: FloatArray | float) -> FloatArray:
    """Return the probability that a level is ever crossed, on one side and without a lead.

    Args:
        height: c, >= 0.

    Examples:
        >>> float(crossed(2.28).round(4))
        0.0229
    """
    c = np.asarray(height, dtype=np.float64)
    within = 2.0 * special.ndtr(-c)
    both = np.exp(4.0 * BEYOND * c * c + special.log_ndtr(-c * (1.0 + 2.0 * BEYOND)))
    return np.asarray(within + np.maximum(special.ndtr(c * (1.0 - 2.0 * BEYOND)) - both, 0.0))


@lru_cache(maxsize=1_024)
def level(error: float) -> float:
    """Return the level c that is ever crossed with the probability `error`, in (0, 1).

    Examples:
        >>> round(level(0.95 * 0.025), 3)
        2.267
    """
    return float(optimize.brentq(lambda c: float(crossed(c)) - error, 0.0, _WIDEST, xtol=1e-12))
