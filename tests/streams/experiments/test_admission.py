"""Exclusions of an experiment, and their order."""

from __future__ import annotations

from typing import Any

import pytest

from streams.experiments.admission import admission_of
from streams.experiments.assignment_reason import Reason
from streams.experiments.definition import parse_definition
from streams.model.errors import InputError
from tests.streams.targeting.test_rule import Request

VARIANTS = [{"name": "A", "isControl": True}, {"name": "B"}, {"name": "C"}]
MOBILE = {"==": [{"var": "device"}, "mobile"]}


def definition(**config: Any):
    base = {"name": "Hero", "type": "bayesian_ab", "primaryMetric": "click"}
    return parse_definition(base | config, VARIANTS)


def test_an_experiment_for_everyone_demands_nothing():
    assert admission_of(definition()) is None


def test_an_override_comes_before_targeting():
    admission = admission_of(definition(targeting=MOBILE, overrides={"qa": "C"}))
    assert admission is not None

    assert admission.exclusion("qa", Request(user_id="qa")) == (Reason.FORCED, 2)
    assert admission.exclusion("u", Request(user_id="u")) == (Reason.NOT_TARGETED, 0)
    assert admission.exclusion("u", Request(user_id="u", device="mobile")) is None


def test_where_every_impression_is_a_unit_people_are_known_by_user_or_session():
    admission = admission_of(definition(unit="impression", overrides={"qa": "B"}))
    assert admission is not None

    assert admission.exclusion(None, Request(user_id="qa")) == (Reason.FORCED, 1)
    assert admission.exclusion(None, Request(user_id="u", session_id="qa")) == (Reason.FORCED, 1)
    assert admission.exclusion(None, Request(session_id="s")) is None


@pytest.mark.parametrize(
    ("config", "code", "path"),
    [
        ({"overrides": {"qa": "Z"}}, "UNKNOWN_VARIANT", "config.overrides.qa"),
        ({"overrides": {"": "B"}}, "OUT_OF_RANGE", "config.overrides"),
        ({"overrides": {f"u{n}": "B" for n in range(101)}}, "OUT_OF_RANGE", "config.overrides"),
        ({"overrides": ["qa"]}, "WRONG_TYPE", "config.overrides"),
        ({"targeting": {"like": ["a", "b"]}}, "UNKNOWN_OPERATOR", "config.targeting"),
        ({"targeting": "mobile"}, "WRONG_TYPE", "config.targeting"),
        (
            {"targeting": {"and": [MOBILE, {"==": [{"var": "x"}, 1]}]}},
            "UNKNOWN_ATTRIBUTE",
            "config.targeting.and[1].==[0].var",
        ),
    ],
)
def test_refused(config, code, path):
    with pytest.raises(InputError) as caught:
        definition(**config)

    assert caught.value.code == code
    assert caught.value.path.startswith(path)


def test_a_rule_is_written_as_it_was_read():
    found = definition(targeting=MOBILE)

    dumped = found.model_dump(by_alias=True, mode="json")
    assert dumped["config"]["targeting"] == MOBILE
    assert parse_definition(dumped["config"], dumped["variants"]) == found
