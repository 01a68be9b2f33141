from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.codec import Codec
from streams.experiments.definition import parse_definition
from streams.experiments.lifecycle import Experiment, Status
from streams.experiments.metrics import MetricRole
from streams.experiments.promotion_state import Promotion
from streams.experiments.snapshot import (
    AgainstControl,
    Allocation,
    CellPlace,
    Comparison,
    Evidence,
    GuardrailFinding,
    MetricModel,
    MetricReport,
    Miscounts,
    PublishedModel,
    RecommendedAction,
    SampleRatioFinding,
    SinceConclusion,
    Snapshot,
    VariantReport,
)
from streams.model.errors import EventError
from streams.stats.direction import Direction
from streams.stats.kinds import Contradiction, ContradictionCode, MetricKind
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
maybe = st.none() | numbers
indices = st.integers(0, 255)
against_control = st.builds(
    AgainstControl,
    probability_better=numbers,
    expected_loss=numbers,
    difference=numbers,
    difference_lower=numbers,
    difference_upper=numbers,
    relative=maybe,
    relative_lower=maybe,
    relative_upper=maybe,
    p_value=numbers,
)
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
    against_control=st.none() | against_control,
)
contradictions = st.builds(Contradiction, code=st.sampled_from(ContradictionCode), variant=indices)
models = st.builds(
    MetricModel,
    name=st.text(max_size=8),
    role=st.sampled_from(MetricRole),
    direction=st.sampled_from(Direction),
    kind=st.sampled_from(MetricKind),
    is_declared=st.booleans(),
    contradiction=st.none() | contradictions,
)
guardrails = st.lists(
    st.builds(
        GuardrailFinding,
        metric=st.text(max_size=8),
        variant=indices,
        tolerated_harm=numbers,
        harm=maybe,
        p_value=numbers,
        is_tripped=st.booleans(),
    ),
    max_size=2,
).map(tuple)
promotions = st.builds(
    Promotion,
    variant=indices,
    control_weight=st.integers(1, 32_768),
    is_automatic=st.booleans(),
    is_rolled_back=st.booleans(),
    began_at_ms=counts,
    version=counts,
)
evidence = st.builds(
    Evidence,
    leader=indices,
    probability_best=numbers,
    expected_loss=numbers,
    relative_loss=maybe,
    value_remaining=maybe,
    error=numbers,
    planned_units=counts,
    units=st.lists(counts, max_size=2).map(tuple),
    units_with_value=st.lists(counts, max_size=2).map(tuple),
    negligible=numbers,
    duration_ms=counts,
    comparisons=st.lists(
        st.builds(Comparison, variant=indices, lower=maybe, upper=maybe, p_value=numbers),
        max_size=2,
    ).map(tuple),
    sample_ratio=st.builds(
        SampleRatioFinding,
        p_value=numbers,
        ratios=st.lists(maybe, max_size=2).map(tuple),
        is_mismatch=st.booleans(),
    ),
    guardrails=guardrails,
    since_conclusion=st.none()
    | st.builds(
        SinceConclusion,
        variant=indices,
        units=counts,
        control_units=counts,
        guardrails=guardrails,
    ),
    miscounts=st.builds(
        Miscounts,
        unremembered_units=counts,
        unremembered_observations=counts,
        is_memory_full=st.booleans(),
        crossed_units=counts,
        is_crossed=st.booleans(),
        most_events=counts,
        full_units=counts,
        is_heavy=st.booleans(),
    ),
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
        planned_units=counts,
        concluded_at_ms=st.none() | counts,
        winner=st.none() | st.integers(0, 255),
        promotion=st.none() | promotions,
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
    metrics=st.lists(models, max_size=2).map(tuple),
    evidence=st.none() | evidence,
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
