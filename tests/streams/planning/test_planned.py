"""Any question of a plan has an answer in finite numbers, or a refusal that names a field."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.model.errors import InputError
from streams.planning.assumed import ValueKind
from streams.planning.fixed import MAX_UNITS
from streams.planning.planned import PlanQuestion, formula_plan
from streams.stats.sequential.group_sequential import Spending

FIELDS = {
    "baseline": st.floats(-1e12, 1e12) | st.floats(0.0, 1.0),
    "lift": st.floats(1e-6, 1e6) | st.floats(1e-6, 1.0),
    "variants": st.integers(2, 64),
    "metric_kind": st.sampled_from(ValueKind),
    "deviation": st.none() | st.floats(1e-9, 1e12),
    "alpha": st.floats(1e-9, 0.5, exclude_min=True),
    "power": st.floats(0.5, 0.999999),
    "looks": st.integers(2, 6),
    "spending": st.sampled_from(Spending),
    "daily_units": st.none() | st.integers(1, MAX_UNITS),
}


@given(st.fixed_dictionaries(FIELDS))
def test_every_question_is_answered_in_finite_numbers_or_refused_by_a_field(fields):
    refused, answer = asked(fields)
    if answer is None:
        assert refused is not None
        assert refused.code == "OUT_OF_RANGE"
        assert refused.path in {"baseline", "lift", "deviation", "power"}
        assert len(refused.message) < 200
        return
    json.dumps(answer, allow_nan=False)
    assert answer["fixed"]["unitsPerVariant"] >= 1
    looks = answer["groupSequential"]["looks"]
    assert len(looks) == fields["looks"]
    assert looks[-1]["stopped"] == pytest.approx(fields["power"], abs=1e-6)


def asked(fields: dict[str, Any]) -> tuple[InputError | None, dict[str, Any] | None]:
    """Return why a question is refused, or its answer."""
    try:
        return None, formula_plan(PlanQuestion(**fields))
    except InputError as refused:
        return refused, None


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"baseline": 1e-300, "lift": 0.1}, "lift"),
        ({"baseline": 5e-324, "lift": 1e-6}, "lift"),
        ({"baseline": 0.1, "lift": 0.1, "alpha": 0.5, "power": 0.5}, "power"),
        ({"baseline": 0.1, "lift": 0.1, "alpha": 0.5, "power": 0.5001}, "power"),
    ],
)
def test_what_needs_too_many_units_or_gains_nothing_is_refused(fields, path):
    with pytest.raises(InputError) as refused:
        formula_plan(PlanQuestion(**fields))
    assert (refused.value.code, refused.value.path) == ("OUT_OF_RANGE", path)


def test_a_value_that_hardly_varies_needs_one_unit():
    question = PlanQuestion(
        baseline=1e9, lift=1.0, metric_kind=ValueKind.CONTINUOUS, deviation=1e-9
    )
    assert formula_plan(question)["fixed"]["unitsPerVariant"] == 1
