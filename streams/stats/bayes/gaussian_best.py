"""P(best) of Normal values, fast enough for every request."""

from __future__ import annotations

import math

import numpy as np
from scipy import special

from streams.stats.arrays import FloatArray
from streams.stats.posteriors.base import NARROWEST

_SMALLEST = 1e-150  # of a deviation, beside 1: its inverse squared is a machine number
_REACH = 5.0  # standard deviations; 6e-7 of a Normal value lies beyond
_WIDTH = 1.25  # of a panel, in standard deviations of the narrowest value in it
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(4)
_NODES, _WEIGHTS = (_NODES + 1.0) / 2.0, _WEIGHTS / 2.0


def gaussian_best(means: FloatArray, deviations: FloatArray) -> FloatArray:
    """Return the probability of each of several independent Normal values to be the largest.

    It is the integral of f_k times the product of F_j over the others, by Gauss-Legendre quadrature
    with four nodes on panels that are narrow where a narrow value is, whatever the others' scale.
    The error is below 1.5e-5, one of the 65,536 parts of an allocation, and below 3e-5 where one
    value is far wider than another; `streams.stats.bayes.best` has four more digits and takes
    twenty times as long.

    Args:
        means: Shape (n,), finite.
        deviations: Standard deviations; shape (n,), finite, > 0.

    Returns:
        Probabilities; shape (n,), sum to 1.

    Examples:
        >>> gaussian_best(np.array([0.0, 0.0, -9.0]), np.array([1.0, 1.0, 1.0])).round(6)
        array([0.5, 0.5, 0. ])
    """
    # In units of the largest number, so that no square and no density overflows; and no deviation
    # below the digits of its mean, where an interval around it would be empty.
    means, deviations = np.nan_to_num(means), np.nan_to_num(deviations)
    scale = max(float(np.abs(means).max()), float(deviations.max()))
    if scale == 0.0:
        return np.full(len(means), 1.0 / len(means))
    scaled = means / scale
    narrowest = np.maximum(np.abs(scaled) * NARROWEST, _SMALLEST)
    return _by_quadrature(scaled, np.maximum(deviations / scale, narrowest))


def _by_quadrature(means: FloatArray, deviations: FloatArray) -> FloatArray:
    """Return the same for numbers up to 1 whose deviations are not lost in the digits."""
    reach = _REACH * deviations
    start = (means - reach).max()  # below it, some value is surely above
    alive = means + reach > start
    probability = np.zeros(len(means))
    mean, deviation = means[alive, None], deviations[alive, None]
    points = _points(start, (means + reach)[alive], _WIDTH * deviations[alive])
    width = (points[1:] - points[:-1])[:, None]
    nodes = (points[:-1, None] + width * _NODES).ravel()
    z = (nodes - mean) / deviation
    below = special.ndtr(z)  # at least ndtr(-5): no node is below `start`
    all_below = np.multiply.reduce(below, axis=0) * (width * _WEIGHTS).ravel()
    density = np.exp(-0.5 * z * z) / (math.sqrt(2.0 * math.pi) * deviation)
    wins = np.add.reduce(density / below * all_below, axis=1)
    probability[alive] = wins / wins.sum()
    return probability


def _points(start: float, ends: FloatArray, widths: FloatArray) -> FloatArray:
    """Return the ends of panels from `start` on, each as wide as the narrowest value in it allows.

    All values reach below `start`, so those in a panel are those that end above it.
    """
    order = ends.argsort()
    ends = ends[order]
    narrowest = np.minimum.accumulate(widths[order][::-1])[::-1]
    lengths = ends.copy()
    lengths[1:] -= ends[:-1]
    lengths[0] -= start
    panels = np.zeros(len(ends) + 1)
    np.add.accumulate(lengths / narrowest, out=panels[1:])
    n_panels = math.ceil(panels[-1])
    steps = np.arange(n_panels + 1) * (panels[-1] / n_panels)
    points: FloatArray = np.interp(steps, panels, np.concatenate(((start,), ends)))
    return points
