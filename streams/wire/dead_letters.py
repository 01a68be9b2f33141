"""Codec of `dead_letter`: events that could not be used, with their position and bytes."""

from __future__ import annotations

from itertools import chain

from schemas.catalogue import STATE_BYTES
from schemas.codec import Codec
from streams.model.events import DeadLetter
from streams.wire.records import SINGLE_OBJECT, event_errors, read


def encode_dead_letter(letter: DeadLetter, codec: Codec = SINGLE_OBJECT) -> bytes:
    """Return the record of a dead letter."""
    record = {
        "topic": letter.topic,
        "partition": letter.partition,
        "offset": letter.offset,
        "index": letter.index,
        "timestamp_ms": letter.timestamp_ms,
        "code": letter.code,
        "message": letter.message,
        "path": letter.path,
        "key": letter.key,
        "value": letter.value,
        "count": letter.count,
        "ranges": list(chain.from_iterable(letter.ranges)),
        "key_bytes": letter.key_bytes,
        "value_bytes": letter.value_bytes,
        "value_sha256": letter.value_sha256,
    }
    return codec.encode("dead_letter", record)


def decode_dead_letter(value: bytes | None, codec: Codec = SINGLE_OBJECT) -> DeadLetter:
    """Return the dead letter in a Kafka record.

    Raises:
        EventError: the record cannot be read.
    """
    record = read("dead_letter", value, codec, STATE_BYTES)
    with event_errors():
        ends = iter(record.pop("ranges"))
        return DeadLetter(**record, ranges=tuple(zip(ends, ends, strict=True)))
