"""Codec of `generation_change`: a change of a generation.

Always single objects, so a reader needs no schema registry.
"""

from __future__ import annotations

from dataclasses import asdict

from streams.model.generations import ChangeKind, GenerationChange
from streams.wire.records import (
    SINGLE_OBJECT,
    TIME_LIMIT_MS,
    check_range,
    event_errors,
    member,
    read,
)

_LIMIT = 1_000_001  # as the setting


def encode_generation_change(change: GenerationChange) -> bytes:
    """Return the record of a change."""
    return SINGLE_OBJECT.encode("generation_change", asdict(change))


def decode_generation_change(value: bytes | None) -> GenerationChange:
    """Return the change in a Kafka record.

    Raises:
        EventError: the record cannot be read, or a field is invalid.
    """
    record = read("generation_change", value, SINGLE_OBJECT)
    with event_errors():
        return GenerationChange(
            generation=check_range(record["generation"], 1, _LIMIT, "generation"),
            kind=member(ChangeKind, record["kind"], "kind"),
            at_ms=check_range(record["at_ms"], 0, TIME_LIMIT_MS, "at_ms"),
        )
