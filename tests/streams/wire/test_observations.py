import json

import orjson
import pytest
from hypothesis import given

from schemas.codec import Codec
from streams.model.errors import EventError, InvalidParameterError
from streams.model.events import Decision, Observation, ObservationBatch
from streams.wire.decisions import encode_decision
from streams.wire.json_observations import decode_json_observations
from streams.wire.observation_fields import MAX_OBSERVATIONS
from streams.wire.observations import (
    decode_observations,
    encode_observation,
    encode_observation_batch,
)
from tests.strategies import observation_batches, observations

CLICK = Observation("A" * 75, "click", 1_000_000)
GOOD = {"assignmentId": "A" * 75, "metric": "revenue", "value": 49.99}


def error_of(value):
    with pytest.raises(EventError) as caught:
        decode_observations(value)
    return fault(caught.value)


def fault(error):
    assert isinstance(error, EventError)
    return error.code, error.path


def test_a_single_observation_by_hand():
    body = b"\x96\x01" + b"A" * 75 + b"\x0aclick" + b"\x80\x89\x7a" + b"\x00\x00"
    encoded = encode_observation(CLICK)

    assert encoded[10:] == body  # 75 -> 150 -> 9601, 10**6 -> 2 * 10**6 -> 80897a
    assert decode_observations(encoded) == ObservationBatch((CLICK,))


@given(observation=observations)
def test_a_single_observation_returns(observation):
    assert decode_observations(encode_observation(observation)).observations == (observation,)


@given(batch=observation_batches)
def test_a_batch_returns(batch):
    assert decode_observations(encode_observation_batch(batch)) == batch


@given(observation=observations)
def test_json_says_the_same_as_avro(observation):
    fields = {
        "assignmentId": observation.assignment_id,
        "metric": observation.metric,
        "value": observation.value // 10**6,
        "eventId": observation.event_id,
        "timestamp": observation.observed_at_ms,
    }
    whole = Observation(
        observation.assignment_id,
        observation.metric,
        observation.value // 10**6 * 10**6,
        observation.event_id,
        observation.observed_at_ms,
    )

    assert list(decode_observations(orjson.dumps(fields)).observations) == [whole]
    assert decode_observations(orjson.dumps([fields])).observations == [whole]


def test_json_values_become_micro_units():
    (observation,) = decode_observations(json.dumps(GOOD).encode()).observations

    assert observation == Observation("A" * 75, "revenue", 49_990_000)


def test_space_before_json_is_no_harm():
    assert decode_observations(b" \r\n\t" + json.dumps(GOOD).encode()).observations


def test_one_bad_member_does_not_cost_the_others():
    members = [GOOD, GOOD | {"value": True}, GOOD | {"metric": "click"}, 7]
    good, no_number, click, no_object = decode_observations(orjson.dumps(members)).observations

    assert good == Observation("A" * 75, "revenue", 49_990_000)
    assert click == Observation("A" * 75, "click", 49_990_000)
    assert fault(no_number) == ("WRONG_TYPE", "[1].value")
    assert fault(no_object) == ("WRONG_TYPE", "[3]")


def test_one_bad_member_of_an_avro_batch_does_not_cost_the_others():
    rows = [
        {"assignment_id": "A", "metric": metric, "value_micros": value}
        for metric, value in [("click", 1), ("", 1), ("click", 10**15 + 1)]
    ]
    record = {"incarnation": None, "sequence": None, "observations": rows}
    good, no_metric, too_large = decode_observations(
        Codec().encode("observation_batch", record)
    ).observations

    assert good == Observation("A", "click", 1)
    assert fault(no_metric) == ("INVALID_NAME", "[1].metric")
    assert fault(too_large) == ("VALUE_OUT_OF_RANGE", "[2].value")


