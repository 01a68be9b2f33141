"""Dead letters of the refused parts of a record, of bounded size."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Protocol

from streams.fold.records import LogRecord
from streams.fold.refusals import Refusal
from streams.model.events import LETTER_KEY_BYTES, LETTER_VALUE_BYTES, DeadLetter


class PlacedRecord(LogRecord, Protocol):
    """Fields of a Kafka record that a dead letter holds."""

    @property
    def topic(self) -> str:
        """Its topic."""

    @property
    def partition(self) -> int:
        """Its partition."""

    @property
    def key(self) -> bytes | None:
        """Its key."""


def dead_letters(record: PlacedRecord, refusals: Sequence[Refusal]) -> list[DeadLetter]:
    """Return a letter for each refusal of a record; the first one has the bytes of the record."""
    key, value = record.key, record.value
    digest = None if value is None else sha256(value).digest()
    return [
        DeadLetter(
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            index=each.index,
            timestamp_ms=record.timestamp,
            code=each.error.code,
            message=each.error.message,
            path=each.error.path,
            key=None if key is None else key[:LETTER_KEY_BYTES],
            value=None if value is None or place else value[:LETTER_VALUE_BYTES],
            count=each.count,
            ranges=each.ranges,
            key_bytes=None if key is None else len(key),
            value_bytes=None if value is None else len(value),
            value_sha256=digest,
        )
        for place, each in enumerate(refusals)
    ]
