"""Outcomes of rules for requests, and rules that are refused."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import PydanticCustomError

from streams.targeting.operators import OPERATORS_BY_NAME
from streams.targeting.rule import (
    MAX_DEPTH,
    MAX_OPERATORS,
    MAX_TEXT,
    MAX_VALUES,
    TargetingRule,
    parse_rule,
)


@dataclass(frozen=True)
class Request:
    user_id: str | None = None
    session_id: str | None = None
    device: str | None = None
    location: str | None = None
    features: Any = None


PHONE = Request(
    user_id="user_17",
    device="mobile",
    location="DE",
    features={
        "age": 35,
        "plan": "pro",
        "app": "2.10.1",
        "isBeta": True,
        "isPaying": False,
        "visits": 0,
        "segments": ["sports", "news"],
        "geo": {"city": "Köln", "zips": ["50667"]},
        "ad.size": "320x50",
        "text": "18",
    },
)


def var(name: str) -> dict[str, Any]:
    return {"var": name}


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"==": [var("device"), "mobile"]}, True),
        ({"==": [var("device"), "Mobile"]}, False),
        ({"!=": [var("device"), "desktop"]}, True),
        ({"==": [var("features.text"), 18]}, True),
        ({"===": [var("features.text"), 18]}, False),
        ({"!==": [var("features.text"), 18]}, True),
        ({"===": [var("features.age"), 35.0]}, True),
        ({"===": [var("features.isBeta"), 1]}, False),
        ({"==": [var("features.isBeta"), True]}, True),
        ({">=": [var("features.age"), 18]}, True),
        ({">": [var("features.text"), 9]}, True),
        ({"<": [18, var("features.age"), 36]}, True),
        ({"<=": [18, var("features.age"), 34]}, False),
        ({"<": [var("location"), "FR"]}, True),
        ({"in": [var("location"), ["DE", "AT", "CH"]]}, True),
        ({"in": [var("location"), ["FR", 3]]}, False),
        ({"in": ["news", var("features.segments")]}, True),
        ({"in": ["ews", var("features.segments")]}, False),
        ({"in": ["320", var("features.ad.size")]}, True),
        ({"starts_with": [var("userId"), "user_"]}, True),
        ({"ends_with": [var("userId"), "_18"]}, False),
        ({"sem_ver": [var("features.app"), ">=", "2.9.0"]}, True),
        ({"sem_ver": [var("features.app"), "^", "2.0.0"]}, True),
        ({"sem_ver": [var("features.app"), "~", "2.9.9"]}, False),
        ({"==": [var("features.geo.city"), "Köln"]}, True),
        ({"and": [var("features.isBeta"), {"!": var("features.isPaying")}]}, True),
        ({"or": [var("features.visits"), var("features.plan")]}, True),
        ({"!!": var("features.visits")}, False),
        ({"if": [var("features.isPaying"), False, var("features.isBeta"), True, False]}, True),
        ({"==": [{"%": [var("features.age"), 10]}, 5]}, True),
        ({">": [{"+": [var("features.age"), var("features.text"), 1]}, 53]}, True),
        ({"==": [{"-": [{"*": [2, 3]}, {"/": [9, 3]}]}, 3]}, True),
        ({"==": [{"-": 4}, -4]}, True),
        ({"==": [{"max": [1, {"min": [var("features.age"), 7]}]}, 7]}, True),
        ({"==": [{"var": ["features.missing", "none"]}, "none"]}, True),
        ({"missing": ["device", "location"]}, False),
        ({"missing": "sessionId"}, True),
    ],
)
def test_examples(rule, expected):
    assert parse_rule(rule).matches(PHONE) is expected


MISSING = [
    {"==": [var("sessionId"), "x"]},
    {"!=": [var("sessionId"), "x"]},
    {"!": {"in": [var("features.city"), ["Paris"]]}},
    {"!": {"==": [var("sessionId"), "x"]}},
    {"<": [var("features.city"), 3]},
    {">=": [var("features.plan"), 3]},  # a text that is no number has no order with one
    {"!": {">=": [var("features.plan"), 3]}},
    {"if": [var("features.city"), False, True]},
    {"!": {"sem_ver": [var("features.plan"), "=", "1.0.0"]}},
    {"!": {"starts_with": [var("features.age"), "3"]}},
    {"!=": [{"/": [var("features.age"), 0]}, 1]},
    {"!=": [{"*": [1e300, 1e300]}, 1]},
    {"!": var("features.geo.city.street")},
    {"!": var("features.segments.0")},
    {"and": [True, var("features.city")]},
    {"!": {"and": [True, var("features.city")]}},
    {"!": {"or": [False, var("features.city")]}},
]


@pytest.mark.parametrize("rule", MISSING)
def test_what_is_missing_matches_neither_a_rule_nor_its_opposite(rule):
    compiled = parse_rule(rule)

    assert compiled.outcome(PHONE) is None
    assert not compiled.matches(PHONE)
    assert not compiled.matches(Request())


def test_what_is_not_needed_may_be_missing():
    either = parse_rule({"or": [var("features.city"), {"==": [var("device"), "mobile"]}]})
    both = parse_rule({"!": {"and": [var("features.city"), {"==": [var("device"), "tv"]}]}})

    assert either.matches(PHONE)
    assert both.matches(PHONE)


VERSIONS = [
    "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta.2",
    "1.0.0-beta.11", "1.0.0-rc.1", "1.0.0", "1.2", "v1.10.0", "2", "10.0.0",
]  # fmt: skip


@pytest.mark.parametrize("index", range(len(VERSIONS) - 1))
def test_versions_have_the_order_of_the_specification(index):
    # semver.org 2.0.0, section 11, with its example.
    request = Request(features={"a": VERSIONS[index], "b": VERSIONS[index + 1]})
    a, b = var("features.a"), var("features.b")

    assert parse_rule({"sem_ver": [a, "<", b]}).matches(request)
    assert parse_rule({"sem_ver": [b, ">=", a]}).matches(request)
    assert parse_rule({"sem_ver": [a, "!=", b]}).matches(request)
    assert parse_rule({"sem_ver": [{"var": "features.a"}, "=", f"{VERSIONS[index]}+b"]}).matches(
        request
    )


def nested(depth: int) -> Any:
    """Return a rule of so many operators within each other, as deep in JSON as it can be."""
    rule: Any = {"in": ["mobile", ["mobile"]]}
    for _ in range(depth - 1):
        rule = {"!": [rule]}
    return rule


@pytest.mark.parametrize(
    ("rule", "code", "path"),
    [
        ("mobile", "WRONG_TYPE", ""),
        ([var("device")], "WRONG_TYPE", ""),
        ({}, "INVALID_RULE", ""),
        ({"==": [1, 1], "!=": [1, 1]}, "INVALID_RULE", ""),
        ({"equals": [1, 1]}, "UNKNOWN_OPERATOR", ""),
        ({"and": [{"==": [var("device"), {"regex": ["a+", "a"]}]}]}, "UNKNOWN_OPERATOR",
         "and[0].==[1]"),
        ({"some": [var("features.segments"), True]}, "UNKNOWN_OPERATOR", ""),
        ({"==": [var("device")]}, "INVALID_RULE", "=="),
        ({"<": [1, 2, 3, 4]}, "INVALID_RULE", "<"),
        ({"!": []}, "INVALID_RULE", "!"),
        ({"if": [True, 1]}, "INVALID_RULE", "if"),
        ({"if": [True, 1, False, 2]}, "INVALID_RULE", "if"),
        ({"==": [var("country"), "US"]}, "UNKNOWN_ATTRIBUTE", "==[0].var"),
        ({"==": [var("features"), "US"]}, "UNKNOWN_ATTRIBUTE", "==[0].var"),
        ({"==": [var("features.a..b"), "US"]}, "UNKNOWN_ATTRIBUTE", "==[0].var"),
        ({"==": [var(""), "US"]}, "UNKNOWN_ATTRIBUTE", "==[0].var"),
        ({"==": [{"var": 3}, "US"]}, "INVALID_RULE", "==[0].var"),
        ({"var": ["device", "a", "b"]}, "INVALID_RULE", "var"),
        ({"missing": ["device", "planet"]}, "UNKNOWN_ATTRIBUTE", "missing[1]"),
        ({"missing": []}, "INVALID_RULE", "missing"),
        ({"==": [var("device"), None]}, "INVALID_RULE", "==[1]"),
        ({"in": [var("device"), ["a", ["b"]]]}, "INVALID_RULE", "in[1][1]"),
        ({"in": [var("device"), 3]}, "INVALID_RULE", "in[1]"),
        ({"starts_with": [var("device"), 3]}, "INVALID_RULE", "starts_with[1]"),
        ({"sem_ver": [var("device"), "=>", "1.0.0"]}, "INVALID_RULE", "sem_ver[1]"),
        ({"sem_ver": [var("device"), "=", "one"]}, "INVALID_RULE", "sem_ver[2]"),
        ({"+": [var("features.age"), "x"]}, "INVALID_RULE", "+[1]"),
        (nested(MAX_DEPTH + 1), "TOO_DEEP", "!" + "[0].!" * (MAX_DEPTH - 1) + "[0]"),
        ({"and": [var("device")] * MAX_OPERATORS}, "RULE_TOO_LARGE", f"and[{MAX_OPERATORS - 1}]"),
        ({"in": [var("device"), ["x"] * (MAX_VALUES + 1)]}, "RULE_TOO_LARGE",
         f"in[1][{MAX_VALUES}]"),
        ({"==": [var("device"), "x" * (MAX_TEXT + 1)]}, "RULE_TOO_LARGE", "==[1]"),
    ],
)  # fmt: skip
def test_what_no_request_could_mean_is_refused_with_code_and_path(rule, code, path):
    with pytest.raises(PydanticCustomError) as caught:
        parse_rule(rule)

    assert caught.value.type == code
    assert (caught.value.context or {})["path"] == path


def test_the_limits_themselves_are_allowed():
    parse_rule(nested(MAX_DEPTH))
    parse_rule({"and": [var("device")] * (MAX_OPERATORS - 1)})
    parse_rule({"in": [var("device"), ["x" * MAX_TEXT] * MAX_VALUES]})


def test_a_rule_crosses_to_another_process():
    rule = parse_rule({"==": [var("device"), "mobile"]})
    again = pickle.loads(pickle.dumps(rule))

    assert again == rule
    assert again.matches(PHONE)


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)  # fmt: skip
constants = st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
names = st.sampled_from(["userId", "device", "features.a", "features.a.b", "features.b"])
versions = st.sampled_from(["=", "<", "^"])
rules = st.recursive(
    constants | st.lists(constants, max_size=3) | names.map(var),
    lambda inner: st.builds(
        lambda name, operands: {name: operands},
        st.sampled_from(sorted(OPERATORS_BY_NAME)),
        st.lists(inner, min_size=1, max_size=3),
    ),
    max_leaves=8,
)
requests = st.builds(
    Request,
    user_id=st.none() | st.text(max_size=5),
    device=st.none() | st.text(max_size=5),
    features=st.none() | st.dictionaries(st.sampled_from(["a", "b", "a.b"]), json, max_size=3),
)


@given(rules, requests)
def test_a_rule_that_is_accepted_never_fails_on_a_request(rule, request_):
    try:
        compiled = parse_rule(rule)
    except PydanticCustomError:
        return

    assert isinstance(compiled, TargetingRule)
    assert compiled.matches(request_) in {True, False}
    if compiled.outcome(request_) is None:
        assert not compiled.matches(request_)
