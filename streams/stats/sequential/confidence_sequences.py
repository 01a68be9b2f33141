"""Confidence sequences: intervals that hold at every number of units at once.

They bound how far a sum of increments strays from its mean given the past; for the increments of a
comparison of two variants see `streams.stats.sequential.contrasts`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import overload

import numpy as np
from scipy import special

from streams.model.errors import InvalidParameterError
from streams.stats.arrays import FloatArray, all_of, any_of
from streams.stats.numerics.stirling import stirling_correction

PLANNED_UNITS = 5_000
"""Units at which the asymptotic sequence is made narrowest; it is valid for any other number."""

PLANNED_EVENTS = 500.0
"""Events, in units of the largest increment, at which the bounded sequence is made narrowest."""

LOOSE_WEIGHT = 0.2
"""Weight of the part of a mixture that is tuned to `LOOSE_EVENTS`, for bounds that may be far above
all values. Where they are not it costs 3 % more units, and where they are it saves a quarter."""

LOOSE_EVENTS = 3.0
"""Events, in units of the largest increment, at which that part is made narrowest."""

_TUNED_ERROR = 0.025  # one side of 5 %
_MAX_NEWTON_STEPS = 100
_NEWTON_TOLERANCE = 1e-9
_MAX_DOUBLINGS = 200
_SMALL_RATIO = 1e-3  # the fifth-order series errs by 2e-16 of u^2 / 2 there


@overload
def asymptotic_radius(units: float, alpha: float, planned_units: float = ...) -> float: ...
@overload
def asymptotic_radius(
    units: FloatArray, alpha: float | FloatArray, planned_units: float = ...
) -> FloatArray: ...
def asymptotic_radius(
    units: float | FloatArray, alpha: float | FloatArray, planned_units: float = PLANNED_UNITS
) -> float | FloatArray:
    """Return the half width of an asymptotic confidence sequence, in standard deviations.

    Args:
        units: Units so far, > 0; of any shape. Any other clock will do, such as the variance of the
            sum; the half width is then divided by its root.
        alpha: Two-sided error, in (0, 1); of the same shape, or one for all.
        planned_units: Number of units at which it is narrowest, > 0.

    Source: Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, arXiv 2103.06476: theorem 2.2 for the
        width, and section 2.5 for martingale increments; the choice of rho by its equation for the
        approximate minimum.

    Examples:
        >>> round(asymptotic_radius(5_000, 0.05) * 5_000**0.5, 3)
        3.035
    """
    scaled = units * asymptotic_tuning(alpha, planned_units)
    radius: FloatArray = np.sqrt(
        2.0 * (scaled + 1.0) / (units * scaled) * (0.5 * np.log(scaled + 1.0) - np.log(alpha))
    )
    return radius if isinstance(units, np.ndarray) else float(radius)


def error_of_both_sides(error: float | FloatArray) -> FloatArray:
    """Return the error of both sides of a normal mixture, whose sides are alike, below 1.

    Args:
        error: That of one side, in (0, 1/2].
    """
    found: FloatArray = np.minimum(2.0 * np.asarray(error), 1.0 - 1e-9)
    return found


def asymptotic_tuning(
    alpha: float | FloatArray, planned_units: float = PLANNED_UNITS
) -> FloatArray | float:
    """Return the rho^2 with which `asymptotic_radius` is narrowest at the planned units.

    Args:
        alpha: Two-sided error, in (0, 1).
        planned_units: Units, or time of another clock, at which it is narrowest, > 0.
    """
    log_alpha = np.log(alpha)
    return (-2.0 * log_alpha + np.log(1.0 - 2.0 * log_alpha)) / planned_units


def bounded_radius(
    sums_of_squares: FloatArray,
    bounds: FloatArray,
    alpha: float | FloatArray,
    planned_events: float | FloatArray = PLANNED_EVENTS,
    *,
    loose_weight: float = 0.0,
) -> FloatArray:
    """Return the u with S - E S < u at every time with probability at least 1 - alpha.

    S is a sum of increments D that never fall below -bound. In units of the bound, they satisfy
    exp(l D - psi(l) D^2) <= 1 + l D with psi(l) = -log(1 - l) - l. So with V = sum of D^2,
    exp(l (S - E S) - psi(l) V) is a supermartingale for every l in [0, 1), and so is its mixture
    over l. By Ville's inequality the mixture ever exceeds 1 / alpha with probability alpha at most,
    however often one looks and however few the units are. No normal approximation: it holds for
    rates near 0 and for arms that hardly ran.

    Args:
        sums_of_squares: V; shape (n,), >= 0.
        bounds: Most by which one increment can lower the sum; shape (n,), finite and > 0.
        alpha: One-sided error, in (0, 1); of the same shape, or one for all.
        planned_events: V / bound^2 at which u is made small, > 0; of the same shape, or one for
            all. u is valid at any other.
        loose_weight: Weight in [0, 1) of a second mixture, tuned to `LOOSE_EVENTS`.

    Returns:
        u; shape (n,), in units of S.

    Source: Fan, Grama and Liu (2015), "Exponential inequalities for martingales with applications",
        for the inequality; Howard, Ramdas, McAuliffe and Sekhon, arXiv 1810.08240, proposition 9
        (gamma-exponential mixture).
    """
    _check_bounds(bounds)
    events = sums_of_squares / (bounds * bounds)
    wanted = -np.log(alpha)
    rho = mixture_tuning(alpha, planned_events)
    # A Gaussian mixture's boundary, and the skewness of rare large falls: mostly just beyond it.
    spread = events + rho
    radius = np.sqrt(spread * (2.0 * wanted + np.log(spread / rho))) + wanted
    mixtures = _mixtures(events, rho, loose_weight)
    for _ in range(_MAX_DOUBLINGS):
        low = mixtures(radius)[0] < wanted
        if not any_of(low):
            break
        radius = np.where(low, 2.0 * radius, radius)
    # Newton from the right on a convex increasing function: every iterate is still wide enough.
    for _ in range(_MAX_NEWTON_STEPS):
        value, slope = mixtures(radius)
        step = (value - wanted) / slope
        radius = radius - step
        if all_of(step <= _NEWTON_TOLERANCE * radius):
            break
    return radius * bounds


def log_e_values(
    deviations: FloatArray,
    sums_of_squares: FloatArray,
    bounds: FloatArray,
    planned_events: float | FloatArray = PLANNED_EVENTS,
    tuned_error: float | FloatArray = _TUNED_ERROR,
    *,
    loose_weight: float = 0.0,
) -> FloatArray:
    """Return the logarithms of the e-values against "S has no positive drift"; 0 when S <= 0.

    The probability that one ever exceeds log(1 / p) is at most p, so exp(-value) is an always-valid
    one-sided p-value. It is the mixture that `bounded_radius` inverts at the error `tuned_error`.

    Args:
        deviations: S, a sum of increments that never fall below -bound; shape (n,).
        sums_of_squares: Sum of the squared increments; shape (n,), >= 0.
        bounds: Most by which one increment can lower the sum; shape (n,), finite and > 0.
        planned_events, loose_weight: As in `bounded_radius`.
        tuned_error: One-sided error for which they are made large; 2.5 % unless stated.

    Raises:
        InvalidParameterError: a bound is outside its domain.
    """
    _check_bounds(bounds)
    tuning = mixture_tuning(tuned_error, planned_events)
    mixtures = _mixtures(sums_of_squares / (bounds * bounds), tuning, loose_weight)
    values, _ = mixtures(np.maximum(deviations, 0.0) / bounds)
    return np.where(deviations > 0.0, values, 0.0)


class Mixture:
    """The gamma-exponential mixture of sums with a bound of 1, as a function of how far they rose.

    It is the integral over l in [0, 1) of exp(l s - psi(l) v) with the density proportional to
    (1 - l)^(rho - 1) exp(-rho (1 - l)).

    Args:
        events: v = sum of squared increments; shape (n,), >= 0.
        rho: Parameter of the mixture, > 0; shape (n,), or one for all.
    """

    def __init__(self, events: FloatArray, rho: float | FloatArray) -> None:
        self._shape = shape = events + rho
        prior = rho * np.log(rho) - special.gammaln(rho) - np.log(special.gammainc(rho, rho))
        self._prior = prior - rho
        self._factor = 0.5 * np.log(2.0 * math.pi / shape) + stirling_correction(shape)

    def log(self, deviations: FloatArray) -> FloatArray:
        """Return its logarithm at s = S - E S >= 0; shape (n,)."""
        log_below, rise = self._parts(deviations)
        value: FloatArray = self._prior + log_below + self._factor + rise
        return value

    def log_and_slope(self, deviations: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return its logarithm, and the slope of that in s."""
        log_below, rise = self._parts(deviations)
        value = self._prior + log_below + self._factor + rise
        rate = deviations + self._shape
        slope = deviations / rate + np.exp(-rise - self._factor - log_below) / rate
        return value, slope

    def _parts(self, deviations: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the parts of the logarithm that depend on s."""
        shape = self._shape
        # By Stirling's series: in gammaln(shape) - shape log(rate) + deviations + events, numbers
        # of the size of `events` would cancel, and with them all digits of the evidence beyond
        # 1e15.
        rise = shape * _minus_log1p(deviations / shape)
        return np.log(special.gammainc(shape, deviations + shape)), rise


def _mixtures(
    events: FloatArray, rho: float | FloatArray, loose_weight: float
) -> Callable[[FloatArray], tuple[FloatArray, FloatArray]]:
    """Return a function of the deviations: the logarithm of a mixture, and its slope.

    The mixture is a `Mixture`, or the mean of two, which is a mixture as well.
    """
    own = Mixture(events, rho)
    if not loose_weight:
        return own.log_and_slope
    loose_one = Mixture(events, mixture_tuning(_TUNED_ERROR, LOOSE_EVENTS))

    def both_of(deviations: FloatArray) -> tuple[FloatArray, FloatArray]:
        value, slope = own.log_and_slope(deviations)
        loose, loose_slope = loose_one.log_and_slope(deviations)
        value, loose = np.log1p(-loose_weight) + value, math.log(loose_weight) + loose
        both = np.logaddexp(value, loose)
        return both, np.exp(value - both) * slope + np.exp(loose - both) * loose_slope

    return both_of


def _minus_log1p(ratios: FloatArray) -> FloatArray:
    """Return u - log(1 + u) for u >= 0, without the cancellation near 0."""
    is_small, direct = ratios < _SMALL_RATIO, ratios - np.log1p(ratios)
    if not any_of(is_small):
        return direct
    u = np.minimum(ratios, _SMALL_RATIO)
    series = u * u * (1.0 / 2.0 - u * (1.0 / 3.0 - u * (1.0 / 4.0 - u / 5.0)))
    return np.where(is_small, series, direct)


def mixture_tuning(
    alpha: float | FloatArray, planned_events: float | FloatArray
) -> float | FloatArray:
    """Return the rho of a `Mixture` that makes the radius small at a number of events.

    Args:
        alpha: One-sided error, in (0, 1).
        planned_events: Events, in units of the largest increment, > 0.
    """
    wanted = -2.0 * np.log(alpha)
    return planned_events / (wanted + np.log1p(wanted))


def _check_bounds(bounds: FloatArray) -> None:
    if not all_of((bounds > 0.0) & np.isfinite(bounds)):
        raise InvalidParameterError("bounds", bounds.tolist(), "finite and > 0")
