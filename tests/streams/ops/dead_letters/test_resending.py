from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from streams.model.errors import InputError
from streams.model.events import (
    Command,
    CommandKind,
    DeadLetter,
    ImpressionBatch,
    ImpressionGroup,
    Observation,
    ObservationBatch,
)
from streams.model.ids import experiment_id
from streams.model.partitioning import partition_of
from streams.model.quantities import PROPENSITY_ONE
from streams.ops.dead_letters.place import EventPlace
from streams.ops.dead_letters.resending import resend_of, resends_of
from streams.tallies.cell import Cell, Source
from streams.wire.cells import encode_cell
from streams.wire.commands import encode_command
from streams.wire.homes import MISPLACED
from streams.wire.impressions import encode_impression_batch
from streams.wire.observations import (
    decode_observations,
    encode_observation,
    encode_observation_batch,
)

PREFIX, PARTITIONS = "eu-", 4
OBSERVATIONS = tuple(Observation(f"receipt {n}", "click", n, f"e{n}", 1_000 + n) for n in range(3))
BATCH = encode_observation_batch(ObservationBatch(OBSERVATIONS, incarnation=7, sequence=0))
LIST = (
    b'[{"assignmentId":"a","metric":"click","value":1},'
    b'{"assignmentId":"b","metric":"1","value":2},'
    b'{"assignmentId":"c","metric":"click","value":3}]'
)


def letter(topic: str = "observations", **changes: Any) -> DeadLetter:
    known = DeadLetter(
        PREFIX + topic, 3, 17, 0, 5_000, "FORGED_RECEIPT", "", "assignmentId", b"key", None
    )
    return replace(known, **changes)


def refusal(letter: DeadLetter, original: bytes | None) -> str:
    with pytest.raises(InputError) as caught:
        resend_of(letter, original, PREFIX, PARTITIONS)
    assert caught.value.path == str(EventPlace.of(letter))
    return caught.value.code


@pytest.mark.parametrize(
    ("original", "code"),
    [
        (encode_observation(OBSERVATIONS[0]), "FORGED_RECEIPT"),
        (b'{"assignmentId":"a","metric":"click","value":1}', "FORGED_RECEIPT"),
        (b'{"assignmentId":"a","metric":"1","value":1}', "INVALID_NAME"),
        (b"{", "INVALID_JSON"),
        (BATCH, "UNKNOWN_SCHEMA"),  # the registry has learned it since
    ],
)
def test_what_was_refused_as_a_whole_goes_again_as_it_was(original, code):
    resend = resend_of(letter(code=code), original, PREFIX, PARTITIONS)

    assert (resend.key, resend.value, resend.timestamp_ms) == (b"key", original, 5_000)


@pytest.mark.parametrize("path", ["sequence", "incarnation"])
def test_a_batch_refused_for_its_sequence_goes_again_whole(path):
    """Its sequence still shows whether it was counted; a single member would not."""
    refused = letter(code="SEQUENCE_WINDOW_PASSED", path=path)

    assert resend_of(refused, BATCH, PREFIX, PARTITIONS).value == BATCH


@pytest.mark.parametrize("index", range(3))
def test_of_a_batch_only_the_refused_observation_goes(index):
    resend = resend_of(letter(index=index), BATCH, PREFIX, PARTITIONS)

    assert decode_observations(resend.value).observations == (OBSERVATIONS[index],)
    assert decode_observations(resend.value).sequence is None
    assert resend.key == f"receipt {index}".encode()


def test_of_a_json_list_only_the_refused_observation_goes():
    """Those without an event id would count again."""
    resend = resend_of(letter(index=2), LIST, PREFIX, PARTITIONS)

    [observation] = decode_observations(resend.value).observations
    assert isinstance(observation, Observation)
    assert observation.assignment_id == "c"


def test_of_a_list_in_a_topic_of_observations_by_unit_only_the_refused_one_goes():
    """The place of the record that is sent again is another one, and so are its event ids."""
    listed = b'[{"userId":"a"},{"userId":"b"},{"userId":"c"}]'
    unknown = letter(code="UNKNOWN_UNIT", path="userId", index=1, count=2, ranges=((1, 2),))
    refused = replace(unknown, topic="clicks")

    resends, left = resends_of(refused, listed, PREFIX, PARTITIONS)

    assert [each.value for each in resends] == [b'{"userId":"b"}', b'{"userId":"c"}']
    assert not left
    assert refusal(replace(refused, index=9, ranges=()), listed) == "UNREADABLE_OBSERVATION"


