"""The records that dead letters are of: from a letter, or from their topic by their place."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256

from streams.kafka.records import LogError, StoredRecord
from streams.kafka.settings import KafkaSettings
from streams.kafka.source import KafkaSource
from streams.model.errors import InputError
from streams.model.events import DeadLetter
from streams.ops.dead_letters.reading import FoundLetter, Record, letters


@dataclass(frozen=True, slots=True)
class Original:
    """Key and value of a record, unchanged."""

    key: bytes | None
    value: bytes


Originals = Mapping[Record, Original | InputError]
"""The records that can be had, and why the others cannot."""

ReadPlace = Callable[[Record], StoredRecord | None]
"""Returns what a topic holds at a place; None when it is no longer there."""


def originals_of(settings: KafkaSettings, found: Collection[FoundLetter]) -> Originals:
    """Return the records of some letters.

    Raises:
        DependencyError: Kafka does not answer, or does not have the topic.
    """
    wanted = {each.place.record: each.letter for each in found}
    held: dict[Record, DeadLetter] = {}
    for letter, _ in letters(settings):
        record = letter.topic, letter.partition, letter.offset
        if record in wanted and letter.value is not None:
            held[record] = letter
    source = KafkaSource(settings, prefix="")  # the name in a letter is the full one
    return {
        record: original_of(held.get(record, letter), lambda place: _stored(source, place))
        for record, letter in wanted.items()
    }


def original_of(letter: DeadLetter, read: ReadPlace) -> Original | InputError:
    """Return the record that a letter is of, from the letter if it holds all of it.

    Args:
        letter: The letter, with what it holds of the value.
        read: Reads the record from its topic.
    """
    if letter.is_whole and letter.value is not None:
        return Original(letter.key, letter.value)
    if letter.value_bytes is None:
        return _refusal("NOTHING_TO_RESEND", "its record has no value", letter)
    stored = read((letter.topic, letter.partition, letter.offset))
    if stored is None or stored.value is None:
        return _refusal(
            "ORIGINAL_GONE",
            f"the letter holds {len(letter.value or b'')} of {letter.value_bytes} bytes, "
            "and the record itself is no longer in its topic",
            letter,
        )
    if sha256(stored.value).digest() != letter.value_sha256:
        return _refusal(
            "ORIGINAL_CHANGED",
            "its topic holds another record at this place, so the topic was made anew",
            letter,
        )
    return Original(stored.key, stored.value)


def _stored(source: KafkaSource, place: Record) -> StoredRecord | None:
    topic, partition, offset = place
    try:
        span = source.spans(topic).get(partition)
        if span is None or not span.begin <= offset < span.end:
            return None
        return next(_at(source, topic, partition, offset), None)
    except LogError:
        return None


def _at(source: KafkaSource, topic: str, partition: int, offset: int) -> Iterator[StoredRecord]:
    for records in source.read(topic, partition, offset, offset + 1):
        yield from (record for record in records if record.offset == offset)


def _refusal(code: str, message: str, letter: DeadLetter) -> InputError:
    place = f"{letter.topic}:{letter.partition}:{letter.offset}:{letter.index}"
    return InputError(code, message, place)


def single(letter: DeadLetter, index: int) -> DeadLetter:
    """Return a letter of one of its events alone."""
    return replace(letter, index=index, count=1, ranges=())
