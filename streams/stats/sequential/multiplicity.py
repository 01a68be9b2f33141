"""Many comparisons at once: how far their errors must be held for all of them to hold together.

Confidence sequences of m comparisons, each at error alpha / m, hold together at error alpha
(Bonferroni), whatever depends on what, at every look. Always-valid p-values may be corrected like
any other at every look, since at every look they are p-values.
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


def e_bh(log_e_values: Sequence[float], rate: float) -> tuple[int, ...]:
    """Return which comparisons to call discoveries, so that at most a share of them is false.

    The expected share of false ones among them (false discovery rate) is at most `rate`, whatever
    depends on what, at any stopping time. Made for many secondary metrics, where Holm is strict.

    Args:
        log_e_values: Natural logarithms of e-values (`log_e_values` of a confidence sequence);
            shape (n,), -inf allowed.
        rate: False discovery rate, in (0, 1).

    Returns:
        Indices of the discoveries, ascending.

    Raises:
        InvalidParameterError: `rate` is outside (0, 1), or a logarithm is not a number.

    Source: Wang and Ramdas (2022), "False discovery rate control with e-values", definition 1.

    Examples:
        >>> e_bh([5.0, 0.0, 4.0], 0.05)
        (0, 2)
    """
    if not 0.0 < rate < 1.0:
        raise InvalidParameterError("rate", rate, "in (0, 1)")
    values = np.asarray(log_e_values, dtype=np.float64)
    if np.isnan(values).any():
        raise InvalidParameterError("log_e_values", values.tolist(), "numbers")
    order = np.argsort(-values, kind="stable")
    ranks = np.arange(1, len(values) + 1)
    passing = np.flatnonzero(values[order] >= np.log(len(values) / (rate * ranks)))
    n_found = int(passing[-1]) + 1 if len(passing) else 0
    return tuple(sorted(order[:n_found].tolist()))