@pytest.mark.parametrize(
    ("original", "code"),
    [
        (b'{"userId":"a"}', "UNKNOWN_UNIT"),
        (b"{", "INVALID_JSON"),
        (b"[" * 1_000 + b"]" * 1_000, "TOO_DEEP"),
        (b"[{},{}]", "TOO_MANY_OBSERVATIONS"),
    ],
)
def test_a_record_of_observations_by_unit_that_was_refused_whole_goes_again_whole(original, code):
    assert (
        resend_of(replace(letter(code=code), topic="clicks"), original, PREFIX, PARTITIONS).value
        == original
    )


def test_a_batch_of_one_goes_as_its_observation_past_the_sequence_that_was_taken():
    batch = encode_observation_batch(ObservationBatch(OBSERVATIONS[:1], 7, 0))

    assert resend_of(letter(), batch, PREFIX, PARTITIONS).value == encode_observation(
        OBSERVATIONS[0]
    )


def test_a_member_that_cannot_be_read_is_refused():
    bad = letter(index=1, code="INVALID_NAME", path="[1].metric")

    assert refusal(bad, LIST) == "UNREADABLE_OBSERVATION"
    assert refusal(letter(index=9), LIST) == "UNREADABLE_OBSERVATION"


def test_a_letter_without_bytes_is_refused():
    assert refusal(letter(code="RETENTION_GAP", path=""), None) == "NOTHING_TO_RESEND"


def test_impressions_whose_batch_was_counted_are_refused_and_unreadable_ones_go():
    group = ImpressionGroup(1, False, [0], [PROPENSITY_ONE], [1], [1_000], [5])
    batch = encode_impression_batch(ImpressionBatch(7, 3, 0, [group]))
    full = letter("impressions", code="DEDUPLICATION_WINDOW_FULL", path="")

    assert refusal(full, batch) == "BATCH_ALREADY_COUNTED"
    assert resend_of(full, batch[:-1], PREFIX, PARTITIONS).value == batch[:-1]
    unknown = letter("impressions", code="UNKNOWN_SCHEMA", path="")
    assert resend_of(unknown, batch, PREFIX, PARTITIONS).value == batch


def test_commands_go_as_they_were_and_no_time_is_made_up():
    resend = resend_of(letter("commands", timestamp_ms=-1), b"any", PREFIX, PARTITIONS)

    assert (resend.value, resend.timestamp_ms) == (b"any", None)


def test_a_misplaced_record_goes_to_its_home_partition():
    command = encode_command(Command("0" * 32, 7, CommandKind.START, 1, {}))
    cell = encode_cell(Cell(7, Source.IMPRESSIONS, 3, 9, 1, 2, 0, {}))
    observation = encode_observation(OBSERVATIONS[0])
    place = f"{experiment_id(7)}/impressions/3".encode()

    def resent(topic: str, value: bytes, key: bytes | None) -> tuple[int, bytes | None, bytes]:
        misplaced = letter(topic, partition=1, code=MISPLACED, key=key)
        resend = resend_of(misplaced, value, PREFIX, PARTITIONS)
        return resend.partition, resend.key, resend.value

    home, name = 3, experiment_id(7).encode()  # murmur2 of the id mod 4
    assert resent("commands", command, b"wrong") == (home, name, command)
    assert resent("tallies", cell, place) == (home, place, cell)
    assert resent("g2-tallies", cell, place) == (home, place, cell)
    assert resent("observations", observation, b"kafka") == (
        partition_of(b"kafka", PARTITIONS),
        b"kafka",
        observation,
    )
    assert refusal(letter("commands", code=MISPLACED), b"noise") == "UNREADABLE_RECORD"


def test_any_other_record_goes_to_the_partition_it_was_read_from():
    assert resend_of(letter("commands"), b"any", PREFIX, PARTITIONS).partition == 3
    assert resend_of(letter(index=1), BATCH, PREFIX, PARTITIONS).partition == 3


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "a:1",
        "a:1:2:3:4",
        "a:1:x",
        "a:-1:2",
        ":1:2",
        "a:1:2:",
        "a:¹:2",
        "a:1:" + "9" * 5_000,
    ],
)
def test_what_is_no_place_is_refused(text):
    with pytest.raises(InputError) as caught:
        EventPlace.parse(text)

    assert caught.value.code == "INVALID_PLACE"


def test_a_place_is_its_text():
    assert str(EventPlace.parse("eu-observations:3:17:2")) == "eu-observations:3:17:2"
    assert EventPlace.parse("eu-observations:3:17") == EventPlace.of(letter())
