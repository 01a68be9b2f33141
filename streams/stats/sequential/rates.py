"""Confidence sequences of a single rate: where it lies, at every look at once."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from streams.model.errors import InvalidParameterError
from streams.stats.arrays import FloatArray
from streams.stats.sequential.confidence_sequences import PLANNED_UNITS

_HALVINGS = 60
_LEAST_CONCENTRATION = 1e-3
_LEAST_RATE = 1e-300
_GREATEST_RATE = 1.0 - 2.0**-53  # a Beta distribution needs both parameters above 0


def rate_sequences(
    successes: ArrayLike, units: ArrayLike, alpha: float, planned_units: float = PLANNED_UNITS
) -> tuple[FloatArray, FloatArray]:
    """Return the exact confidence sequences of several success rates.

    A rate p is inside while the Beta-binomial mixture of bets against it, centred at p, is below
    1 / alpha; by Ville's inequality the true one ever leaves with probability alpha at most. How
    the units came does not matter, be it by a bandit that followed the successes, as long as the
    rate of a variant does not change. Where it drifts together with the weights, compare by
    contrasts.

    Args:
        successes: Units with a success; shape (n_arms,), in [0, units].
        units: Units; shape (n_arms,), >= 0.
        alpha: Two-sided error of each sequence, in (0, 1).
        planned_units: Number of units at which it is made narrow, > 0; it is valid at any other.

    Returns:
        Lower and upper ends; shape (n_arms,) each, in [0, 1].

    Raises:
        InvalidParameterError: an argument is outside its domain.

    Source: Howard, Ramdas, McAuliffe and Sekhon, arXiv 1810.08240, proposition 7 (two-sided
        Beta-binomial mixture), with the tuning of their `confseq` library.

    Examples:
        >>> lower, upper = rate_sequences([55], [1_000], 0.05, planned_units=1_000)
        >>> float(lower[0].round(3)), float(upper[0].round(3))
        (0.036, 0.079)
    """
    won, seen = np.asarray(successes, dtype=np.float64), np.asarray(units, dtype=np.float64)
    if not 0.0 < alpha < 1.0:
        raise InvalidParameterError("alpha", alpha, "in (0, 1)")
    if not 0.0 < planned_units < math.inf:
        raise InvalidParameterError("planned_units", planned_units, "finite and > 0")
    if not np.all((won >= 0.0) & (won <= seen)):
        raise InvalidParameterError("successes", won.tolist(), "in [0, units]")
    wanted = -2.0 * math.log(alpha)
    concentration = planned_units / (wanted + math.log1p(wanted)) - 1.0
    concentration = max(concentration, _LEAST_CONCENTRATION)
    observed = np.divide(won, seen, out=np.full_like(seen, 0.5), where=seen > 0.0)
    ends = []
    for outermost in (0.0, 1.0):
        outside, inside = np.full_like(seen, outermost), observed.copy()
        for _ in range(_HALVINGS):
            middle = (outside + inside) / 2.0
            excluded = _log_mixture(won, seen, middle, concentration) > -math.log(alpha)
            outside = np.where(excluded, middle, outside)
            inside = np.where(excluded, inside, middle)
        ends.append(np.where(seen > 0.0, outside, outermost))
    return ends[0], ends[1]


def _log_mixture(
    won: FloatArray, seen: FloatArray, rate: FloatArray, concentration: float
) -> FloatArray:
    """Return the log of the likelihood under Beta(c p, c (1 - p)) over that under p."""
    rate = np.clip(rate, _LEAST_RATE, _GREATEST_RATE)
    for_won, for_lost = concentration * rate, concentration * (1.0 - rate)
    log_ratio: FloatArray = (
        special.betaln(for_won + won, for_lost + seen - won)
        - special.betaln(for_won, for_lost)
        - special.xlogy(won, rate)
        - special.xlog1py(seen - won, -rate)
    )
    return log_ratio
