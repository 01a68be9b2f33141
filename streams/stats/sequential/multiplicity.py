"""Correction of p-values for multiple comparisons.

Always-valid p-values are p-values at every look, so any correction of p-values applies to them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from streams.model.errors import InvalidParameterError
from streams.stats.arrays import FloatArray


def holm(p_values: Sequence[float]) -> FloatArray:
    """Return p-values that hold for all comparisons together, in their order.

    Comparing all of them with alpha, the probability of one or more false rejections is at most
    alpha, whatever depends on what. With always-valid p-values it is so at every look at once: the
    first false rejection needs a true hypothesis whose p-value, at some time, is at most alpha over
    the number of true ones, and each does that with that probability at most.

    Args:
        p_values: Shape (n,), each in [0, 1].

    Raises:
        InvalidParameterError: a p-value is outside [0, 1].

    Source: Holm (1979), "A simple sequentially rejective multiple test procedure".

    Examples:
        >>> holm([0.01, 0.04, 0.03])
        array([0.03, 0.06, 0.06])
    """
    values = [float(each) for each in p_values]
    if not all(0.0 <= each <= 1.0 for each in values):
        raise InvalidParameterError("p_values", values, "in [0, 1]")
    adjusted, most = np.empty(len(values)), 0.0
    for place, index in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        most = max(most, min(values[index] * (len(values) - place), 1.0))
        adjusted[index] = most
    return adjusted


def holm_by_column(columns: Sequence[Sequence[float]]) -> list[list[float]]:
    """Return p-values of several metrics that hold for all of them together, in their places."""
    flat = iter(holm([p for column in columns for p in column]).tolist())
    return [[next(flat) for _ in column] for column in columns]
