from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.codec import Codec
from streams.domain.errors import EventError
from streams.experiments.definition import parse_definition
from streams.experiments.lifecycle import Experiment, Status
from streams.experiments.snapshot import (
    Allocation,
    CellPlace,
    MetricKind,
    MetricReport,
    PublishedModel,
    RecommendedAction,
    Snapshot,
    VariantReport,
)
from streams.wire.snapshots import decode_snapshot, encode_snapshot

DEFINITION = parse_definition(
    {
        "name": "Héro",
        "type": "epsilon_greedy",
        "primaryMetric": "click",
        "trafficAllocation": 1 / 3,
        "parameters": {"epsilon": 0.1},
    },
    [
        {"name": "A", "isControl": True, "config": {"z": [1, None, {"a": 0.1}], "b": "ü"}},
        {"name": "B", "config": {}},
    ],
)
numbers = st.floats(allow_nan=False)
counts = st.integers(0, 2**60)
rows = st.lists(st.lists(numbers, max_size=3).map(tuple), max_size=2).map(tuple)
metrics = st.builds(
    MetricReport,
    name=st.text(max_size=8),
    kind=st.sampled_from(MetricKind),
    units=counts,
    observations=counts,
    total=st.integers(-(2**100), 2**100),
    mean=numbers,
    lower=numbers,
    upper=numbers,
)
snapshots = st.builds(
    Snapshot,
    experiment=st.builds(
        Experiment,
        number=st.integers(0, 2**64 - 1),
        definition=st.just(DEFINITION),
        status=st.sampled_from(Status),
        version=counts,
        created_at_ms=counts,
        started_at_ms=st.none() | counts,
        started_version=counts,
        concluded_at_ms=st.none() | counts,
        winner=st.none() | st.integers(0, 255),
    ),
    version=counts,
    allocation=st.builds(
        Allocation, version=counts, weights=st.just((1, 65_535)) | st.just((32_768, 32_768))
    ),
    variants=st.lists(
        st.builds(
            VariantReport,
            assignments=counts,
            observations=counts,
            mean=numbers,
            lower=numbers,
            upper=numbers,
            probability_best=numbers,
            expected_loss=numbers,
            metrics=st.lists(metrics, max_size=2).map(tuple),
        ),
        max_size=2,
    ).map(tuple),
    winner=st.none() | st.integers(0, 255),
    confidence=numbers,
    recommended_action=st.sampled_from(RecommendedAction),
    reason=st.text(max_size=20),
    duplicates=counts,
    cells=st.lists(
        st.builds(
            CellPlace,
            source=st.sampled_from(["impressions", "observations"]),
            partition=st.integers(0, 2**31 - 1),
            hw=counts,
        ),
        max_size=3,
    ).map(tuple),
    as_of_ms=counts,
    model=st.none()
    | st.builds(
        PublishedModel,
        noise=numbers,
        units=counts,
        coefficients=rows,
        triangles=rows,
    ),
)


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
def test_a_field_that_cannot_be_used_is_named(change, code, path, snapshot):
    _, record = Codec().decode(encode_snapshot(snapshot))
    record["experiment"] |= change
    with pytest.raises(EventError) as caught:
        decode_snapshot(Codec().encode("snapshot", record))

    assert caught.value.code == code
    if code != "MISSING_FIELD":
        assert caught.value.path == path
