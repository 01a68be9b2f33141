"""Exact numbers: values in micro-units, propensities in 2**-32, weights in 2**-16.

A float is turned into an integer once, where it enters, and only integers are added. Integer
addition is associative and commutative, so any order, batching or replay gives the same bits.
"""

from __future__ import annotations

import math

from streams.model.errors import EventError, InvalidParameterError, quoted

MICRO = 1_000_000
"""Micro-units in one unit of a metric."""

VALUE_LIMIT = 10**9
"""Largest absolute value of one observation, in units of its metric."""

PROPENSITY_ONE = 1 << 32
"""Numerator of the propensity 1."""

ALLOCATION_TOTAL = 1 << 16
"""Sum of the integer weights of an allocation."""

PROPENSITY_PER_WEIGHT = PROPENSITY_ONE // ALLOCATION_TOTAL
"""Numerator of the propensity that an integer weight of 1 gives."""

METRIC_NAME_LIMIT = 64
"""Longest metric name, in characters."""

METRIC_NAME_PATTERN = rf"^[A-Za-z][A-Za-z0-9_.:\-]{{0,{METRIC_NAME_LIMIT - 1}}}$"


def to_micro(value: float) -> int:
    """Return `value` in micro-units, rounded half to even.

    Args:
        value: A finite number, at most `VALUE_LIMIT` in absolute value.

    Raises:
        EventError: it is NaN or infinite (`VALUE_NOT_FINITE`) or too large (`VALUE_OUT_OF_RANGE`).

    Examples:
        >>> to_micro(49.99)
        49990000
    """
    if -VALUE_LIMIT <= value <= VALUE_LIMIT:
        return value * MICRO if type(value) is int else round(value * MICRO)
    if not -math.inf < value < math.inf:
        raise EventError("VALUE_NOT_FINITE", f"value == {quoted(value)}, must be finite", "value")
    raise EventError(
        "VALUE_OUT_OF_RANGE", f"value == {quoted(value)}, must be within +-{VALUE_LIMIT}", "value"
    )


def to_propensity(probability: float) -> int:
    """Return the numerator over 2**32 of a probability in (0, 1], at least 1.

    Raises:
        InvalidParameterError: the probability is outside (0, 1].

    Examples:
        >>> to_propensity(0.5) == PROPENSITY_ONE // 2
        True
    """
    if not 0.0 < probability <= 1.0:
        raise InvalidParameterError("propensity", probability, "in (0, 1]")
    return max(1, round(probability * PROPENSITY_ONE))


def inverse_propensity(numerator: int) -> int:
    """Return 1 / propensity in micro-units, rounded half up, for a numerator over 2**32.

    >>> inverse_propensity(PROPENSITY_ONE // 4)
    4000000
    """
    return (MICRO * PROPENSITY_ONE + numerator // 2) // numerator
