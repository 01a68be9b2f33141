"""Is one variant better than another? Intervals and p-values that hold at every look.

A comparison is read in up to two ways, which share its error:

- as a confidence sequence, which holds at any time: exact for values with a bound (`confseq`),
  asymptotic for others;
- if a number of units was planned and nobody asks before, as *planned*: from that number on, the
  interval of a fixed test, a little wider, which keeps the width it had there.

For a Brownian motion W and t >= 1, the probability of ever W(t) >= c t is that of ever W(s) >= c
for s <= 1 (time inversion), and that is 2 (1 - Phi(c)) (reflection). So a planned test that goes on
for ever costs no more than an error of twice the size: c = 2.24 instead of 1.96.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import special

from streams.domain.errors import InvalidParameterError
from streams.inference.confseq import (
    PLANNED_UNITS,
    Interval,
    asymptotic_radius,
    asymptotic_tuning,
    bounded_radius,
    log_e_values,
)
from streams.inference.contrasts import Contrast

PLANNED_SHARE = 0.75
"""Share of the error that the planned reading has, when there is one."""

MIN_PLANNED_UNITS = 1_000
"""Units of a variant from which on a minimum counts as a plan: a smaller one is there to keep out
the first moments, and the sequence alone then has all of the error."""

_MIN_EVENTS = 50.0  # below, a planned reading is not Gaussian enough; measured in docs/calibration
_TUNED_ERROR = 0.05


def interval(compared: Contrast, alpha: float, planned_units: int = 0) -> Interval:
    """Return where mean a minus mean b lies, at every look at once.

    When the difference drifts, what is covered is its average with the weights h; when h is
    estimated, too (`contrast`), the ends are as exact as that, and their signs are exact.

    Args:
        compared: The contrast.
        alpha: Two-sided error, in (0, 1): the probability that the interval ever misses.
        planned_units: Units planned for each of the two variants, fixed before the first was
            assigned. 0 if none were, and under moving weights, where units do not measure
            information. Less than `MIN_PLANNED_UNITS` counts as 0.

    Raises:
        InvalidParameterError: an argument is outside its domain.
    """
    if not 0.0 < alpha < 1.0:
        raise InvalidParameterError("alpha", alpha, "in (0, 1)")
    if planned_units < 0:
        raise InvalidParameterError("planned_units", planned_units, ">= 0")
    if compared.fewest <= 0:
        return Interval(-math.inf, math.inf)
    if planned_units < MIN_PLANNED_UNITS:
        return _sequence(compared, alpha)
    anytime = _sequence(compared, (1.0 - PLANNED_SHARE) * alpha)
    planned = _planned(compared, PLANNED_SHARE * alpha, planned_units)
    lower, upper = max(anytime.lower, planned.lower), min(anytime.upper, planned.upper)
    # Where they have no point in common one of them has failed; the wider claim is left.
    return Interval(lower, upper) if lower <= upper else anytime


def p_value(compared: Contrast) -> float:
    """Return an always-valid two-sided p-value of "there is no difference".

    If there is none, the probability that it is ever at most p is at most p.

    Source: for values without a bound, the normal mixture of Robbins (1970), which is the mSPRT of
        Johari, Pekelis and Walsh, arXiv 1512.04922, equation 11, with the tuning of
        `asymptotic_radius`; else `log_e_values`, doubled for two sides.
    """
    if compared.fewest <= 0:
        return 1.0
    if compared.is_bounded:
        sides = log_e_values(
            np.array([compared.total, -compared.total]),
            np.array([compared.squares, compared.squares]),
            np.array([compared.deepest_fall, compared.highest_rise]),
        )
        return min(1.0, 2.0 * math.exp(-float(sides.max())))
    if compared.standard_error <= 0.0:
        return 1.0
    z = compared.difference / compared.standard_error
    scaled = compared.units * asymptotic_tuning(_TUNED_ERROR, PLANNED_UNITS)
    log_e = 0.5 * (z * z * scaled / (scaled + 1.0) - math.log1p(scaled))
    return min(1.0, math.exp(-log_e))


def _sequence(compared: Contrast, alpha: float) -> Interval:
    if not compared.is_bounded:
        deviations = math.sqrt(compared.units) * compared.standard_error
        half = deviations * asymptotic_radius(compared.units, alpha)
        return Interval(compared.difference - half, compared.difference + half)
    # The lower end fails when the sum rises too far above its mean, and rises are as tame as the
    # deepest fall is shallow.
    below, above = bounded_radius(
        np.array([compared.squares, compared.squares]),
        np.array([compared.deepest_fall, compared.highest_rise]),
        alpha / 2.0,
    ).tolist()
    return Interval(
        (compared.total - below) / compared.scale, (compared.total + above) / compared.scale
    )


def _planned(compared: Contrast, alpha: float, planned_units: int) -> Interval:
    passed = compared.fewest / planned_units
    if passed < 1.0 or _events(compared) < _MIN_EVENTS:
        return Interval(-math.inf, math.inf)
    critical = -float(special.ndtri(alpha / 4.0))
    half = critical * compared.standard_error * math.sqrt(passed)
    return Interval(compared.difference - half, compared.difference + half)


def _events(compared: Contrast) -> float:
    """Return how many of the largest increments would vary as much; infinite without a bound."""
    if not compared.is_bounded:
        return math.inf
    largest = max(compared.deepest_fall, compared.highest_rise)
    return compared.squares / (largest * largest)
