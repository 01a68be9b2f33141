"""Intervals and p-values for the comparison of two variants that hold at every look.

A comparison is read in up to two ways, which share its error:

- as a confidence sequence, which holds at any time: exact for values with a bound
  (`bounded_radius`), asymptotic for others (`asymptotic_radius`);
- if a number of units was planned, as *planned*: from that number on, the interval of a fixed test,
  a little wider, which keeps the width it had there.

For a Brownian motion W and t >= 1, the probability of ever W(t) >= c t is that of ever W(s) >= c
for s <= 1 (time inversion), and that is 2 (1 - Phi(c)) (reflection). So a planned test that goes on
for ever costs no more than an error of twice the size: c = 2.24 instead of 1.96.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from streams.model.errors import InvalidParameterError
from streams.stats.arrays import FloatArray
from streams.stats.sequential.confidence_sequences import (
    PLANNED_UNITS,
    asymptotic_radius,
    asymptotic_tuning,
    bounded_radius,
    log_e_values,
)
from streams.stats.sequential.contrasts import Contrast

PLANNED_SHARE = 0.75
"""Share of the error that the planned reading has, when there is one."""

MIN_PLANNED_UNITS = 1_000
"""Units of a variant from which on a minimum counts as a plan: a smaller one is there to keep out
the first moments, and the sequence alone then has all of the error."""

_MIN_EVENTS = 50.0  # largest increments that would vary as much; below, it is not Gaussian enough
_TUNED_ERROR = 0.05


@dataclass(frozen=True, slots=True, eq=False)
class Intervals:
    """Ends of several intervals; infinite where nothing is known."""

    lower: FloatArray
    upper: FloatArray


def intervals(compared: Contrast, alpha: float, planned_units: int = 0) -> Intervals:
    """Return where mean a minus mean b lies, at every look at once.

    When the difference drifts, what is covered is its average with the weights h; when h is
    estimated, too (`overlap_contrast`), the ends are as exact as that, and their signs are exact.

    Args:
        compared: The contrasts.
        alpha: Two-sided error of each, in (0, 1): the probability that it ever misses.
        planned_units: Units planned for each variant, fixed before the first was assigned. 0 if
            none were, and under moving weights, where units do not measure information. Less than
            `MIN_PLANNED_UNITS` counts as 0.

    Raises:
        InvalidParameterError: an argument is outside its domain.
    """
    if not 0.0 < alpha < 1.0:
        raise InvalidParameterError("alpha", alpha, "in (0, 1)")
    if planned_units < 0:
        raise InvalidParameterError("planned_units", planned_units, ">= 0")
    if planned_units < MIN_PLANNED_UNITS:
        return _believed(compared, _sequences(compared, alpha))
    anytime = _sequences(compared, (1.0 - PLANNED_SHARE) * alpha)
    planned = _planned(compared, PLANNED_SHARE * alpha, planned_units)
    lower = np.maximum(anytime.lower, planned.lower)
    upper = np.minimum(anytime.upper, planned.upper)
    # Where they have no point in common one of them has failed; the wider claim is left.
    agree = lower <= upper
    lower, upper = np.where(agree, lower, anytime.lower), np.where(agree, upper, anytime.upper)
    return _believed(compared, Intervals(lower, upper))


def pairwise_error(alpha: float, n_arms: int) -> float:
    """Return the two-sided error of each interval, so that a wrong winner has the error `alpha`.

    A variant is named when its intervals against all others lie above 0. Take any best variant b. A
    wrong one is named only if its interval against b fails at its lower end, or, when b itself is
    named beside an equal b', that of b against b'. These are as many one-sided failures as variants
    at most, so each may have alpha / n_arms: more than alpha / (2 (n_arms - 1)), the half of what
    Bonferroni leaves to each comparison with the others.

    Raises:
        InvalidParameterError: `alpha` is outside (0, 1), or there are fewer than two variants.

    Examples:
        >>> pairwise_error(0.05, 2)
        0.05
    """
    if not 0.0 < alpha < 1.0:
        raise InvalidParameterError("alpha", alpha, "in (0, 1)")
    if n_arms < 2:  # noqa: PLR2004  # it takes two to compare
        raise InvalidParameterError("n_arms", n_arms, ">= 2")
    return 2.0 * alpha / n_arms


def p_values(compared: Contrast) -> FloatArray:
    """Return always-valid two-sided p-values of "there is no difference".

    If there is none, the probability that one is ever at most p is at most p.

    Source: for values without a bound, the normal mixture of Robbins (1970), which is the mSPRT of
        Johari, Pekelis and Walsh, arXiv 1512.04922, with the tuning of
        `asymptotic_radius`; else `log_e_values`, doubled for two sides.
    """
    if compared.is_bounded:
        rises, falls = compared.total, -compared.total
        log_e = np.maximum(
            log_e_values(rises, compared.squares, compared.max_decrement),
            log_e_values(falls, compared.squares, compared.max_increment),
        )
        return np.minimum(1.0, 2.0 * np.exp(-log_e))
    error = compared.standard_error
    z = np.divide(compared.difference, error, out=np.zeros_like(error), where=error > 0.0)
    scaled = compared.time * asymptotic_tuning(_TUNED_ERROR, PLANNED_UNITS)
    p = np.minimum(1.0, np.exp(0.5 * (np.log1p(scaled) - z * z * scaled / (scaled + 1.0))))
    return np.where(np.where(z > 0.0, compared.has_lower, compared.has_upper), p, 1.0)


def _believed(compared: Contrast, found: Intervals) -> Intervals:
    """Return intervals without the ends that the tails of the values do not allow."""
    return Intervals(
        np.where(compared.has_lower, found.lower, -np.inf),
        np.where(compared.has_upper, found.upper, np.inf),
    )


def _sequences(compared: Contrast, alpha: float) -> Intervals:
    # Units that had all of the traffic have the weight 0, and compare nothing.
    known = (compared.fewest > 0.0) & (compared.scale > 0.0) & (compared.time > 0.0)
    if compared.is_bounded:
        # The lower end fails when the sum rises too far above its mean, and rises are as tame as
        # the deepest fall is shallow.
        below = bounded_radius(compared.squares, compared.max_decrement, alpha / 2.0)
        above = bounded_radius(compared.squares, compared.max_increment, alpha / 2.0)
        scale = np.where(known, compared.scale, 1.0)
        lower, upper = (compared.total - below) / scale, (compared.total + above) / scale
    else:
        time = np.where(known, compared.time, 1.0)
        half = np.sqrt(time) * compared.standard_error * asymptotic_radius(time, alpha)
        lower, upper = compared.difference - half, compared.difference + half
    return Intervals(np.where(known, lower, -np.inf), np.where(known, upper, np.inf))


def _planned(compared: Contrast, alpha: float, planned_units: int) -> Intervals:
    passed = compared.fewest / planned_units
    critical = -float(special.ndtri(alpha / 4.0))
    largest = np.maximum(compared.max_decrement, compared.max_increment)
    # Without a bound on the values, the caller counts those that are not 0.
    is_gaussian = np.isinf(largest) | (compared.squares >= _MIN_EVENTS * largest * largest)
    width = critical * compared.standard_error * np.sqrt(np.maximum(passed, 1.0))
    half = np.where((passed >= 1.0) & is_gaussian, width, np.inf)
    return Intervals(compared.difference - half, compared.difference + half)
