"""Whatever stands in a definition, it is a definition or refused with a code and a path."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from streams.experiments.definition import ExperimentDefinition
from streams.experiments.update import ExperimentUpdate
from streams.model.errors import PATH_CHARACTERS, InputError
from streams.model.validation import parse

Place = tuple[str | int, ...]

PLAIN: dict[str, Any] = {
    "config": {
        "name": "Hero",
        "description": "of the page",
        "type": "thompson_sampling",
        "primaryMetric": "click",
        "secondaryMetrics": ["revenue", "ctr", "visits"],
        "guardrailMetrics": ["latency"],
        "metrics": {
            "revenue": {"kind": "revenue", "cap": 500.0},
            "latency": {"kind": "continuous", "direction": "decrease", "toleratedHarm": 0.1},
            "ctr": {"kind": "ratio", "numerator": "clicks", "denominator": "views"},
            "visits": {"kind": "count", "prior": {"events": 1.0, "eventUnits": 2.0}},
        },
        "periods": {"halfLife": 1_000, "delayed": True, "stratified": True},
        "unit": "user",
        "parameters": {"minAllocation": 0.1, "priorAlpha": 2.0, "priorBeta": 3.0},
        "trafficAllocation": 0.5,
        "minSampleSize": 100,
        "significanceThreshold": 0.9,
        "alternative": "better",
        "autoPromoteWinner": True,
        "maxExpectedLoss": 0.1,
        "minDuration": 60,
        "controlShare": 0.1,
        "attributionWindow": 60,
    },
    "variants": [
        {"name": "A", "isControl": True, "config": {"list": [1, {"deep": None}]}},
        {"name": "B"},
    ],
}
CONTEXTUAL = copy.deepcopy(PLAIN) | {
    "config": {
        "name": "Hero",
        "type": "lin_ts",
        "primaryMetric": "click",
        "parameters": {
            "alpha": 1.0,
            "features": [
                {"name": "device", "type": "category", "values": ["mobile", "desktop"]},
                {"name": "age", "type": "number", "minimum": 0, "maximum": 1},
                {"name": "campaign", "type": "hashed", "buckets": 4},
            ],
        },
    }
}
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=10)
    | st.sampled_from(["", "x" * 300, "\x00", "\ud800", 10**30, 1e308, -1e308, 5e-324])
)
JUNK = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


def places(value: Any, place: Place = ()) -> Iterator[Place]:
    """Yield every place in a JSON value but the whole."""
    members = value.items() if isinstance(value, dict) else enumerate(value)
    for key, member in members:
        yield (*place, key)
        if isinstance(member, dict | list):
            yield from places(member, (*place, key))


CASES = [(whole, place) for whole in (PLAIN, CONTEXTUAL) for place in places(whole)]


def put(whole: dict[str, Any], place: Place, value: object) -> dict[str, Any]:
    changed = copy.deepcopy(whole)
    inner: Any = changed
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    return changed


def refusal(model: type[BaseModel], data: dict[str, Any]) -> InputError | None:
    try:
        parse(model, data)
    except InputError as error:
        return error
    return None


@given(st.sampled_from(CASES), JUNK)
def test_anything_anywhere_in_a_definition_is_refused_with_a_code(
    case: tuple[dict[str, Any], Place], junk: object
) -> None:
    changed = put(*case, junk)

    for model, data in ((ExperimentDefinition, changed), (ExperimentUpdate, changed["config"])):
        if isinstance(data, dict):
            refused = refusal(model, data)
            if refused is not None:
                assert refused.code.isupper()
                assert len(refused.path) <= PATH_CHARACTERS
                assert f"{refused.path}{refused.message}".encode()  # and no half characters


@pytest.mark.parametrize("kind", [None, {}, [], 1, True, ""])
def test_an_invalid_type_is_named_although_there_are_parameters(kind: object) -> None:
    with pytest.raises(InputError) as caught:
        parse(ExperimentDefinition, put(PLAIN, ("config", "type"), kind))

    assert caught.value.path == "config.type"


def test_the_definitions_that_are_changed_are_good() -> None:
    for whole in (PLAIN, CONTEXTUAL):
        parse(ExperimentDefinition, whole)
