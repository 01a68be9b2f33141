"""Selection of the events of a dead letter that can be sent again without counting twice.

A record that was refused as a whole is sent again unchanged. Of a batch that was partly counted,
only the refused observation is sent, as a separate record: the whole batch would be skipped because
of its sequence number or, without one, would count its other observations twice where they have no
event id.

It goes to the same partition, since every partition remembers its own events, and with the time of
the original record, so that attribution decides as it would have. Only a record that was refused
for being in the wrong partition (`MISPLACED`) goes to another one, that of its experiment or
assignment.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice
from typing import Any

import orjson

from schemas.catalogue import COMMANDS, IMPRESSIONS, OBSERVATIONS
from schemas.codec import Codec
from streams.model.errors import EventError, InputError
from streams.model.events import DeadLetter, ObservationBatch
from streams.model.ids import experiment_id
from streams.model.partitioning import SOLE_PARTITION, partition_of
from streams.ops.dead_letters.place import EventPlace
from streams.ops.unit_observations import decoded
from streams.wire.cells import decode_cell
from streams.wire.commands import decode_command
from streams.wire.homes import MISPLACED, home_of
from streams.wire.impressions import decode_impression_batch
from streams.wire.observation_fields import MAX_OBSERVATIONS
from streams.wire.observations import decode_observations, encode_observation
from streams.wire.records import SINGLE_OBJECT

RESENT_FROM = "resent-from"
"""Header of what is sent again; its value is the place of the letter."""

# Codes and paths of what condemns a record before the first of its events is looked at.
_OF_RECORDS = frozenset(
    {
        "UNDECODABLE_RECORD",
        "UNKNOWN_SCHEMA",
        "UNEXPECTED_SCHEMA",
        "INVALID_JSON",
        "TOO_MANY_OBSERVATIONS",
        "UNEQUAL_COLUMNS",
        "RECORD_TOO_LARGE",
        "EMPTY_RECORD",
    }
)
_PATHS_OF_BATCHES = frozenset({"incarnation", "sequence"})


@dataclass(frozen=True, slots=True)
class Resend:
    """A record to be sent again.

    Attributes:
        place: The letter it is sent for.
        key, value: What to send to the topic of `place`.
        timestamp_ms: Time of the original record, in milliseconds since the epoch; None when it
            had none.
        partition: Partition to send it to.
    """

    place: EventPlace
    key: bytes | None
    value: bytes
    timestamp_ms: int | None
    partition: int


def resends_of(
    letter: DeadLetter,
    original: bytes | None,
    topic_prefix: str,
    partitions: int,
    codec: Codec = SINGLE_OBJECT,
) -> tuple[list[Resend], list[InputError]]:
    """Return what may be sent again for each event of `letter`, and why others may not.

    Args:
        letter, original, topic_prefix, partitions, codec: As in `resend_of`.
    """
    resends: list[Resend] = []
    refused: dict[str, tuple[InputError, int]] = {}
    for index in islice(letter.indexes, MAX_OBSERVATIONS):
        try:
            resend = resend_of(
                replace(letter, index=index, count=1, ranges=()),
                original,
                topic_prefix,
                partitions,
                codec,
            )
        except InputError as error:
            first, count = refused.get(error.code, (error, 0))
            refused[error.code] = first, count + 1
            continue
        if resend.value == original:
            return [resend], []
        resends.append(resend)
    return resends, [
        first
        if count == 1
        else InputError(code, f"{count} events, first: {first.message}", first.path)
        for code, (first, count) in refused.items()
    ]


def resend_of(
    letter: DeadLetter,
    original: bytes | None,
    topic_prefix: str,
    partitions: int,
    codec: Codec = SINGLE_OBJECT,
) -> Resend:
    """Return what may be sent again for the first event of `letter`.

    Args:
        letter: The letter; its own `value` is not looked at.
        original: The value of its record; None when no letter holds it.
        topic_prefix: Prefix of the installation's topics.
        partitions: Number of partitions of each of them.
        codec: How records are framed.

    Raises:
        InputError: there are no bytes (`NOTHING_TO_RESEND`), the rest of its batch of impressions
            was counted (`BATCH_ALREADY_COUNTED`), its observation cannot be read out of its
            batch (`UNREADABLE_OBSERVATION`), or its home partition is unknown, since it cannot be
            read (`UNREADABLE_RECORD`).
    """
    place = EventPlace.of(letter)
    if original is None:
        raise InputError("NOTHING_TO_RESEND", "no letter holds the bytes of its record", str(place))
    timestamp_ms = letter.timestamp_ms if letter.timestamp_ms >= 0 else None
    whole = Resend(place, letter.key, original, timestamp_ms, place.partition)
    if letter.code in _OF_RECORDS or letter.path in _PATHS_OF_BATCHES:
        return whole
    topic = letter.topic.removeprefix(topic_prefix)
    if letter.code == MISPLACED:
        return _at_home(topic, whole, partitions, codec)
    match topic:
        case IMPRESSIONS.name:
            _check_was_refused_whole(place, original, codec)
            return whole
        case OBSERVATIONS.name:
            return _observation(letter, whole, codec)
        case _:  # commands and cells are records of one event, with their own id or offset
            return _by_unit(letter, whole)


def _at_home(topic: str, whole: Resend, partitions: int, codec: Codec) -> Resend:
    """Return a record as it is sent to the partition that it belongs into."""
    try:
        match topic:
            case OBSERVATIONS.name:  # the letter holds it alone, with its assignment as the key
                return replace(whole, partition=partition_of(whole.key or b"", partitions))
            case COMMANDS.name:
                number = decode_command(whole.value, SOLE_PARTITION, codec).experiment
                key: bytes | None = experiment_id(number).encode()
            case _:
                number, key = decode_cell(whole.value, codec).experiment, whole.key
    except EventError as error:
        raise InputError(
            "UNREADABLE_RECORD", f"its home partition is unknown: {error}", str(whole.place)
        ) from error
    return replace(whole, key=key, partition=home_of(number, partitions))


def _check_was_refused_whole(place: EventPlace, original: bytes, codec: Codec) -> None:
    try:
        decode_impression_batch(original, codec)
    except EventError:
        return  # it could not be read then either
    raise InputError(
        "BATCH_ALREADY_COUNTED",
        "its batch was counted but for this group, and would be passed by for its sequence",
        str(place),
    )


@lru_cache(maxsize=4)
def _members_by_unit(value: bytes) -> list[Any] | None:
    try:
        found = decoded(value)
    except EventError:
        return None
    return found if isinstance(found, list) else None


def _by_unit(letter: DeadLetter, whole: Resend) -> Resend:
    """Return a member of a list: the event ids of the others would be those of another place."""
    members = _members_by_unit(whole.value)
    if members is None:
        return whole
    if letter.index >= len(members):
        raise _unreadable("the batch has no such member", whole.place)
    return replace(whole, value=orjson.dumps(members[letter.index]))


@lru_cache(maxsize=4)  # each event of a letter asks for its record
def _decoded(value: bytes, codec: Codec) -> ObservationBatch:
    return decode_observations(value, codec)


def _observation(letter: DeadLetter, whole: Resend, codec: Codec) -> Resend:
    try:
        batch = _decoded(whole.value, codec)
    except EventError:
        return whole  # a single observation, refused for one of its fields
    if len(batch.observations) == 1 and batch.sequence is None:
        return whole
    observation = (
        batch.observations[letter.index] if letter.index < len(batch.observations) else None
    )
    if observation is None or isinstance(observation, EventError):
        raise _unreadable(str(observation or "the batch has no such member"), whole.place)
    return Resend(
        whole.place,
        observation.assignment_id.encode(),
        encode_observation(observation, codec),
        whole.timestamp_ms,
        whole.partition,
    )


def _unreadable(why: str, place: EventPlace) -> InputError:
    return InputError(
        "UNREADABLE_OBSERVATION", f"its observation cannot be read: {why}", str(place)
    )
