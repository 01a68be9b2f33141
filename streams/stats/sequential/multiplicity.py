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
    values = np.asarray(p_values, dtype=np.float64)
    if not ((values >= 0.0) & (values <= 1.0)).all():
        raise InvalidParameterError("p_values", values.tolist(), "in [0, 1]")
    order = np.argsort(values, kind="stable")
    steps = values[order] * np.arange(len(values), 0, -1)
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def holm_by_column(columns: Sequence[Sequence[float]]) -> list[list[float]]:
    """Return p-values of several metrics that hold for all of them together, in their places."""
    flat = iter(holm([p for column in columns for p in column]).tolist())
    return [[next(flat) for _ in column] for column in columns]
