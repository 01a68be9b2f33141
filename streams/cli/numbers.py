"""Numbers as people read them in a terminal: no exponents, no signed zero, no `nan`."""

from __future__ import annotations

import math

from streams.model.decimals import SMALLEST, significant_decimals, without_zeros, written

SMALLEST_P_VALUE = 1e-4

_ALMOST_CERTAIN = 0.9995


def number(value: float, digits: int = 3, *, is_signed: bool = False) -> str:
    """Return a number with so many significant digits, or all digits before its point.

    Args:
        value: The number; also infinity, and not a number for what is unknown.
        digits: Significant digits; zeros at the end are left out.
        is_signed: Whether a positive number has a sign.

    >>> number(0.051234), number(1_234.5), number(9.02e-16), number(-0.0), number(math.inf)
    ('0.0512', '1,234', '<0.000001', '0', '∞')
    """
    if math.isnan(value):
        return "unknown"
    decimals = significant_decimals(value, digits) if math.isfinite(value) else 0
    return without_zeros(written(value, decimals, is_signed=is_signed))


def p_value(value: float) -> str:
    """Return a p-value.

    >>> p_value(0.0312), p_value(4.1e-12), p_value(0.0), p_value(1.0)
    ('0.031', '<0.0001', '<0.0001', '1')
    """
    return _bounded(value, 2, SMALLEST_P_VALUE)


def loss(value: float) -> str:
    """Return an expected loss, which is above zero, also where that was too small for a float.

    >>> loss(0.00123), loss(9.02e-16), loss(0.0)
    ('0.00123', '<0.000001', '<0.000001')
    """
    return _bounded(value, 3, SMALLEST)


def probability(value: float) -> str:
    """Return a probability in per cent; one that rounds to certainty is not shown as certain.

    >>> probability(0.9996), probability(0.22), probability(1e-9), probability(0.0)
    ('>99.9%', '22.0%', '<0.1%', '0.0%')
    """
    if value > _ALMOST_CERTAIN:
        return ">99.9%"
    if 0.0 < value < 1.0 - _ALMOST_CERTAIN:
        return "<0.1%"
    return f"{value:.1%}"


def change(share: float) -> str:
    """Return a relative difference in per cent.

    >>> change(0.1234), change(-0.00001), change(41.5)
    ('+12.3%', '+0.0%', '+4,150.0%')
    """
    return f"{share:+z,.1%}"


def _bounded(value: float, digits: int, smallest: float) -> str:
    return f"<{number(smallest, 1)}" if value < smallest else number(value, digits)
