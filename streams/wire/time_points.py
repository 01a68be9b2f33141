"""Codec of `time_point`: a point of the time series of an experiment, in Kafka and in Redis."""

from __future__ import annotations

from schemas.codec import Codec
from streams.experiments.time_points import TimePoint
from streams.model.ids import experiment_id, experiment_number
from streams.model.published import avro_record, from_avro
from streams.wire.records import SINGLE_OBJECT, TIME_LIMIT_MS, check_range, event_errors, read


def encode_time_point(point: TimePoint, codec: Codec = SINGLE_OBJECT) -> bytes:
    """Return the record of a point."""
    record = avro_record(point, exclude={"experiment"})
    record["experiment_id"] = experiment_id(point.experiment)
    return codec.encode("time_point", record)


def decode_time_point(value: bytes | None, codec: Codec = SINGLE_OBJECT) -> TimePoint:
    """Return the point in a Kafka record or a Redis value.

    Raises:
        EventError: the record cannot be read, or a field is invalid.
    """
    record = read("time_point", value, codec)
    with event_errors():
        record["experiment"] = experiment_number(record.pop("experiment_id"))
        check_range(record["at_ms"], 0, TIME_LIMIT_MS, "at_ms")
        return from_avro(TimePoint, record)


def time_point_key(experiment: int, slot: int) -> bytes:
    """Return the key of the record of a point."""
    return f"{experiment_id(experiment)}/{slot}".encode()
