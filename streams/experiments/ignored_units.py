"""Ids that stand for no unit: what programs send when they do not know who asks.

A thousand devices with the zeroed advertising id would be one unit with a thousand times the events
of any other, and all of them would see one variant.
"""

from __future__ import annotations

from collections.abc import Iterable
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
"""Entry of a list that stands for all of `DEFAULT_IGNORED_UNITS`."""

_AROUND = " \t\r\n\v\f\"'`{}"
_OF_ZEROS = "0-:."
_ZEROED = "00"

IgnoredUnits = Annotated[
    tuple[Annotated[str, StringConstraints(max_length=MAX_UNIT_ID)], ...],
    JsonList(max_length=MAX_IGNORED_UNITS),
]


def comparable(unit_id: str) -> str:
    """Return an id as it is compared with the ignored ones.

    Blanks, quotes and braces around it make no difference, nor do capitals; ids of several
    zeros are one, whatever stands between the zeros.

    >>> comparable(" NULL "), comparable("'null'"), comparable("0")
    ('null', 'null', '0')
    >>> comparable("{00000000-0000-0000-0000-000000000000}") == comparable("00:00:00:00:00:00")
    True
    """
    text = unit_id.strip(_AROUND).casefold()
    if text[:1] == "0" and len(text) > 1 and not text.strip(_OF_ZEROS):
        return _ZEROED
    return text


def comparable_all(unit_ids: Iterable[str]) -> frozenset[str]:
    """Return ids as a set that `comparable` ids are looked up in, with those of `DEFAULTS`."""
    found = set(unit_ids)
    if DEFAULTS in found:
        found = (found - {DEFAULTS}).union(DEFAULT_IGNORED_UNITS)
    return frozenset(map(comparable, found))
