"""Quantiles of distribution functions without a closed form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from streams.stats.arrays import FloatArray, all_of, any_of

_MAX_STEPS = 200
_TOLERANCE = 1e-6
_LEAST, _MOST = special.ndtr([-7.0, 7.0]).tolist()  # probabilities beyond them give no slope
_PEAK = 0.39894228  # density of z at 0
_LARGEST_BEND = 5.0  # of z over its slope, in 1 / z: 4.3 below 2.5 % of a square root, 0 of a bell
_GROWTH = 4.0  # largest growth of a step over the one before


def solve_increasing(
    below: Callable[[FloatArray, NDArray[np.intp]], FloatArray],
    wanted: FloatArray,
    guess: FloatArray,
    deviation: FloatArray,
    at_guess: float = 0.5,
) -> FloatArray:
    """Return where distribution functions have the wanted values, to 1e-6 or a machine number.

    The secant method is applied between known bounds, on the scale of z, where the distribution
    function of a bell is nearly linear: two or three steps suffice. The last step is not checked if
    the two before were close enough: a secant errs by half the product of their errors times the
    curvature. A secant outside the known bounds is replaced by bisection.

    Args:
        below: The increasing functions: called with parameters, shape (m,), and the indices of the
            functions to evaluate, shape (m,).
        wanted: Probabilities, in (0, 1); shape (n,).
        guess: Approximate median, or another point with a known value; shape (n,).
        deviation: Roughly one standard deviation, > 0; shape (n,).
        at_guess: The value there, in (0, 1).
    """
    rows = np.arange(len(guess))
    target = special.ndtri(wanted)
    sure = _TOLERANCE / (0.5 * _LARGEST_BEND * _PEAK) * np.exp(0.5 * target * target)
    z_guess = float(special.ndtri(at_guess))
    search = _Search.begun(wanted, guess, deviation, target, sure, z_guess)
    solution: FloatArray = search.x.copy()
    for _ in range(_MAX_STEPS):
        # Sums may round to above 1; np.clip is several times slower.
        found = np.minimum(np.maximum(below(search.x, rows), _LEAST), _MOST)
        after, is_sure = search.step(found)
        is_open = (np.abs(found - search.wanted) > _TOLERANCE) & (after.x != search.x)
        is_sure &= is_open
        solution[rows] = np.where(is_sure, after.x, search.x)
        is_open ^= is_sure
        if not any_of(is_open):
            break
        is_all = all_of(is_open)
        rows, search = (rows, after) if is_all else (rows[is_open], after.take(is_open))
    return solution


@dataclass(frozen=True, slots=True, eq=False)
class _Search:
    """State of the root searches.

    Attributes:
        wanted: The wanted probabilities.
        deviation: Roughly one standard deviation.
        target: The z of the wanted probabilities.
        sure: Largest product of what two points miss in z with which a secant between them is sure.
        x, before: The next point, and the one before.
        z_before: Value there.
        lower, upper: Bracket of the root, infinite until a point on that side is known.
        n_known: Number of points that are known.
    """

    wanted: FloatArray
    deviation: FloatArray
    target: FloatArray
    sure: FloatArray
    x: FloatArray
    before: FloatArray
    z_before: FloatArray
    lower: FloatArray
    upper: FloatArray
    n_known: int

    @classmethod
    def begun(
        cls,
        wanted: FloatArray,
        guess: FloatArray,
        deviation: FloatArray,
        target: FloatArray,
        sure: FloatArray,
        z_guess: float,
    ) -> _Search:
        """Return searches that begin where a bell would have the wanted probabilities."""
        endless, z_before = np.full_like(guess, np.inf), np.full_like(guess, z_guess)
        x = guess + (target - z_guess) * deviation
        return cls(wanted, deviation, target, sure, x, guess, z_before, -endless, endless, 0)

    def take(self, rows: NDArray[np.bool_]) -> _Search:
        """Return some of the searches."""
        columns: dict[str, Any] = {
            name: getattr(self, name)[rows] for name in self.__slots__ if name != "n_known"
        }
        return _Search(**columns, n_known=self.n_known)

    def step(self, found: FloatArray) -> tuple[_Search, NDArray[np.bool_]]:
        """Return the searches after these probabilities were found at x, and which are sure.

        They stay where bounds meet. No search is sure before it knows two points.

        Args:
            found: In [`_LEAST`, `_MOST`].
        """
        x, z = self.x, special.ndtri(found)
        short = self.target - z
        is_low = short > 0.0
        lower, upper = np.where(is_low, x, self.lower), np.where(is_low, self.upper, x)
        with np.errstate(divide="ignore", invalid="ignore"):
            slope = (z - self.z_before) / (x - self.before)
        is_known = (slope > 0.0) & (slope < np.inf)
        slope = np.where(is_known, slope, 1.0 / self.deviation)
        # Where all or nothing lies below, the slope is not known: continue ever faster.
        reach = _GROWTH ** (self.n_known + 1) * self.deviation
        far = np.copysign(reach, short)
        step = np.where((found > _LEAST) & (found < _MOST), short / slope, far)
        secant = x + np.minimum(np.maximum(step, -reach), reach)
        is_within = (lower < secant) & (secant < upper)
        missed = np.abs(short * (self.target - self.z_before))
        is_sure = is_known & is_within & (missed <= self.sure) & (self.n_known > 0)
        if not all_of(is_within):
            is_bounded = np.isfinite(lower) & np.isfinite(upper)
            with np.errstate(invalid="ignore"):
                middle = np.where(is_bounded, (lower + upper) / 2.0, x + far)
            secant = np.where(is_within, secant, middle)
        searches = _Search(
            self.wanted,
            self.deviation,
            self.target,
            self.sure,
            x=secant,
            before=x,
            z_before=z,
            lower=lower,
            upper=upper,
            n_known=self.n_known + 1,
        )
        return searches, is_sure
