"""Comparison of JSON values in three-valued logic: what is missing is neither equal nor unequal."""

from __future__ import annotations

import math
from typing import Any

MAX_NUMBER_CHARACTERS = 64
"""Characters of a text that is read as a number, at most."""

_NUMBERS = frozenset({int, float})
_OF_NUMBERS = frozenset("0123456789+-.eE")


def number_of(value: Any) -> float | None:
    """Return a value as a number; None if it is not a number.

    Truth values are 1 and 0, and a text is the decimal number that it spells.

    >>> number_of(True), number_of("3.5"), number_of("3,5"), number_of([3])
    (1.0, 3.5, None, None)
    """
    match value:
        case bool() | int() | float():
            return _finite(value)
        case str() if (
            value and len(value) <= MAX_NUMBER_CHARACTERS and _OF_NUMBERS.issuperset(value)
        ):
            try:
                return _finite(value)
            except ValueError:
                return None
        case _:
            return None


def _finite(value: float | str) -> float | None:
    try:
        number = float(value)
    except OverflowError:  # an integer beyond the floats
        return None
    return number if math.isfinite(number) else None


def is_same(left: Any, right: Any) -> bool:
    """Return whether two values have one type and are equal; whole and other numbers are one type.

    >>> is_same(1, 1.0), is_same(1, True), is_same([1, "a"], [1, "a"])
    (True, False, True)
    """
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_is_same_scalar, left, right))
    return _is_same_scalar(left, right)


def _is_same_scalar(left: Any, right: Any) -> bool:
    """Return the same for values that hold no others; those that do are alike nothing."""
    if isinstance(left, list | dict):
        return False
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, int | float):
        return isinstance(right, int | float) and left == right
    return type(left) is type(right) and bool(left == right)


def is_equal(left: Any, right: Any) -> bool:
    """Return whether two values are equal, where a text also equals the number that it spells.

    >>> is_equal("18", 18), is_equal("US", "us"), is_equal("", 0)
    (True, False, False)
    """
    if type(left) is type(right):
        return is_same(left, right)
    number = number_of(left)
    return number is not None and number == number_of(right)


def order(left: Any, right: Any) -> int | None:
    """Return -1, 0 or 1 as `left` is below, equal to or above `right`; None if they have no order.

    Two texts are ordered by their characters, everything else as numbers.

    >>> order(17, 18), order("9", "10"), order("9", 10), order("old", 18)
    (-1, 1, -1, None)
    """
    if type(left) in _NUMBERS and type(right) in _NUMBERS:  # most often, and each step costs
        return int(left > right) - int(left < right)
    if isinstance(left, str) and isinstance(right, str):
        return (left > right) - (left < right)
    first, second = number_of(left), number_of(right)
    if first is None or second is None:
        return None
    return (first > second) - (first < second)
