"""Roots of a function of one number."""

from __future__ import annotations

from collections.abc import Callable

DEFAULT_TOLERANCE = 2e-12


def brent_root(
    function: Callable[[float], float],
    low: float,
    high: float,
    tolerance: float = DEFAULT_TOLERANCE,
) -> float:
    """Return the root of a function that changes its sign between `low` and `high`.

    Args:
        function: Continuous.
        low: Lower end.
        high: Upper end.
        tolerance: Absolute error of the root.

    Source: Brent (1973), chapter 4, in SciPy's implementation.

    >>> round(brent_root(lambda value: value * value - 2.0, 0.0, 2.0), 9)
    1.414213562
    """
    from scipy.optimize import brentq  # noqa: PLC0415 - a tenth of the start of every process

    return float(brentq(function, low, high, xtol=tolerance))
