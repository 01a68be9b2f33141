"""Numbers as people read them in a terminal: no exponents, no signed zero, no `nan`."""

from __future__ import annotations

import math

SMALLEST = 1e-6
"""Values are exact to a millionth; what is nearer to zero is only bounded."""

SMALLEST_P_VALUE = 1e-4

_HUGE = 1e15


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
    sign = "-" if value < 0 else "+" if is_signed and value > 0 else ""
    size = abs(value)
    if math.isinf(size):
        return f"{sign}∞"
    if 0 < size < SMALLEST:
        return f"{'>-' if value < 0 else '<'}{_plain(SMALLEST, 1)}"
    return f"{sign}{_plain(size, digits)}"


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


def change(share: float) -> str:
    """Return a relative difference in per cent.

    >>> change(0.1234), change(-0.00001), change(41.5)
    ('+12.3%', '+0.0%', '+4,150.0%')
    """
    return f"{share:+z,.1%}"


def _bounded(value: float, digits: int, smallest: float) -> str:
    return f"<{_plain(smallest, 1)}" if value < smallest else number(value, digits)


def _plain(size: float, digits: int) -> str:
    if size >= _HUGE:
        return f"{size:.{digits}g}"
    decimals = 0 if size == 0 else max(digits - 1 - math.floor(math.log10(size)), 0)
    text = f"{size:,.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
