"""Changes of generations. Always single objects: whoever reads them needs no schema registry."""

from __future__ import annotations

from dataclasses import asdict

from streams.domain.generations import ChangeKind, GenerationChange
from streams.wire.records import SINGLE_OBJECT, event_errors, member, read


def encode_generation_change(change: GenerationChange) -> bytes:
    """Return the record of a change."""
    return SINGLE_OBJECT.encode("generation_change", asdict(change))


def decode_generation_change(value: bytes | None) -> GenerationChange:
    """Return the change in a Kafka record.

    Raises:
        EventError: it cannot be read, or its kind is not known.
    """
    record = read("generation_change", value, SINGLE_OBJECT)
    with event_errors():
        return GenerationChange(
            generation=record["generation"],
            kind=member(ChangeKind, record["kind"], "kind"),
            at_ms=record["at_ms"],
        )
