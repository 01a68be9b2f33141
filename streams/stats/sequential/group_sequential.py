"""Group sequential boundaries: a few looks at a test whose size is known.

When the number of units is fixed beforehand and no look is taken beyond the planned ones, less
evidence is needed than for a confidence sequence, which allows any number of looks forever. The
error is spent over the looks by a function of the share of the information that has arrived, so the
times of the looks need not be known beforehand (Lan and DeMets).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import StrEnum

import numpy as np
from scipy import special

from streams.model.errors import InvalidParameterError
from streams.stats.arrays import FloatArray
from streams.stats.numerics.brent import brent_root

MAX_LOOKS = 200
"""Looks of one test, at most: the work grows with their square."""

_N_NODES = 16
_BLOCK = 8 * _N_NODES
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(_N_NODES)
_PANELS_PER_DEVIATION = 0.5  # 16 nodes integrate a Gaussian over two deviations to 1e-12
_NOTHING_SPENT = 1e-13
_FARTHEST = 11.0  # deviations from the start; what is spent first is known to 1e-9 of it
_REACH = 8.5  # standard deviations beyond which a Gaussian has less than 1e-16


class Spending(StrEnum):
    """Spending function of the error over the information."""

    OBRIEN_FLEMING = "obrien_fleming"
    """Hardly any early: 4 - 4 Phi(z / sqrt t). The last look costs almost nothing."""

    POCOCK = "pocock"
    """About evenly: alpha log(1 + (e - 1) t). Large effects stop early, the last look costs."""


def spent(spending: Spending, fractions: Sequence[float], alpha: float) -> FloatArray:
    """Return the error that may have been spent at each share of the information.

    Args:
        spending: The spending function.
        fractions: Shares of the planned information; shape (n_looks,), in (0, 1], increasing.
        alpha: Two-sided error of the whole test, in (0, 1).

    Returns:
        Cumulative errors; shape (n_looks,), increasing, at most `alpha`.

    Raises:
        InvalidParameterError: an argument is outside its domain.

    Source: Lan and DeMets (1983), "Discrete sequential boundaries for clinical trials", examples 1
        and 2 (alpha*_1 and alpha*_2).

    Examples:
        >>> spent(Spending.POCOCK, [0.5, 1.0], 0.05).round(4)
        array([0.031, 0.05 ])
    """
    times = _checked(fractions, alpha)
    if spending is Spending.POCOCK:
        return alpha * np.log1p((math.e - 1.0) * times)
    # Half of the error for each side, as in every table of them.
    errors: FloatArray = 4.0 * special.ndtr(special.ndtri(alpha / 4.0) / np.sqrt(times))
    return errors


def boundaries(fractions: Sequence[float], alpha: float, spending: Spending) -> FloatArray:
    """Return how large |z| must be at each look to stop.

    Under no difference, the probability of stopping at or before a look is what is spent by then.

    Args:
        fractions: Shares of the planned information at the looks so far; shape (n_looks,), in
            (0, 1], increasing, at most `MAX_LOOKS`. Looks to come change nothing.
        alpha: Two-sided error of the whole test, in (0, 1).
        spending: The spending function.

    Returns:
        Critical values; shape (n_looks,), infinite where less than 1e-13 may be spent.

    Raises:
        InvalidParameterError: an argument is outside its domain.

    Source: Armitage, McPherson and Rowe (1969) for the recursion; Reboussin, DeMets, Kim and Lan
        (2000), "Computations for group sequential boundaries using the Lan-DeMets spending function
        method".

    Examples:
        >>> boundaries([0.2, 0.4, 0.6, 0.8, 1.0], 0.05, Spending.OBRIEN_FLEMING).round(2)
        array([4.88, 3.36, 2.68, 2.29, 2.03])
    """
    times = _checked(fractions, alpha)
    to_spend = np.diff(spent(spending, fractions, alpha), prepend=0.0)
    path = _Path()
    critical = np.empty_like(times)
    for look, (time, error) in enumerate(zip(times.tolist(), to_spend.tolist(), strict=True)):
        critical[look] = _boundary(path, time, error)
        path = path.continued(time, float(critical[look]) * math.sqrt(time))
    return critical


def crossing(
    fractions: Sequence[float], critical: Sequence[float] | FloatArray, drift: float = 0.0
) -> FloatArray:
    """Return the probability of having stopped at or before each look.

    Args:
        fractions: Shares of the planned information; shape (n_looks,), in (0, 1], increasing.
        critical: Critical values of |z|; shape (n_looks,), > 0.
        drift: Mean of z at the planned end: 0 without a difference, and 1.96 + 1.28 for a fixed
            test of 5 % with a power of 90 %.

    Raises:
        InvalidParameterError: an argument is outside its domain.
    """
    return Crossing(fractions, critical, abs(drift)).at(drift)


class Crossing:
    """Probability of having stopped at or before each look, as a function of the drift.

    The paths without a drift are integrated once. Up to any time t, the density of a path that ends
    in x under a drift is exp(drift x - drift^2 t / 2) times that without one (Cameron and Martin),
    whichever way it came, so a further drift costs no integration.

    Args:
        fractions: Shares of the planned information; shape (n_looks,), in (0, 1], increasing.
        critical: Critical values of |z|; shape (n_looks,), > 0.
        largest_drift: Largest drift that is asked for, either way, >= 0.

    Raises:
        InvalidParameterError: an argument is outside its domain.
    """

    def __init__(
        self,
        fractions: Sequence[float],
        critical: Sequence[float] | FloatArray,
        largest_drift: float,
    ) -> None:
        times = _checked(fractions, 0.5)
        if len(critical) != len(times) or not all(value > 0.0 for value in critical):
            raise InvalidParameterError("critical", list(critical), "> 0, as many as looks")
        path = _Path(largest_drift)
        self._looks: list[tuple[_Path, float, float]] = []
        for time, value in zip(times.tolist(), np.asarray(critical).tolist(), strict=True):
            bound = value * math.sqrt(time)
            self._looks.append((path, time, bound))
            path = path.continued(time, bound)

    def at(self, drift: float) -> FloatArray:
        """Return the probabilities under a drift; shape (n_looks,)."""
        return np.cumsum([path.beyond(time, bound, drift) for path, time, bound in self._looks])


def _boundary(path: _Path, time: float, error: float) -> float:
    if error < _NOTHING_SPENT:
        return math.inf
    scale = math.sqrt(time)
    return brent_root(
        lambda value: path.beyond(time, value * scale) - error, 0.0, _REACH + 1.0, 1e-10
    )


class _Path:
    """Brownian motion that has not stopped yet: its density at the last look, by quadrature.

    Args:
        largest_drift: Largest drift that `beyond` is asked for.
        time: The last look.
        nodes: Where it is then; shape (n,), increasing.
        mass: Probability of each node without a drift; shape (n,).
    """

    __slots__ = ("_largest_drift", "_mass", "_nodes", "_time")

    def __init__(
        self,
        largest_drift: float = 0.0,
        time: float = 0.0,
        nodes: FloatArray | None = None,
        mass: FloatArray | None = None,
    ) -> None:
        self._largest_drift = largest_drift
        self._time = time
        self._nodes = np.zeros(1) if nodes is None else nodes
        self._mass = np.ones(1) if mass is None else mass

    def beyond(self, time: float, bound: float, drift: float = 0.0) -> float:
        """Return the probability of not having stopped before `time`, and to stop then.

        Args:
            time: The look, after the last one.
            bound: Boundary of the motion then, >= 0; it stops outside [-bound, bound].
            drift: Drift, at most the largest one either way.
        """
        step = time - self._time
        deviation = math.sqrt(step)
        moved = self._nodes + drift * step
        tails = special.ndtr((moved - bound) / deviation) + special.ndtr(
            (-bound - moved) / deviation
        )
        mass = self._mass
        if drift:
            with np.errstate(divide="ignore"):  # what underflows has no weight under any drift
                logarithms = np.log(mass)
            mass = np.exp(logarithms + drift * self._nodes - 0.5 * drift * drift * self._time)
        return float((mass * tails).sum())

    def continued(self, time: float, bound: float) -> _Path:
        """Return the path that was inside [-bound, bound] at `time`."""
        deviation = math.sqrt(time - self._time)
        # Where a path with the largest drift comes to has weight as well.
        reach = (_REACH + self._largest_drift * deviation) * deviation
        farthest = (_FARTHEST + self._largest_drift * math.sqrt(time)) * math.sqrt(time)
        low = max(-bound, -farthest, float(self._nodes[0]) - reach)
        high = min(bound, farthest, float(self._nodes[-1]) + reach)
        n_panels = max(1, math.ceil((high - low) / deviation * _PANELS_PER_DEVIATION))
        edges = np.linspace(low, high, n_panels + 1)
        half = (edges[1] - edges[0]) / 2.0
        nodes = ((edges[:-1] + half)[:, None] + half * _NODES).ravel()
        # Where most of what comes to x was before: by x step / time nearer to the start.
        band = _REACH * deviation + farthest * deviation * deviation / time
        density = self._density(nodes, deviation, band)
        mass = density / (deviation * math.sqrt(2.0 * math.pi)) * np.tile(half * _WEIGHTS, n_panels)
        return _Path(self._largest_drift, time, nodes, mass)

    def _density(self, nodes: FloatArray, deviation: float, band: float) -> FloatArray:
        """Return the density at `nodes` after a step, by what was within `band` of each."""
        density = np.empty_like(nodes)
        for begin in range(0, len(nodes), _BLOCK):
            block = nodes[begin : begin + _BLOCK]
            near = slice(*np.searchsorted(self._nodes, (block[0] - band, block[-1] + band)))
            distance = (block[:, None] - self._nodes[near]) / deviation
            weights = np.exp(-0.5 * distance * distance)
            density[begin : begin + _BLOCK] = (weights * self._mass[near]).sum(axis=1)
        return density


def _checked(fractions: Sequence[float], alpha: float) -> FloatArray:
    if not 0.0 < alpha < 1.0:
        raise InvalidParameterError("alpha", alpha, "in (0, 1)")
    times = np.asarray(fractions, dtype=np.float64)
    increasing = np.all(np.diff(times, prepend=0.0) > 0.0)
    if not (0 < len(times) <= MAX_LOOKS and increasing and times[-1] <= 1.0):
        raise InvalidParameterError(
            "fractions", list(fractions), f"1 to {MAX_LOOKS} numbers in (0, 1], increasing"
        )
    return times
