"""Quantiles of what has a distribution function and no formula."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import special

from streams.inference.posterior import FloatArray

_MAX_STEPS = 200
_TOLERANCE = 1e-7
_LARGEST_Z = 7.0  # z of a probability of 1e-12
_GROWTH = 4.0  # how much further a step may go than the one before


def solve_increasing(
    below: Callable[[FloatArray], FloatArray],
    wanted: FloatArray,
    guess: FloatArray,
    deviation: FloatArray,
) -> FloatArray:
    """Return where distribution functions have the wanted values, to 1e-7 or a machine number.

    By secants between known bounds, on the scale of z, where the distribution function of a bell is
    nearly a line: two or three steps do. A secant that leaves the known bounds is replaced by their
    middle.

    Args:
        below: Increasing functions of one parameter each; from shape (n,) to shape (n,).
        wanted: Probabilities, in (0, 1); shape (n,).
        guess: Where about a half is; shape (n,).
        deviation: Roughly one standard deviation, > 0; shape (n,).
    """
    target: FloatArray = special.ndtri(wanted)
    lower, upper = np.full_like(guess, -np.inf), np.full_like(guess, np.inf)
    x: FloatArray = guess + target * deviation
    before, z_before = guess, np.zeros_like(guess)
    reach = _GROWTH * deviation
    for _ in range(_MAX_STEPS):
        probability = below(x)
        is_done = np.abs(probability - wanted) <= _TOLERANCE
        if is_done.all():
            break
        is_low = probability < wanted
        lower, upper = np.where(is_low, x, lower), np.where(is_low, upper, x)
        z = np.clip(special.ndtri(probability), -_LARGEST_Z, _LARGEST_Z)
        with np.errstate(divide="ignore", invalid="ignore"):
            slope = (z - z_before) / (x - before)
            slope = np.where((slope > 0.0) & np.isfinite(slope), slope, 1.0 / deviation)
        # Where all or nothing lies below, the slope is not known: go on ever faster.
        far = np.copysign(reach, target - z)
        step = np.where(np.abs(z) < _LARGEST_Z, (target - z) / slope, far)
        after = x + np.clip(step, -reach, reach)
        is_bounded = np.isfinite(lower) & np.isfinite(upper)
        middle = np.where(is_bounded, (lower + upper) / 2.0, x + far)
        after = np.where((lower < after) & (after < upper), after, middle)
        after = np.where(is_done | (after == x), x, after)
        if np.array_equal(after, x):
            break  # the bounds are neighbours among machine numbers
        before, z_before, x, reach = x, z, after, reach * _GROWTH
    return x
