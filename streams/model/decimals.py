"""Decimal notation of numbers for people: no exponents, no signed zero, bounds near zero."""

from __future__ import annotations

import math

SMALLEST = 1e-6
"""Values are exact to a millionth; what is nearer to zero is only bounded."""

_FINEST = 6
"""Decimals needed to show `SMALLEST`."""

_HUGE = 1e15

_LEAST_PROBABLE = 0.001
"""Probabilities in sentences are exact to a tenth of a percent."""


def significant_decimals(value: float, digits: int) -> int:
    """Return how many decimals a number has that is written with so many significant digits.

    >>> significant_decimals(0.051234, 3), significant_decimals(-1_234.5, 3)
    (4, 0)
    """
    return 0 if value == 0 else max(digits - 1 - math.floor(math.log10(abs(value))), 0)


def written(value: float, decimals: int, *, is_signed: bool = False) -> str:
    """Return a number with so many decimals; from 10**15 on its first three digits.

    Args:
        value: The number; also infinity.
        decimals: Digits behind its point.
        is_signed: Whether a positive number has a sign.

    >>> written(1_234.5, 2), written(-0.04, 1), written(-4e-9, 9), written(0.0, 9)
    ('1,234.50', '0.0', '>-0.000001', '0')
    >>> written(0.04, 1, is_signed=True), written(math.inf, 1, is_signed=True)
    ('0.0', '+∞')
    """
    size = abs(value)
    if size < SMALLEST and decimals >= _FINEST:
        bound = f"{SMALLEST:.{_FINEST}f}"
        return "0" if size == 0 else f">-{bound}" if value < 0 else f"<{bound}"
    if math.isinf(size):
        text = "∞"
    elif size >= _HUGE:
        text = f"{size:.3g}"
    else:
        text = f"{size:,.{decimals}f}"
        if not any(each in "123456789" for each in text):
            return text  # what rounds to zero has no sign
    return f"-{text}" if value < 0 else f"+{text}" if is_signed else text


def without_zeros(text: str) -> str:
    """Return a number without the zeros at the end of its decimals.

    >>> without_zeros("0.50"), without_zeros("3.0"), without_zeros("100")
    ('0.5', '3', '100')
    """
    return text.rstrip("0").rstrip(".") if "." in text else text


def stated(value: float, digits: int) -> str:
    """Return a number with so many significant digits, for a sentence.

    >>> stated(0.05, 3), stated(12_345.6, 3), stated(1.7e-13, 2), stated(0.0, 2)
    ('0.05', '12,346', 'less than 0.000001', '0')
    """
    decimals = significant_decimals(value, digits) if math.isfinite(value) else 0
    text = without_zeros(written(value, decimals))
    return text.replace("<", "less than ").replace(">", "more than ")


def stated_bound(value: float, digits: int) -> str:
    """Return a positive number that something stays below, for a sentence; `SMALLEST` at least.

    >>> stated_bound(0.05, 3), stated_bound(1.7e-13, 3)
    ('0.05', '0.000001')
    """
    return stated(max(value, SMALLEST), digits)


def stated_least(value: float, digits: int) -> str:
    """Return a positive number that something is at least, for a sentence.

    >>> stated_least(0.05, 3), stated_least(1.7e-13, 3)
    ('0.05', '0')
    """
    return "0" if value < SMALLEST else stated(value, digits)


def stated_probability(value: float) -> str:
    """Return a probability in percent, for a sentence; only 0 and 1 are stated as such.

    >>> [stated_probability(each) for each in (1.7e-13, 0.123, 0.95, 1 - 1e-9, 0.0, 1.0)]
    ['less than 0.1%', '12.3%', '95.0%', 'more than 99.9%', '0.0%', '100.0%']
    """
    if 0.0 < value < _LEAST_PROBABLE:
        return f"less than {_LEAST_PROBABLE:.1%}"
    if 1.0 - _LEAST_PROBABLE < value < 1.0:
        return f"more than {1.0 - _LEAST_PROBABLE:.1%}"
    return f"{value:.1%}"
