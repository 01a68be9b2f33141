"""Ignored ids: placeholders that programs send if they do not know the user.

A thousand devices with the zeroed advertising id would be one unit with a thousand times the events
of any other, and all of them would see one variant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated

from pydantic import StringConstraints

from streams.model.validation import JsonList

MAX_IGNORED_UNITS = 100
"""Ids of one experiment, at most: they are part of every snapshot of it."""

MAX_UNIT_ID = 256
"""Characters of the id of a unit, at most."""

DEFAULT_IGNORED_UNITS = (
    "",
    "null",
    "(null)",
    "<null>",
    "undefined",
    "none",
    "nil",
    "nan",
    "n/a",
    "0",
    "-1",
    "true",
    "false",
    "unknown",
    "anonymous",
    "anon",
    "guest",
    "not set",
    "(not set)",
    "not_set",
    "not_authenticated",
    "distinct_id",
    "distinctid",
    "[object Object]",
    "00000000-0000-0000-0000-000000000000",
    "00000000000000000000000000000000",
)
"""Texts that languages print for "no value", defaults of forms and of analytics, and the
advertising id of a device whose owner does not allow tracking."""

DEFAULTS = "$default"
"""Entry of a list that expands to `DEFAULT_IGNORED_UNITS`."""

_AROUND = " \t\r\n\v\f\"'`{}"
_OF_ZEROS = "0-:."
_ZEROED = "00"

IgnoredUnits = Annotated[
    tuple[Annotated[str, StringConstraints(max_length=MAX_UNIT_ID)], ...],
    JsonList(max_length=MAX_IGNORED_UNITS),
]


def comparable(unit_id: str) -> str:
    """Return the normalised form of an id for the comparison with ignored ones.

    Surrounding blanks, quotes and braces and the case are ignored; all ids of several zeros are
    equal, whatever separates the zeros.

    >>> comparable(" NULL "), comparable("'null'"), comparable("0")
    ('null', 'null', '0')
    >>> comparable("{00000000-0000-0000-0000-000000000000}") == comparable("00:00:00:00:00:00")
    True
    """
    return _without_separators(unit_id.strip(_AROUND).casefold())


def _without_separators(text: str) -> str:
    """Return a text, or `_ZEROED` for one of several zeros."""
    is_zeroed = text[:1] == "0" and len(text) > 1 and not text.strip(_OF_ZEROS)
    return _ZEROED if is_zeroed else text


def comparable_all(unit_ids: Iterable[str]) -> frozenset[str]:
    """Return ids as a set of `comparable` ids, with `DEFAULTS` expanded."""
    found = set(unit_ids)
    if DEFAULTS in found:
        found = (found - {DEFAULTS}).union(DEFAULT_IGNORED_UNITS)
    return frozenset(map(comparable, found))


def ignoring(unit_ids: Iterable[str]) -> Callable[[str], bool]:
    """Return the function that returns whether an id is an ignored one.

    Args:
        unit_ids: The ignored ids, as in `comparable_all`.
    """
    ignored = comparable_all(unit_ids)
    decisive = _decisive_endings(ignored)

    def ignores(unit_id: str) -> bool:
        if unit_id[-1:] in decisive:
            return False
        text = unit_id.strip(_AROUND).casefold()  # as `comparable`, with one call less
        return (_without_separators(text) if text[:1] == "0" else text) in ignored

    return ignores


def _decisive_endings(ignored: frozenset[str]) -> frozenset[str]:
    """Return the ASCII characters that no ignored id ends with, however it is written.

    Most ids end with one of these, and need not be normalised.

    Args:
        ignored: The ignored ids, as `comparable_all` returns them.
    """
    last = {text[-1:] for text in ignored}
    of_ascii = map(chr, range(128))
    return frozenset(
        each for each in of_ascii if each not in _AROUND + _OF_ZEROS and each.casefold() not in last
    )
