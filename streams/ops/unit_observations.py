"""Observations by unit from a Kafka topic: each is posted to the API, which finds its assignment.

A record is posted again when it is read again, with the same event ids and times, so it counts
once. Its offset is committed when the API has taken it, and what it refused is a dead letter: one
for each record and code, as those of the workers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

import orjson

from streams.fold.dead_letters import dead_letters
from streams.fold.refusals import Refusal, by_code
from streams.model.errors import EventError
from streams.model.events import DeadLetter
from streams.wire.observation_fields import EVENT_ID_LIMIT, check_count

POSTED_TOGETHER = 100
"""Observations of one call: as many as an answer names the refused ones of."""

READ_TOGETHER = 500
"""Records that are read before their offsets are committed, at most."""


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
class RefusedObservation:
    """An observation of a call that was refused.

    Attributes:
        index: Its place in the call.
        code, path, message: As in `EngineError`.
    """

    index: int
    code: str
    path: str
    message: str


Post = Callable[[Sequence[Mapping[str, Any]]], Sequence[RefusedObservation]]
"""Posts observations, and returns which of them were refused once the others are durable.

It raises where none was taken for a reason that passes."""


@dataclass(frozen=True, slots=True)
class _Record:
    """A message as `PlacedRecord`."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None


@dataclass(frozen=True, slots=True)
class _Member:
    record: int
    index: int
    fields: Any


class UnitObservationResolver:
    """Posts the observations of records.

    Args:
        post: Posts them.
        refuse: Takes the dead letters of what was refused.
    """

    def __init__(self, post: Post, refuse: Callable[[DeadLetter], None]) -> None:
        self._post = post
        self._refuse = refuse

    def resolve(self, messages: Sequence[Message]) -> int:
        """Post the observations of messages, and return how many were taken.

        All are taken or refused when it returns; what it raises is raised before some of them were,
        and then the messages are to be resolved again. There are no dead letters before that.
        """
        records = [_record(message) for message in messages]
        refusals: list[list[Refusal]] = [[] for _ in records]
        members = _members(records, refusals)
        taken = 0
        while some := list(islice(members, POSTED_TOGETHER)):
            refused = self._post([each.fields for each in some])
            for each in refused:
                member = some[each.index]
                error = EventError(each.code, each.message, each.path)
                refusals[member.record].append(Refusal(member.index, error))
            taken += len(some) - len(refused)
        for record, found in zip(records, refusals, strict=True):
            found.sort(key=lambda each: each.index)
            for letter in dead_letters(record, by_code(found)) if found else ():
                self._refuse(letter)
        return taken


def decoded(text: bytes) -> Any:
    """Return JSON that can be encoded again, whatever it is.

    Raises:
        EventError: it is not JSON (`INVALID_JSON`), or nested too deeply to be encoded
            (`TOO_DEEP`): the decoder allows more than the encoder.
    """
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise EventError("INVALID_JSON", f"not JSON: {error}") from error
    try:
        orjson.dumps(found)
    except orjson.JSONEncodeError as error:
        raise EventError("TOO_DEEP", "nested too deeply") from error
    return found


def _members(records: Sequence[_Record], refusals: Sequence[list[Refusal]]) -> Iterator[_Member]:
    """Yield the observations of records, and note which records have none that can be posted."""
    for number, record in enumerate(records):
        try:
            found = decoded(record.value or b"")
            members = found if isinstance(found, list) else [found]
            check_count(len(members))
        except EventError as error:
            refusals[number].append(Refusal(0, error))
            continue
        place = f"{record.topic}:{record.partition}:{record.offset}"[-EVENT_ID_LIMIT + 6 :]
        for index, each in enumerate(members):
            yield _Member(number, index, _complete(each, f"{place}:{index}", record.timestamp))


def _complete(fields: Any, event_id: str, at_ms: int) -> Any:
    """Return an observation with an event id and a time, so that it counts once."""
    if not isinstance(fields, dict):
        return fields
    given = {name: value for name, value in fields.items() if value is not None}
    return {"eventId": event_id, **({"timestamp": at_ms} if at_ms > 0 else {}), **given}


def _record(message: Message) -> _Record:
    return _Record(
        message.topic() or "",
        message.partition() or 0,
        message.offset() or 0,
        message.timestamp()[1],
        message.key(),
        message.value(),
    )
