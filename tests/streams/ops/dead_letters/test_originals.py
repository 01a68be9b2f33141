from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from typing import Any

from streams.kafka.records import StoredRecord
from streams.model.events import DeadLetter, Observation
from streams.ops.dead_letters.originals import Original, holders_of, original_of, single
from streams.ops.dead_letters.place import EventPlace
from streams.ops.dead_letters.reading import FoundLetter, Record
from streams.ops.dead_letters.resending import resends_of
from streams.wire.homes import MISPLACED
from streams.wire.observations import decode_observations, encode_observation

LIST = (
    b'[{"assignmentId":"a","metric":"click","value":1},'
    b'{"assignmentId":"b","metric":"click","value":2},'
    b'{"assignmentId":"c","metric":"click","value":3},'
    b'{"assignmentId":"d","metric":"click","value":4}]'
)
FORGED = DeadLetter(
    topic="observations",
    partition=3,
    offset=17,
    index=1,
    timestamp_ms=5_000,
    code="FORGED_RECEIPT",
    message="",
    path="assignmentId",
    key=b"key",
    value=LIST,
    count=2,
    ranges=((1, 1), (3, 3)),
    key_bytes=3,
    value_bytes=len(LIST),
    value_sha256=sha256(LIST).digest(),
)
EXPIRED = replace(FORGED, code="EXPIRED_RECEIPT", index=4, count=1, ranges=(), value=None)


def misplaced(index: int, assignment: str) -> DeadLetter:
    """The letter of an observation that a worker may not forward: it holds that one alone."""
    value = encode_observation(Observation(assignment, "click", index, None, 1_000))
    return DeadLetter(
        "observations", 3, 17, index, 5_000, MISPLACED, "", "", assignment.encode(), value
    )


def found(letter: DeadLetter) -> FoundLetter:
    return FoundLetter(replace(letter, value=None), 9_000, None)


def originals(chosen: list[DeadLetter], written: list[DeadLetter]) -> dict[EventPlace, Any]:
    def unread(place: Record) -> StoredRecord | None:
        raise AssertionError(f"{place} is read, though a letter holds it")

    holders = holders_of([found(each) for each in chosen], written)
    return {place: original_of(letter, unread) for place, letter in holders.items()}


def test_each_misplaced_observation_of_a_record_is_sent_again_as_itself():
    first, second = misplaced(0, "a"), misplaced(2, "c")

    held = originals([first, second], [first, second])

    assert {place: (each.key, each.value) for place, each in held.items()} == {
        EventPlace.of(each): (each.key, each.value) for each in (first, second)
    }
    for letter, assignment in ((first, "a"), (second, "c")):
        original = held[EventPlace.of(letter)]
        [resend], refused = resends_of(
            replace(letter, value=None, key=original.key), original.value, "", 4
        )
        [observation] = decode_observations(resend.value).observations
        assert not refused
        assert isinstance(observation, Observation)
        assert (resend.key, observation.assignment_id) == (assignment.encode(), assignment)


def test_the_other_letters_of_a_record_share_what_the_first_of_them_holds():
    """In whichever order they were written, with those of misplaced observations between them."""
    letters = [misplaced(0, "a"), FORGED, EXPIRED, misplaced(2, "c")]
    whole = Original(b"key", LIST)

    for written in (letters, letters[::-1]):
        held = originals([FORGED, EXPIRED], written)
        assert held == {EventPlace.of(FORGED): whole, EventPlace.of(EXPIRED): whole}


def test_one_event_of_a_letter_has_the_record_of_its_letter():
    one = single(FORGED, 3)

    assert originals([one], [FORGED]) == {EventPlace.of(one): Original(b"key", LIST)}


def test_of_a_letter_that_was_written_twice_the_later_one_stands():
    truncated = replace(FORGED, value=LIST[:10])

    assert originals([FORGED], [truncated, FORGED]) == {
        EventPlace.of(FORGED): Original(b"key", LIST)
    }