@pytest.mark.parametrize(
    ("change", "code", "path"),
    [
        ({"value": True}, "WRONG_TYPE", "value"),
        ({"value": "1"}, "WRONG_TYPE", "value"),
        ({"value": None}, "WRONG_TYPE", "value"),
        ({"value": 10**9 + 1}, "VALUE_OUT_OF_RANGE", "value"),
        ({"value": -1e300}, "VALUE_OUT_OF_RANGE", "value"),
        ({"value": 2**70}, "VALUE_OUT_OF_RANGE", "value"),
        ({"metric": ""}, "INVALID_NAME", "metric"),
        ({"metric": "m" * 65}, "INVALID_NAME", "metric"),
        ({"metric": "click\n"}, "INVALID_NAME", "metric"),
        ({"metric": 1}, "WRONG_TYPE", "metric"),
        ({"assignmentId": ""}, "OUT_OF_RANGE", "assignmentId"),
        ({"assignmentId": "A" * 513}, "OUT_OF_RANGE", "assignmentId"),
        ({"assignmentId": None}, "WRONG_TYPE", "assignmentId"),
        ({"eventId": ""}, "OUT_OF_RANGE", "eventId"),
        ({"eventId": "e" * 257}, "OUT_OF_RANGE", "eventId"),
        ({"eventId": 5}, "WRONG_TYPE", "eventId"),
        ({"timestamp": -1}, "OUT_OF_RANGE", "timestamp"),
        ({"timestamp": 2**48}, "OUT_OF_RANGE", "timestamp"),
        ({"timestamp": 1.5}, "WRONG_TYPE", "timestamp"),
        ({"timestamp": False}, "WRONG_TYPE", "timestamp"),
        ({"eventID": "e"}, "UNKNOWN_FIELD", "eventID"),
    ],
)
def test_a_bad_json_observation_names_its_fault(change, code, path):
    assert error_of(json.dumps(GOOD | change).encode()) == (code, path)


@pytest.mark.parametrize("name", ["assignmentId", "metric", "value"])
def test_a_missing_field_is_named(name):
    fields = {key: value for key, value in GOOD.items() if key != name}

    assert error_of(orjson.dumps(fields)) == ("MISSING_FIELD", name)


@pytest.mark.parametrize(
    "text",
    [
        b"{",
        b"[1,",
        b'{"assignmentId": "A", "metric": "click", "value": NaN}',
        b'{"assignmentId": "A", "metric": "click", "value": Infinity}',
        b'{"assignmentId": "A", "metric": "click", "value": -1e999}',
        b'{"assignmentId": "A", "metric": "click", "value": ' + b"9" * 100_000 + b"}",
        b"[" * 500_000 + b"]" * 500_000,
        b'{"a":' * 100_000,
        b'{"metric": "\xff"}',
        b"{}{}",
    ],
)
def test_what_is_not_json_is_refused_as_such(text):
    assert error_of(text) == ("INVALID_JSON", "")


def test_a_json_scalar_is_no_observation():
    with pytest.raises(EventError) as caught:
        decode_json_observations(b"17")

    assert caught.value.code == "WRONG_TYPE"


def test_a_list_may_not_be_longer_than_its_bound():
    longest = b"[" + b",".join([b"1"] * MAX_OBSERVATIONS) + b"]"

    assert len(decode_observations(longest).observations) == MAX_OBSERVATIONS
    assert error_of(longest[:-1] + b",1]") == ("TOO_MANY_OBSERVATIONS", "")


def test_a_record_of_another_kind_is_refused():
    assert error_of(encode_decision(Decision(1, "command", 0, 0)))[0] == "UNEXPECTED_SCHEMA"


@pytest.mark.parametrize("value", [None, b"", b"\x00", b"\xc3\x01", b"\x00" * 1_000_000])
def test_noise_is_refused(value):
    assert error_of(value)[0] in {"UNDECODABLE_RECORD", "UNKNOWN_SCHEMA"}


@pytest.mark.parametrize(
    ("incarnation", "sequence", "code"),
    [
        ("0" * 16, None, "MISSING_FIELD"),
        (None, 0, "MISSING_FIELD"),
        ("0" * 16, -1, "OUT_OF_RANGE"),
        ("F" * 16, 0, "WRONG_TYPE"),
        ("+" + "0" * 15, 0, "WRONG_TYPE"),
        ("xyz", 0, "WRONG_TYPE"),
    ],
)
def test_a_batch_with_half_a_sequence_is_refused(incarnation, sequence, code):
    record = {"incarnation": incarnation, "sequence": sequence, "observations": []}

    assert error_of(Codec().encode("observation_batch", record))[0] == code


@pytest.mark.parametrize(
    "observation",
    [
        Observation("", "click", 1),
        Observation("A", "1st", 1),
        Observation("A", "click", 10**15 + 1),
        Observation("A", "click", 1, "", None),
        Observation("A", "click", 1, None, -1),
    ],
)
def test_what_no_reader_takes_is_not_written(observation):
    with pytest.raises(EventError):
        encode_observation(observation)


@pytest.mark.parametrize(
    "batch",
    [
        ObservationBatch([CLICK, EventError("X", "x")]),
        ObservationBatch([CLICK], incarnation=1),
        ObservationBatch([CLICK], sequence=1),
    ],
)
def test_half_a_batch_is_not_written(batch):
    with pytest.raises(InvalidParameterError):
        encode_observation_batch(batch)
