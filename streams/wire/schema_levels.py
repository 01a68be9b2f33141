"""Codec of `schema_levels`: the version of every schema that may be written.

Always single objects, so a reader needs no schema registry.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from streams.model.errors import EventError
from streams.model.schema_levels import MAX_LEVELS, MAX_NAME_CHARACTERS, LevelsChange
from streams.wire.records import (
    INT_LIMIT,
    SINGLE_OBJECT,
    TIME_LIMIT_MS,
    check_range,
    event_errors,
    read,
)


def encode_levels_change(change: LevelsChange) -> bytes:
    """Return the record of a change of levels."""
    return SINGLE_OBJECT.encode("schema_levels", asdict(change))


def decode_levels_change(value: bytes | None) -> LevelsChange:
    """Return the change of levels in a Kafka record.

    Raises:
        EventError: the record cannot be read, or a field is invalid.
    """
    record = read("schema_levels", value, SINGLE_OBJECT)
    with event_errors():
        versions: Mapping[str, int] = record["versions"]
        if len(versions) > MAX_LEVELS or any(len(name) > MAX_NAME_CHARACTERS for name in versions):
            raise EventError("OUT_OF_RANGE", f"more than {MAX_LEVELS} names", "versions")
        return LevelsChange(
            versions={
                name: check_range(version, 0, INT_LIMIT, "versions")
                for name, version in versions.items()
            },
            is_initial=record["is_initial"],
            at_ms=check_range(record["at_ms"], 0, TIME_LIMIT_MS, "at_ms"),
        )
