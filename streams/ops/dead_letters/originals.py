"""The records that dead letters are of: from a letter, or from their topic by their place.

The letters of one record share its bytes, which the first of them holds. A letter of an observation
in the wrong partition (`MISPLACED`) shares nothing: it holds that observation alone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256

from streams.kafka.records import LogError, StoredRecord
from streams.kafka.settings import KafkaSettings
from streams.kafka.source import KafkaSource
from streams.model.errors import InputError
from streams.model.events import DeadLetter
from streams.ops.dead_letters.place import EventPlace
from streams.ops.dead_letters.reading import FoundLetter, Record, letters
from streams.ops.dead_letters.targets import is_authentic
from streams.wire.homes import MISPLACED


@dataclass(frozen=True, slots=True)
class Original:
    """Key and value of a record, unchanged; or of an observation that a letter holds alone."""

    key: bytes | None
    value: bytes


Originals = Mapping[EventPlace, Original | InputError]
"""Content to send again for each letter, by its place; or the reason that it is missing."""

ReadPlace = Callable[[Record], StoredRecord | None]
"""Returns what a topic holds at a place; None when it is no longer there."""


def originals_of(settings: KafkaSettings, found: Collection[FoundLetter]) -> Originals:
    """Return the records of some letters.

    Raises:
        DependencyError: Kafka does not answer, or does not have the topic.
    """
    source = KafkaSource(settings, prefix="")  # the name in a letter is the full one
    holders = holders_of(found, (letter for letter, _ in letters(settings)))
    return {
        place: original_of(
            letter,
            lambda place: _stored(source, place),
            is_authentic=is_authentic(letter.topic, settings.topic_prefix),
        )
        for place, letter in holders.items()
    }


def holders_of(
    found: Collection[FoundLetter], written: Iterable[DeadLetter]
) -> Mapping[EventPlace, DeadLetter]:
    """Return the letter that holds the bytes for each of some letters, by the place of these.

    It is the letter as it was found if none holds them.

    Args:
        found: Letters without their bytes.
        written: All letters, as they were written.
    """
    wanted = {_holder(each.letter) for each in found}
    held = {
        _holder(letter): letter
        for letter in written
        if letter.value is not None and _holder(letter) in wanted
    }
    return {each.place: held.get(_holder(each.letter), each.letter) for each in found}


def _holder(letter: DeadLetter) -> EventPlace | Record:
    """Return what the letters have in common that share bytes."""
    place = EventPlace.of(letter)
    return place if letter.code == MISPLACED else place.record


def original_of(
    letter: DeadLetter, read: ReadPlace, *, is_authentic: bool = True
) -> Original | InputError:
    """Return the record that a letter is of, from the letter if it holds all of it.

    Args:
        letter: The letter, with what it holds of the value.
        read: Reads the record from its topic.
        is_authentic: Whether the letter is enough; else its topic must have the same record.
    """
    if is_authentic and letter.is_whole and letter.value is not None:
        return Original(letter.key, letter.value)
    if letter.value_bytes is None and letter.value is None:
        return _refusal("NOTHING_TO_RESEND", "its record has no value", letter)
    stored = read((letter.topic, letter.partition, letter.offset))
    if stored is None or stored.value is None:
        return _refusal(
            "ORIGINAL_GONE",
            f"the letter holds {len(letter.value or b'')} of {letter.value_bytes} bytes, "
            "and the record itself is no longer in its topic"
            if is_authentic
            else "the record is no longer in its topic, and a letter alone does not prove it",
            letter,
        )
    digest = letter.value_sha256 or sha256(letter.value or b"").digest()
    if sha256(stored.value).digest() != digest:
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
