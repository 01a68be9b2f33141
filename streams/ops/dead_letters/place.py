"""Place at which an event was read, which identifies its dead letter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from streams.model.errors import InputError, quoted
from streams.model.events import DeadLetter

_NUMBERS = 3
_DIGITS = len(str(2**63 - 1))


@dataclass(frozen=True, slots=True, order=True)
class EventPlace:
    """The place of an event, `topic:partition:offset:index`.

    Attributes:
        topic: With the topic prefix.
        partition, offset: Of its record.
        index: Place within its record, from 0.
    """

    topic: str
    partition: int
    offset: int
    index: int = 0

    @classmethod
    def of(cls, letter: DeadLetter) -> Self:
        """Return the place of the event of a letter."""
        return cls(letter.topic, letter.partition, letter.offset, letter.index)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the place in `topic:partition:offset[:index]`; the index is 0 unless given.

        Raises:
            InputError: the text is no place (`INVALID_PLACE`).

        >>> str(EventPlace.parse("observations:3:17"))
        'observations:3:17:0'
        """
        # No topic has a colon in its name.
        topic, *numbers = text.split(":")
        if len(numbers) == _NUMBERS - 1:
            numbers.append("0")
        if not topic or len(numbers) != _NUMBERS or not all(map(_is_number, numbers)):
            raise InputError(
                "INVALID_PLACE",
                f"{quoted(text)} is no place like observations:3:17 or observations:3:17:2",
                "PLACE",
            )
        return cls(topic, *map(int, numbers))

    @property
    def record(self) -> tuple[str, int, int]:
        """Topic, partition and offset: what the letters of one record share."""
        return self.topic, self.partition, self.offset

    def __str__(self) -> str:
        """Return `topic:partition:offset:index`."""
        return f"{self.topic}:{self.partition}:{self.offset}:{self.index}"


def _is_number(text: str) -> bool:
    """Return whether a text is a number that Kafka can have."""
    return text.isascii() and text.isdecimal() and len(text) <= _DIGITS
