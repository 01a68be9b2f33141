"""Commands, decisions and dead letters: records of a few plain fields."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.codec import Codec
from streams.model.errors import EventError
from streams.model.events import Command, CommandKind, DeadLetter, Decision
from streams.model.generations import ChangeKind, GenerationChange
from streams.model.ids import experiment_id
from streams.wire import (
    decode_command,
    decode_dead_letter,
    decode_decision,
    decode_observations,
    encode_command,
    encode_dead_letter,
    encode_decision,
)
from streams.wire.generations import decode_generation_change, encode_generation_change

numbers = st.integers(0, 2**64 - 1)
times = st.integers(0, 2**48 - 1)
objects = st.dictionaries(
    st.text(max_size=5),
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=5),
    max_size=4,
)


@given(
    command=st.builds(
        Command,
        command_id=st.from_regex(r"[0-9a-f]{32}", fullmatch=True),
        experiment=numbers,
        kind=st.sampled_from(CommandKind),
        issued_at_ms=times,
        payload=objects,
    )
)
def test_a_command_returns(command):
    assert decode_command(encode_command(command)) == command


@given(
    decision=st.builds(
        Decision,
        experiment=numbers,
        kind=st.text(max_size=9),
        at_ms=times,
        version=times,
        evidence=objects,
    )
)
def test_a_decision_returns(decision):
    assert decode_decision(encode_decision(decision)) == decision


@given(
    letter=st.builds(
        DeadLetter,
        topic=st.text(max_size=9),
        partition=st.integers(0, 2**31 - 1),
        offset=st.integers(0, 2**63 - 1),
        index=st.integers(0, 2**31 - 1),
        timestamp_ms=st.integers(-1, 2**63 - 1),
        code=st.text(max_size=9),
        message=st.text(max_size=9),
        path=st.text(max_size=9),
        key=st.none() | st.binary(),
        value=st.none() | st.binary(),
    )
)
def test_a_dead_letter_returns_with_its_bytes_unchanged(letter):
    assert decode_dead_letter(encode_dead_letter(letter)) == letter


def test_an_undecodable_record_survives_as_a_dead_letter():
    noise = b"\x00\xff" * 100
    with pytest.raises(EventError) as caught:
        decode_observations(noise)
    error = caught.value
    letter = DeadLetter(
        "observations", 0, 5, 0, -1, error.code, error.message, error.path, None, noise
    )

    assert decode_dead_letter(encode_dead_letter(letter)).value == noise


@pytest.mark.parametrize(
    ("change", "code", "path"),
    [
        ({"command_id": "A" * 32}, "WRONG_TYPE", "command_id"),
        ({"kind": "explode"}, "UNKNOWN_VALUE", "kind"),
        ({"issued_at_ms": -1}, "OUT_OF_RANGE", "issued_at_ms"),
        ({"payload": "nonsense"}, "INVALID_JSON", "payload"),
        ({"payload": "[" * 100_000}, "INVALID_JSON", "payload"),
        ({"payload": "7"}, "WRONG_TYPE", "payload"),
        ({"experiment_id": ""}, "INVALID_EXPERIMENT_ID", "experimentId"),
    ],
)
def test_a_field_of_a_command_that_cannot_be_used_is_named(change, code, path):
    record = {
        "command_id": "0" * 32,
        "experiment_id": experiment_id(1),
        "kind": "start",
        "issued_at_ms": 0,
        "payload": "{}",
    }
    with pytest.raises(EventError) as caught:
        decode_command(Codec().encode("command", record | change))

    assert (caught.value.code, caught.value.path) == (code, path)


@given(
    change=st.builds(
        GenerationChange,
        generation=st.integers(1, 1_000_000),
        kind=st.sampled_from(ChangeKind),
        at_ms=times,
    )
)
def test_a_change_of_generations_returns(change):
    assert decode_generation_change(encode_generation_change(change)) == change
