"""Quantiles of what has a distribution function and no formula."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from streams.stats.arrays import FloatArray

_MAX_STEPS = 200
_TOLERANCE = 1e-6
_LARGEST_Z = 7.0  # z of a probability of 1e-12
_PEAK = 0.39894228  # density of z at 0
_LARGEST_BEND = 5.0  # of z over its slope, in 1 / z: 4.3 below 2.5 % of a square root, 0 of a bell
_GROWTH = 4.0  # how much further a step may go than the one before


def solve_increasing(
    below: Callable[[FloatArray, NDArray[np.intp]], FloatArray],
    wanted: FloatArray,
    guess: FloatArray,
    deviation: FloatArray,
) -> FloatArray:
    """Return where distribution functions have the wanted values, to 1e-6 or a machine number.

    By secants between known bounds, on the scale of z, where the distribution function of a bell is
    nearly a line: two or three steps do. The last one is not checked where the two before were so
    near that it cannot miss: a secant errs by half the product of their errors times the bend. A
    secant that leaves the known bounds is replaced by their middle.

    Args:
        below: The increasing functions: it is given parameters, shape (m,), and the indices of the
            functions to be asked, shape (m,).
        wanted: Probabilities, in (0, 1); shape (n,).
        guess: Approximate median; shape (n,).
        deviation: Roughly one standard deviation, > 0; shape (n,).
    """
    solution: FloatArray = guess.copy()
    rows = np.arange(len(guess))
    target = special.ndtri(wanted)
    sure = _TOLERANCE / (0.5 * _LARGEST_BEND * _PEAK) * np.exp(0.5 * target * target)
    search = _Search.begun(target, guess, deviation)
    for _ in range(_MAX_STEPS):
        # Sums may round to beyond 1; np.clip costs several times as much.
        probability = np.minimum(np.maximum(below(search.x, rows), 0.0), 1.0)
        solution[rows] = search.x
        search = search.step(special.ndtri(probability))
        is_open = (np.abs(probability - wanted[rows]) > _TOLERANCE) & (search.x != solution[rows])
        is_sure = is_open & (search.missed <= sure[rows])
        if is_sure.any():
            solution[rows[is_sure]] = search.x[is_sure]
            is_open &= ~is_sure
        if not is_open.any():
            break
        if not is_open.all():
            rows, search = rows[is_open], search.take(is_open)
    return solution


@dataclass(frozen=True, slots=True, eq=False)
class _Search:
    """Searches on their way.

    Attributes:
        target: The z of the wanted probabilities.
        deviation: Roughly one standard deviation.
        x, before: The next point, and the one before.
        z_before: Value there.
        lower, upper: Bracket of the root.
        reach: Largest next step.
        missed: Product of what the last two points missed in z; infinite where x is not by a secant
            between them.
    """

    target: FloatArray
    deviation: FloatArray
    x: FloatArray
    before: FloatArray
    z_before: FloatArray
    lower: FloatArray
    upper: FloatArray
    reach: FloatArray
    missed: FloatArray

    @classmethod
    def begun(cls, target: FloatArray, guess: FloatArray, deviation: FloatArray) -> _Search:
        """Return searches that begin where a normal distribution has the target."""
        endless = np.full_like(guess, np.inf)
        return cls(
            target=target,
            deviation=deviation,
            x=guess + target * deviation,
            before=guess,
            z_before=np.zeros_like(guess),
            lower=-endless,
            upper=endless,
            reach=_GROWTH * deviation,
            missed=endless,
        )

    def take(self, rows: NDArray[np.bool_]) -> _Search:
        """Return some of the searches."""
        return _Search(*(getattr(self, name)[rows] for name in self.__slots__))

    def step(self, unbounded_z: FloatArray) -> _Search:
        """Return the searches after this z was found at x; they stay where bounds meet."""
        x, reach, target = self.x, self.reach, self.target
        z = np.minimum(np.maximum(unbounded_z, -_LARGEST_Z), _LARGEST_Z)
        is_low = z < target
        lower, upper = np.where(is_low, x, self.lower), np.where(is_low, self.upper, x)
        with np.errstate(divide="ignore", invalid="ignore"):
            slope = (z - self.z_before) / (x - self.before)
        is_known = (slope > 0.0) & np.isfinite(slope)
        slope = np.where(is_known, slope, 1.0 / self.deviation)
        # Where all or nothing lies below, the slope is not known: go on ever faster.
        far = np.copysign(reach, target - z)
        step = np.where(np.abs(z) < _LARGEST_Z, (target - z) / slope, far)
        secant = x + np.minimum(np.maximum(step, -reach), reach)
        is_bounded = np.isfinite(lower) & np.isfinite(upper)
        with np.errstate(invalid="ignore"):
            middle = np.where(is_bounded, (lower + upper) / 2.0, x + far)
        is_within = (lower < secant) & (secant < upper)
        is_second = np.isfinite(self.lower) | np.isfinite(self.upper)
        missed = np.abs((z - target) * (self.z_before - target))
        return _Search(
            target=target,
            deviation=self.deviation,
            x=np.where(is_within, secant, middle),
            before=x,
            z_before=z,
            lower=lower,
            upper=upper,
            reach=reach * _GROWTH,
            missed=np.where(is_known & is_within & is_second, missed, np.inf),
        )
