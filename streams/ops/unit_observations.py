"""Observations by unit from a Kafka topic: each is posted to the API, which finds its assignment.

A record is posted again when it is read again, with the same event ids and times, so it counts
once. Its offset is committed when the API has taken it, and what it refused is a dead letter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from streams.model.errors import EventError
from streams.model.events import DeadLetter
from streams.wire.observation_fields import EVENT_ID_LIMIT, check_count

POSTED_TOGETHER = 100
"""Observations of one call: as many as an answer names the refused ones of."""

READ_TOGETHER = 500
"""Records that are read before their offsets are committed, at most."""

LETTER_VALUE_BYTES = 65_536


class Message(Protocol):
    """The methods of a `confluent_kafka.Message` that are used."""

    def topic(self) -> str | None:
        """Return the topic."""

    def partition(self) -> int | None:
        """Return the partition."""

    def offset(self) -> int | None:
        """Return the offset."""

    def timestamp(self) -> tuple[int, int]:
        """Return the kind of the timestamp, and it."""

    def key(self) -> bytes | None:
        """Return the key."""

    def value(self) -> bytes | None:
        """Return the value."""


@dataclass(frozen=True, slots=True)
class Refused:
    """An observation of a call that was refused.

    Attributes:
        index: Its place in the call.
        code, path, message: As of `EngineError`.
    """

    index: int
    code: str
    path: str
    message: str


Post = Callable[[Sequence[Mapping[str, Any]]], Sequence[Refused]]
"""Posts observations, and returns which of them were refused once the others are durable.

It raises where none was taken for a reason that passes."""


@dataclass(frozen=True, slots=True)
class _Member:
    message: Message
    index: int
    fields: Any


class UnitObservationResolver:
    """Posts the observations of records.

    Args:
        post: Posts them.
        refuse: Takes the dead letter of each that was refused.
    """

    def __init__(self, post: Post, refuse: Callable[[DeadLetter], None]) -> None:
        self._post = post
        self._refuse = refuse

    def resolve(self, messages: Sequence[Message]) -> int:
        """Post the observations of messages, and return how many were taken.

        All are taken or refused when it returns; what it raises is raised before some of them were,
        and then the messages are to be resolved again.
        """
        members: list[_Member] = []
        for message in messages:
            try:
                members += _members(message)
            except EventError as error:
                self._refuse(_letter(message, 0, error.code, error.path, error.message))
        taken = 0
        for start in range(0, len(members), POSTED_TOGETHER):
            some = members[start : start + POSTED_TOGETHER]
            refused = self._post([each.fields for each in some])
            for each in refused:
                member = some[each.index]
                letter = _letter(member.message, member.index, each.code, each.path, each.message)
                self._refuse(letter)
            taken += len(some) - len(refused)
        return taken


def _members(message: Message) -> list[_Member]:
    try:
        found = orjson.loads(message.value() or b"")
    except orjson.JSONDecodeError as error:
        raise EventError("INVALID_JSON", f"not JSON: {error}") from error
    members = found if isinstance(found, list) else [found]
    check_count(len(members))
    _, at_ms = message.timestamp()
    place = f"{message.topic()}:{message.partition()}:{message.offset()}"[-EVENT_ID_LIMIT + 6 :]
    return [
        _Member(message, index, _complete(each, f"{place}:{index}", at_ms))
        for index, each in enumerate(members)
    ]


def _complete(fields: Any, event_id: str, at_ms: int) -> Any:
    """Return an observation with an event id and a time, so that it counts once."""
    if not isinstance(fields, dict):
        return fields
    given = {name: value for name, value in fields.items() if value is not None}
    return {"eventId": event_id, **({"timestamp": at_ms} if at_ms > 0 else {}), **given}


def _letter(message: Message, index: int, code: str, path: str, text: str) -> DeadLetter:
    value, key = message.value(), message.key()
    return DeadLetter(
        topic=message.topic() or "",
        partition=message.partition() or 0,
        offset=message.offset() or 0,
        index=index,
        timestamp_ms=message.timestamp()[1],
        code=code,
        message=text,
        path=path,
        key=key,
        value=None if value is None else value[:LETTER_VALUE_BYTES],
        key_bytes=None if key is None else len(key),
        value_bytes=None if value is None else len(value),
    )
