from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.codec import Codec
from streams.experiments.definition import parse_definition
from streams.experiments.lifecycle import Experiment
from streams.experiments.promotion_state import Promotion
from streams.experiments.snapshot import Snapshot
from streams.model.errors import EventError
from streams.targeting.rule import MAX_DEPTH
from streams.wire.snapshots import decode_snapshot, encode_snapshot
from tests.streams.model.values import indices, values_of
from tests.streams.targeting.test_rule import nested

DEFINITION = parse_definition(
    {
        "name": "Héro",
        "type": "epsilon_greedy",
        "primaryMetric": "click",
        "trafficAllocation": 1 / 3,
        "parameters": {"epsilon": 0.1},
        "targeting": nested(MAX_DEPTH),
    },
    [
        {"name": "A", "isControl": True, "config": {"z": [1, None, {"a": 0.1}], "b": "ü"}},
        {"name": "B", "config": {}},
    ],
)
experiments = values_of(
    Experiment,
    number=st.integers(0, 2**64 - 1),
    definition=st.just(DEFINITION),
    winner=st.none() | indices,
    promotion=st.none() | values_of(Promotion),
)
snapshots = values_of(Snapshot, experiment=experiments)


@given(snapshot=snapshots)
def test_a_snapshot_returns(snapshot):
    assert decode_snapshot(encode_snapshot(snapshot)) == snapshot


@given(snapshot=snapshots)
def test_a_snapshot_encodes_to_the_same_bytes_after_a_round_trip(snapshot):
    encoded = encode_snapshot(snapshot)

    assert encode_snapshot(decode_snapshot(encoded)) == encoded
    assert encode_snapshot(replace(snapshot)) == encoded


@pytest.mark.parametrize(
    ("change", "code", "path"),
    [
        ({"definition": "{"}, "INVALID_JSON", "definition"),
        ({"definition": "[]"}, "WRONG_TYPE", "definition"),
        ({"definition": '{"config": {}}'}, "MISSING_FIELD", "definition.variants"),
        ({"status": "asleep"}, "UNKNOWN_VALUE", "status"),
        ({"experiment_id": "7"}, "INVALID_EXPERIMENT_ID", "experimentId"),
    ],
)
@given(snapshot=snapshots)
def test_a_field_of_the_experiment_that_cannot_be_used_is_named(change, code, path, snapshot):
    _, record = Codec().decode(encode_snapshot(snapshot))
    record["experiment"] |= change
    with pytest.raises(EventError) as caught:
        decode_snapshot(Codec().encode("snapshot", record))

    assert caught.value.code == code
    if code != "MISSING_FIELD":
        assert caught.value.path == path


@pytest.mark.parametrize(
    ("change", "code", "path"),
    [
        ({"recommended_action": "guess"}, "UNKNOWN_VALUE", "recommended_action"),
        ({"reason_code": "LUCK"}, "UNKNOWN_VALUE", "reason_code"),
        ({"winner": -1}, "OUT_OF_RANGE", "winner"),
        (
            {"cells": [{"source": "x", "partition": -1, "last_offset": 0}]},
            "OUT_OF_RANGE",
            "cells[0].partition",
        ),
    ],
)
@given(snapshot=snapshots)
def test_a_field_of_the_statistics_that_cannot_be_used_is_named(change, code, path, snapshot):
    _, record = Codec().decode(encode_snapshot(snapshot))
    with pytest.raises(EventError) as caught:
        decode_snapshot(Codec().encode("snapshot", record | change))

    assert (caught.value.code, caught.value.path) == (code, path)


@given(snapshot=snapshots)
def test_what_is_not_known_to_have_changed_has_changed_at_its_version(snapshot):
    """A record from before `changed_version` was kept has 0 there."""
    _, record = Codec().decode(encode_snapshot(snapshot))
    record["experiment"]["changed_version"] = 0

    found = decode_snapshot(Codec().encode("snapshot", record)).experiment

    assert found.changed_version == found.version
