"""Ids that stand for no unit: what programs send when they do not know who asks.

A thousand devices with the zeroed advertising id would be one unit with a thousand times the events
of any other, and all of them would see one variant.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from pydantic import Field, StringConstraints

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
    "[object Object]",
    "00000000-0000-0000-0000-000000000000",
    "00000000000000000000000000000000",
)
"""Texts that languages print for "no value", defaults of forms, and the advertising id of a device
whose owner does not allow tracking, with and without hyphens."""

IgnoredUnits = Annotated[
    tuple[Annotated[str, StringConstraints(max_length=MAX_UNIT_ID)], ...],
    Field(max_length=MAX_IGNORED_UNITS, strict=False),
]


def comparable(unit_id: str) -> str:
    """Return an id as it is compared with the ignored ones: without blanks around it or capitals.

    >>> comparable(" NULL ")
    'null'
    """
    return unit_id.strip().casefold()


def comparable_all(unit_ids: Iterable[str]) -> frozenset[str]:
    """Return ids as a set that `comparable` ids are looked up in."""
    return frozenset(map(comparable, unit_ids))
