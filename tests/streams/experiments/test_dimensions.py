"""Dimensions of a definition, and their values in assignments."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.experiments.assignment import Assigner
from streams.experiments.definition import MAX_SLICED, parse_definition
from streams.experiments.dimensions import MAX_VALUES, Dimension, DimensionSpace
from streams.experiments.first_receipts import is_remembered
from streams.experiments.measurement_plan import plan_of
from streams.experiments.promotion_state import Phase
from streams.experiments.update import ExperimentUpdate
from streams.model.dimensions import MAX_DIMENSIONS, OTHER, Slice
from streams.model.errors import InputError
from streams.model.validation import parse
from tests.streams.experiments.test_assignment import snapshot

FIXED: dict[str, Any] = {"name": "x", "type": "bayesian_ab", "primaryMetric": "click"}
VARIANTS = [{"name": "A", "isControl": True}, {"name": "B"}]
DEVICE: dict[str, Any] = {"name": "device", "values": ["mobile", "desktop"]}
SPACE = DimensionSpace(
    [
        Dimension(name="device", values=("mobile", "desktop")),
        Dimension(name="features.plan", values=("free", "true", "3", "0.5")),
        Dimension(name="features.a.b", values=("x",)),
    ]
)


def refusal(dimensions, variants=VARIANTS, **config):
    with pytest.raises(InputError) as caught:
        parse_definition(FIXED | {"dimensions": dimensions} | config, variants)
    return caught.value.code, caught.value.path


@pytest.mark.parametrize(
    ("dimensions", "code", "path"),
    [
        (3, "WRONG_TYPE", "dimensions"),
        ([{"name": "device"}], "MISSING_FIELD", "dimensions[0].values"),
        ([DEVICE | {"values": []}], "OUT_OF_RANGE", "dimensions[0].values"),
        ([DEVICE | {"values": "mobile"}], "WRONG_TYPE", "dimensions[0].values"),
        ([DEVICE | {"values": [1]}], "WRONG_TYPE", "dimensions[0].values[0]"),
        ([DEVICE | {"values": [""]}], "OUT_OF_RANGE", "dimensions[0].values[0]"),
        ([DEVICE | {"values": ["x" * 257]}], "OUT_OF_RANGE", "dimensions[0].values[0]"),
        ([DEVICE | {"values": ["a\x1b"]}], "INVALID_NAME", "dimensions[0].values[0]"),
        ([DEVICE | {"values": ["a", "b", "a"]}], "DUPLICATE_VALUE", "dimensions[0].values[2]"),
        (
            [DEVICE | {"values": [f"v{n}" for n in range(21)]}],
            "OUT_OF_RANGE",
            "dimensions[0].values",
        ),
        ([DEVICE | {"name": "browser"}], "UNKNOWN_ATTRIBUTE", "dimensions[0].name"),
        ([DEVICE | {"name": "userId"}], "UNKNOWN_ATTRIBUTE", "dimensions[0].name"),
        ([DEVICE | {"name": "features."}], "UNKNOWN_ATTRIBUTE", "dimensions[0].name"),
        ([DEVICE | {"name": "features.a..b"}], "UNKNOWN_ATTRIBUTE", "dimensions[0].name"),
        ([DEVICE | {"name": ""}], "OUT_OF_RANGE", "dimensions[0].name"),
        ([DEVICE | {"name": "features.\n"}], "INVALID_NAME", "dimensions[0].name"),
        ([DEVICE | {"color": 1}], "UNKNOWN_FIELD", "dimensions[0].color"),
        ([DEVICE, DEVICE], "DUPLICATE_NAME", "dimensions[1].name"),
        ([DEVICE | {"name": f"features.f{n}"} for n in range(5)], "OUT_OF_RANGE", "dimensions"),
    ],
)
def test_bad_dimensions_are_refused(dimensions, code, path):
    assert refusal(dimensions) == (code, f"config.{path}")


def test_as_many_slices_as_a_cell_has_room_for():
    values = [f"v{n}" for n in range(MAX_VALUES)]
    full = [{"name": f"features.f{n}", "values": values} for n in range(MAX_DIMENSIONS)]
    # 84 slices of 2 variants, each with its units and 11 metrics.
    named = [f"m{n}" for n in range(10)]
    assert 84 * 2 * 12 <= MAX_SLICED < 84 * 2 * 13
    parse_definition(FIXED | {"dimensions": full, "secondaryMetrics": named}, VARIANTS)
    many = [*named, "more"]
    assert refusal(full, secondaryMetrics=many) == ("TOO_MANY_SLICES", "config.dimensions")
    quantile = {"more": {"kind": "quantile", "percentile": 0.9}}
    parse_definition(
        FIXED | {"dimensions": full, "secondaryMetrics": many, "metrics": quantile}, VARIANTS
    )


def test_what_is_measured_by_value_follows_from_the_definition():
    ratio = {"ctr": {"kind": "ratio", "numerator": "clicks", "denominator": "views"}}
    definition = parse_definition(
        FIXED | {"dimensions": [DEVICE], "secondaryMetrics": ["ctr"], "metrics": ratio},
        [{"name": "A"}, {"name": "B", "isControl": True}],
    )

    found = plan_of(definition).slices

    assert found is not None
    assert (found.sizes, found.control) == ((3,), 1)
    assert found.metrics == frozenset({"click", "clicks", "views"})
    assert found.pairs == (("clicks", "views"),)
    assert found.slices(b"") == [Slice(0, OTHER)]


def test_dimensions_are_fixed_when_an_experiment_is_created():
    with pytest.raises(InputError) as caught:
        parse(ExperimentUpdate, {"dimensions": [DEVICE]})
    assert (caught.value.code, caught.value.path) == ("METRICS_FIXED", "dimensions")


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        ({}, [0, 0, 0]),
        ({"device": "mobile"}, [1, 0, 0]),
        ({"device": "Mobile"}, [0, 0, 0]),
        ({"device": "desktop", "features": {"plan": "free"}}, [2, 1, 0]),
        ({"features": {"plan": True, "a": {"b": "x"}}}, [0, 2, 1]),
        ({"features": {"plan": 3, "a.b": "x"}}, [0, 3, 1]),
        ({"features": {"plan": 3.0, "a": "x"}}, [0, 3, 0]),
        ({"features": {"plan": 0.5, "device": "mobile"}}, [0, 4, 0]),
        ({"features": {"plan": ["free"], "a": {"b": {}}}}, [0, 0, 0]),
    ],
)
def test_values_of_a_request_by_hand(request_, expected):
    assert list(SPACE.encode(**request_)) == expected


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("free"),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from("abc") | st.text(), inner),
    max_leaves=5,
)


@given(
    features=st.none() | st.dictionaries(st.sampled_from(["plan", "a", "a.b"]), anything),
    device=st.none() | st.text(),
)
def test_nothing_a_request_can_hold_is_an_error(features, device):
    found = SPACE.encode(features, device)

    assert len(found) == 3
    assert all(value <= size for value, size in zip(found, (2, 4, 1), strict=True))


def test_an_assignment_carries_the_values_and_its_variant_does_not_depend_on_them():
    plain, sliced = Assigner(snapshot()), Assigner(snapshot(dimensions=[DEVICE]))

    found = sliced.assign("u", 1, device="desktop")

    assert found.receipt.dimensions == b"\2"
    assert found.receipt._replace(dimensions=b"") == plain.assign("u", 1).receipt
    assert sliced.unknown_dimensions == b"\0"


@pytest.mark.parametrize("unit", ["user", "session", "impression"])
def test_the_first_receipt_of_a_lasting_unit_is_kept(unit):
    """Else a user on another device would have another receipt, and count as two units."""
    experiment = snapshot(
        type="bayesian_ab", parameters={}, unit=unit, attributionWindow=0, dimensions=[DEVICE]
    ).experiment

    assert is_remembered(experiment, Phase.TRIAL) == (unit != "impression")
    assert not is_remembered(experiment, Phase.PROMOTED)
    config = experiment.definition.config.model_copy(update={"dimensions": ()})
    without = replace(
        experiment, definition=experiment.definition.model_copy(update={"config": config})
    )
    assert not is_remembered(without, Phase.TRIAL)
