"""Codec of `observation` and `observation_batch`, and of JSON, distinguished by the first byte."""

from __future__ import annotations

from schemas.codec import Codec, Record
from streams.model.errors import EventError, InvalidParameterError
from streams.model.events import Observation, ObservationBatch
from streams.wire.batch_tags import BLANK_TAG
from streams.wire.json_observations import JSON_FIRST_BYTES, decode_json_observations
from streams.wire.observation_fields import at, check_count, check_observation
from streams.wire.records import (
    LONG_LIMIT,
    SINGLE_OBJECT,
    check_range,
    check_size,
    event_error,
    incarnation,
    incarnation_text,
)


def decode_observations(value: bytes | None, codec: Codec = SINGLE_OBJECT) -> ObservationBatch:
    """Return the observations of a Kafka record in any of the encodings.

    An invalid member of a batch or list is replaced by its error.

    Raises:
        EventError: no part of the record can be used (`UNDECODABLE_RECORD`, `UNKNOWN_SCHEMA`,
            `UNEXPECTED_SCHEMA`, `TOO_MANY_OBSERVATIONS`, `INVALID_JSON`, `RECORD_TOO_LARGE`), or it
            is a single bad observation.
    """
    try:  # not by `event_errors`, which costs as much as the rest
        check_size(value)
        if value and value[0] in JSON_FIRST_BYTES:
            return decode_json_observations(value)
        name, record = codec.decode(value)
        if name == "observation":
            return ObservationBatch((_observation(record),))
        if name == "observation_batch":
            return _batch(record)
    except Exception as error:
        raise event_error(error) from error
    raise EventError(
        "UNEXPECTED_SCHEMA", f"schema == {name}, must be observation or observation_batch"
    )


def encode_observation(observation: Observation, codec: Codec = SINGLE_OBJECT) -> bytes:
    """Return the record of one observation, as a pipeline publishes it.

    Raises:
        EventError: a field is outside its bounds.
    """
    return codec.encode("observation", _fields(observation))


def encode_observation_batch(batch: ObservationBatch, codec: Codec = SINGLE_OBJECT) -> bytes:
    """Return the record of a batch of valid observations; one with a sequence must be sealed.

    Raises:
        EventError: a field is outside its bounds, or there are too many observations.
        InvalidParameterError: an observation is an error, or of incarnation and sequence only one
            is given.
    """
    check_count(len(batch.observations))
    if (batch.incarnation is None) != (batch.sequence is None):
        raise InvalidParameterError("sequence", batch.sequence, "given with an incarnation")
    rows = []
    for observation in batch.observations:
        if isinstance(observation, EventError):
            raise InvalidParameterError("observations", observation, "an observation")
        rows.append(_fields(observation))
    sender = None if batch.incarnation is None else incarnation_text(batch.incarnation)
    return codec.encode(
        "observation_batch",
        {
            "incarnation": sender,
            "sequence": batch.sequence,
            "observations": rows,
            "tag": b"" if sender is None else BLANK_TAG,
        },
    )


def _observation(record: Record) -> Observation:
    return check_observation(
        Observation(
            record["assignment_id"],
            record["metric"],
            record["value_micros"],
            record["event_id"],
            record["observed_at_ms"],
        )
    )


def _member(index: int, record: Record) -> Observation | EventError:
    try:
        return _observation(record)
    except EventError as error:
        return at(index, error)


def _batch(record: Record) -> ObservationBatch:
    rows = record["observations"]
    check_count(len(rows))
    observations = [_member(index, row) for index, row in enumerate(rows)]
    sender, sequence = record["incarnation"], record["sequence"]
    if sender is None and sequence is None:
        return ObservationBatch(observations)
    if sender is None or sequence is None:
        raise EventError("MISSING_FIELD", "incarnation and sequence go together", "sequence")
    check_range(sequence, 0, LONG_LIMIT, "sequence")
    return ObservationBatch(observations, incarnation(sender), sequence)


def _fields(observation: Observation) -> Record:
    check_observation(observation)
    return {
        "assignment_id": observation.assignment_id,
        "metric": observation.metric,
        "value_micros": observation.value,
        "event_id": observation.event_id,
        "observed_at_ms": observation.observed_at_ms,
    }
