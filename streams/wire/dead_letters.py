"""Dead letters: events that could not be used, with their place and bytes."""

from __future__ import annotations

from dataclasses import asdict

from schemas.codec import Codec
from streams.domain.events import DeadLetter
from streams.wire.records import SINGLE_OBJECT, read


def encode_dead_letter(letter: DeadLetter, codec: Codec = SINGLE_OBJECT) -> bytes:
    """Return the record of a dead letter."""
    return codec.encode("dead_letter", asdict(letter))


def decode_dead_letter(value: bytes | None, codec: Codec = SINGLE_OBJECT) -> DeadLetter:
    """Return the dead letter in a Kafka record; its `value` is the original record, unchanged.

    Raises:
        EventError: it cannot be read.
    """
    return DeadLetter(**read("dead_letter", value, codec))
