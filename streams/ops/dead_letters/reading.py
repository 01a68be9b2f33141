"""Reads the topic `dead-letters` from its beginning to its end.

Letters may be many, so a look keeps no bytes of their records; `streams.ops.dead_letters.originals`
has those.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from schemas.catalogue import DEAD_LETTERS
from streams.kafka.records import all_records
from streams.kafka.settings import KafkaSettings
from streams.kafka.source import KafkaSource
from streams.model.errors import EventError
from streams.model.events import DeadLetter
from streams.ops.dead_letters.place import EventPlace
from streams.wire.dead_letters import decode_dead_letter

Record = tuple[str, int, int]
"""Topic, partition and offset."""


@dataclass(frozen=True, slots=True)
class FoundLetter:
    """A dead letter without the bytes of its record.

    Attributes:
        letter: Its `value` is None.
        written_at_ms: When it was written, in milliseconds since the epoch.
        n_bytes: Size of the record's value; None when it has none.
    """

    letter: DeadLetter
    written_at_ms: int
    n_bytes: int | None

    @property
    def place(self) -> EventPlace:
        """Place at which the event was read."""
        return EventPlace.of(self.letter)


@dataclass(frozen=True, slots=True)
class Selection:
    """Which letters are meant; None is any.

    Attributes:
        code: Stable name of what is wrong.
        topic: Topic of the event, with or without the topic prefix.
        since_ms: Oldest time of writing, in milliseconds since the epoch.
    """

    code: str | None = None
    topic: str | None = None
    since_ms: int | None = None

    def has(self, found: FoundLetter, topic_prefix: str = "") -> bool:
        """Return whether a letter is meant."""
        return (
            (self.code is None or found.letter.code == self.code)
            and (
                self.topic is None or found.letter.topic in {self.topic, topic_prefix + self.topic}
            )
            and (self.since_ms is None or found.written_at_ms >= self.since_ms)
        )


def find_letters(settings: KafkaSettings, selection: Selection) -> list[FoundLetter]:
    """Return the letters that are meant, newest first, each place once.

    A letter may be written twice when a worker ends in between; the later one stands.

    Raises:
        DependencyError: Kafka does not answer, or does not have the topic.
    """
    newest: dict[EventPlace, FoundLetter] = {}
    for letter, written_at_ms in letters(settings):
        held = None if letter.value is None else len(letter.value)
        n_bytes = held if letter.value_bytes is None else letter.value_bytes
        found = FoundLetter(replace(letter, value=None), written_at_ms, n_bytes)
        if selection.has(found, settings.topic_prefix):
            newest[found.place] = found
    return sorted(newest.values(), key=lambda found: (-found.written_at_ms, found.place))


def letters(settings: KafkaSettings) -> Iterator[tuple[DeadLetter, int]]:
    """Yield every letter, and when it was written, in milliseconds since the epoch.

    Raises:
        DependencyError: Kafka does not answer, or does not have the topic.
    """
    for _, record in all_records(KafkaSource(settings), DEAD_LETTERS.name):
        try:
            letter = decode_dead_letter(record.value)
        except EventError:
            continue  # not a dead letter: written by another program
        yield letter, record.timestamp
