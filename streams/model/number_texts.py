"""Numbers in texts: query strings, options, settings and names have them in the notation of JSON.

`int` and `float` also read digit separators, spaces, digits of other scripts, `nan` and `infinity`,
and so does pydantic: `1_0` would be 10, and a bound would not hold of `nan`.
"""

from __future__ import annotations

import math
import re

_DIGITS = 19
"""Of a whole number, at most: those of 64 bits."""

_CHARACTERS = 64
"""Of any number, at most."""

_WHOLE = re.compile(rf"-?(?:0|[1-9][0-9]{{0,{_DIGITS - 1}}})", re.ASCII).fullmatch
_DECIMAL = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?", re.ASCII).fullmatch


def whole_number(text: str) -> int | None:
    """Return the integer that a text is in the notation of JSON; None if it is not one.

    Args:
        text: The text, with nothing around the number. One of more than 19 digits is not read.

    >>> whole_number("10"), whole_number("-3")
    (10, -3)
    >>> [whole_number(each) for each in ("1_0", " 10", "+10", "010", "0x10", "1e1", "10.0", "")]
    [None, None, None, None, None, None, None, None]
    """
    return int(text) if _WHOLE(text) else None


def decimal_number(text: str) -> float | None:
    """Return the number that a text is in the notation of JSON; None if it is not one.

    Args:
        text: The text, of at most 64 characters, with nothing around the number. One that no
            float holds is not read.

    >>> decimal_number("0.25"), decimal_number("1e-3"), decimal_number("10")
    (0.25, 0.001, 10.0)
    >>> [decimal_number(each) for each in ("nan", "infinity", "1_0.0", ".5", "5.", "1e999")]
    [None, None, None, None, None, None]
    """
    if len(text) > _CHARACTERS or not _DECIMAL(text):
        return None
    number = float(text)
    return number if math.isfinite(number) else None
