"""Codec of `decision`: a decision about an experiment, with its evidence."""

from __future__ import annotations

from schemas.catalogue import STATE_BYTES
from schemas.codec import Codec
from streams.model.events import Decision
from streams.model.ids import experiment_id, experiment_number
from streams.wire.records import (
    LONG_LIMIT,
    SINGLE_OBJECT,
    check_range,
    event_errors,
    json_object,
    json_text,
    read,
)


def encode_decision(decision: Decision, codec: Codec = SINGLE_OBJECT) -> bytes:
    """Return the record of a decision."""
    record = {
        "experiment_id": experiment_id(decision.experiment),
        "kind": decision.kind,
        "at_ms": decision.at_ms,
        "version": decision.version,
        "evidence": json_text(decision.evidence),
        "snapshot": decision.snapshot or None,
    }
    return codec.encode("decision", record)


def decode_decision(value: bytes | None, codec: Codec = SINGLE_OBJECT) -> Decision:
    """Return the decision in a Kafka record.

    Raises:
        EventError: the record cannot be read, or a field is invalid.
    """
    record = read("decision", value, codec, STATE_BYTES)
    with event_errors():
        return Decision(
            experiment=experiment_number(record["experiment_id"]),
            kind=record["kind"],
            at_ms=check_range(record["at_ms"], 0, LONG_LIMIT, "at_ms"),
            version=record["version"],
            evidence=json_object(record["evidence"], "evidence"),
            snapshot=record["snapshot"] or b"",
        )
