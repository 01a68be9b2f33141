"""Commands, decisions and dead letters: records of a few plain fields."""

import pytest
from hypothesis import given

from schemas.codec import Codec
from streams.experiments.time_points import TimePoint
from streams.model.errors import EventError
from streams.model.events import Command, DeadLetter, Decision
from streams.model.generations import GenerationChange
from streams.model.ids import experiment_id
from streams.model.partitioning import SOLE_PARTITION
from streams.wire.commands import decode_command, encode_command
from streams.wire.dead_letters import decode_dead_letter, encode_dead_letter
from streams.wire.decisions import decode_decision, encode_decision
from streams.wire.generations import decode_generation_change, encode_generation_change
from streams.wire.observations import decode_observations
from streams.wire.time_points import decode_time_point, encode_time_point
from tests.strategies import records


@given(command=records(Command))
def test_a_command_returns(command):
    assert decode_command(encode_command(command), SOLE_PARTITION) == command


@given(decision=records(Decision))
def test_a_decision_returns(decision):
    assert decode_decision(encode_decision(decision)) == decision


@given(point=records(TimePoint))
def test_a_point_of_a_time_series_returns(point):
    assert decode_time_point(encode_time_point(point)) == point


@given(letter=records(DeadLetter))
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
        ({"expected_version": 0}, "OUT_OF_RANGE", "expected_version"),
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
        decode_command(Codec().encode("command", record | change), SOLE_PARTITION)

    assert (caught.value.code, caught.value.path) == (code, path)


@given(change=records(GenerationChange))
def test_a_change_of_generations_returns(change):
    assert decode_generation_change(encode_generation_change(change)) == change
