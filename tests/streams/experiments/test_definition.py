"""Definitions: defaults, faults of configuration and variants, and their JSON."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.experiments.definition import parse_definition
from streams.experiments.unit_kind import UnitKind
from streams.model.errors import InputError
from tests.streams.experiments.definitions import CONFIG, FIXED, VARIANTS, refusal, variants


def test_defaults_of_an_adaptive_policy_are_by_impression():
    config = parse_definition(CONFIG, VARIANTS).config

    assert (config.unit, config.attribution_window) == (UnitKind.IMPRESSION, 86_400)


def test_defaults_of_a_fixed_policy_are_by_user_without_a_limit():
    config = parse_definition(FIXED, VARIANTS).config

    assert (config.unit, config.attribution_window) == (UnitKind.USER, 0)


@pytest.mark.parametrize(("unit", "window"), [("user", 0), ("session", 0), ("impression", 86_400)])
def test_default_window_follows_the_stated_unit(unit, window):
    assert parse_definition(CONFIG | {"unit": unit}, VARIANTS).config.attribution_window == window
    stated = parse_definition(CONFIG | {"unit": unit, "attributionWindow": 7}, VARIANTS)
    assert stated.config.attribution_window == 7


def test_weights_are_equal_unless_declared():
    assert parse_definition(FIXED, VARIANTS).weights == (0.5, 0.5)
    assert parse_definition(FIXED, variants({"weight": 0.9}, {"weight": 0.1})).weights == (0.9, 0.1)


def test_thirds_in_decimals_sum_to_one():
    arms = [
        {"name": name, "isControl": name == "A", "weight": 0.3333333} for name in ("A", "B", "C")
    ]

    assert math.fsum(parse_definition(FIXED, arms).weights) == pytest.approx(1.0, abs=1e-15)


def test_control_is_found():
    assert parse_definition(CONFIG, VARIANTS[::-1]).control_index == 1


@pytest.mark.parametrize(
    ("change", "code", "path"),
    [
        ({"type": "lottery"}, "UNKNOWN_TYPE", "config.type"),
        ({"type": 3}, "WRONG_TYPE", "config.type"),
        ({"name": ""}, "OUT_OF_RANGE", "config.name"),
        ({"name": "   "}, "OUT_OF_RANGE", "config.name"),
        ({"name": "x" * 201}, "OUT_OF_RANGE", "config.name"),
        ({"description": "x" * 2_001}, "OUT_OF_RANGE", "config.description"),
        ({"primaryMetric": "1click"}, "INVALID_NAME", "config.primaryMetric"),
        ({"primaryMetric": "click\n"}, "INVALID_NAME", "config.primaryMetric"),
        ({"primaryMetric": "x" * 65}, "INVALID_NAME", "config.primaryMetric"),
        ({"secondaryMetrics": ["view", "a b"]}, "INVALID_NAME", "config.secondaryMetrics[1]"),
        ({"secondaryMetrics": ["click"]}, "DUPLICATE_METRIC", "config.secondaryMetrics"),
        (
            {"secondaryMetrics": [f"m{i}" for i in range(33)]},
            "OUT_OF_RANGE",
            "config.secondaryMetrics",
        ),
        ({"trafficAllocation": 1.1}, "OUT_OF_RANGE", "config.trafficAllocation"),
        ({"trafficAllocation": -0.1}, "OUT_OF_RANGE", "config.trafficAllocation"),
        ({"trafficAllocation": float("nan")}, "NOT_FINITE", "config.trafficAllocation"),
        ({"trafficAllocation": float("inf")}, "NOT_FINITE", "config.trafficAllocation"),
        ({"trafficAllocation": "1"}, "WRONG_TYPE", "config.trafficAllocation"),
        ({"trafficAllocation": True}, "WRONG_TYPE", "config.trafficAllocation"),
        ({"minSampleSize": -1}, "OUT_OF_RANGE", "config.minSampleSize"),
        ({"minSampleSize": 1.5}, "WRONG_TYPE", "config.minSampleSize"),
        ({"minSampleSize": 10**13}, "OUT_OF_RANGE", "config.minSampleSize"),
        ({"significanceThreshold": 1.0}, "OUT_OF_RANGE", "config.significanceThreshold"),
        ({"significanceThreshold": 0.4}, "OUT_OF_RANGE", "config.significanceThreshold"),
        ({"autoPromoteWinner": "yes"}, "WRONG_TYPE", "config.autoPromoteWinner"),
        ({"maxExpectedLoss": 0}, "OUT_OF_RANGE", "config.maxExpectedLoss"),
        ({"maxExpectedLoss": 1.1}, "OUT_OF_RANGE", "config.maxExpectedLoss"),
        ({"minDuration": -1}, "OUT_OF_RANGE", "config.minDuration"),
        ({"minDuration": 1.5}, "WRONG_TYPE", "config.minDuration"),
        ({"minDuration": 366 * 86_400 + 1}, "OUT_OF_RANGE", "config.minDuration"),
        ({"unit": "planet"}, "UNKNOWN_VALUE", "config.unit"),
        ({"attributionWindow": -1}, "OUT_OF_RANGE", "config.attributionWindow"),
        ({"attributionWindow": 366 * 86_400 + 1}, "OUT_OF_RANGE", "config.attributionWindow"),
        ({"colour": "red"}, "UNKNOWN_FIELD", "config.colour"),
        ({"parameters": 3}, "WRONG_TYPE", "config.parameters"),
        ({"parameters": {"c": 2}}, "UNKNOWN_PARAMETER", "config.parameters.c"),
        ({"parameters": {"priorAlpha": 0}}, "OUT_OF_RANGE", "config.parameters.priorAlpha"),
        (
            {"parameters": {"priorAlpha": float("nan")}},
            "NOT_FINITE",
            "config.parameters.priorAlpha",
        ),
        ({"parameters": {"priorBeta": float("inf")}}, "NOT_FINITE", "config.parameters.priorBeta"),
        (
            {"parameters": {"minAllocation": 0.51}},
            "OUT_OF_RANGE",
            "config.parameters.minAllocation",
        ),
    ],
)
def test_faults_of_the_configuration_are_named(change, code, path):
    assert refusal(CONFIG | change, VARIANTS) == (code, path)


@pytest.mark.parametrize("field", ["name", "type", "primaryMetric"])
def test_missing_fields_are_named(field):
    config = {key: value for key, value in CONFIG.items() if key != field}

    assert refusal(config, VARIANTS) == ("MISSING_FIELD", f"config.{field}")


def test_configuration_that_is_no_object_is_refused():
    assert refusal(["name"], VARIANTS) == ("WRONG_TYPE", "config")


@pytest.mark.parametrize(
    ("config", "arms", "code", "path"),
    [
        (CONFIG, VARIANTS[:1], "OUT_OF_RANGE", "variants"),
        (CONFIG, [], "OUT_OF_RANGE", "variants"),
        (CONFIG, [{"name": f"V{i}"} for i in range(257)], "OUT_OF_RANGE", "variants"),
        (CONFIG, variants({"name": "B"}, {}), "DUPLICATE_NAME", "variants[1].name"),
        (CONFIG, variants({"isControl": False}, {}), "CONTROL_COUNT", "variants"),
        (CONFIG, variants({}, {"isControl": True}), "CONTROL_COUNT", "variants"),
        (CONFIG, variants({"weight": 0.5}, {"weight": 0.5}), "WEIGHTS_NOT_USED", "variants"),
        (FIXED, variants({"weight": 0.5}, {}), "WEIGHTS_INCOMPLETE", "variants"),
        (FIXED, variants({"weight": 0.5}, {"weight": 0.4}), "WEIGHTS_DO_NOT_SUM", "variants"),
        (FIXED, variants({"weight": 1.5}, {"weight": 0.5}), "OUT_OF_RANGE", "variants[0].weight"),
        (FIXED, variants({}, {"weight": 0.0}), "OUT_OF_RANGE", "variants[1].weight"),
        (FIXED, variants({}, {"weight": float("nan")}), "NOT_FINITE", "variants[1].weight"),
        (CONFIG, variants({}, {"name": 3}), "WRONG_TYPE", "variants[1].name"),
        (CONFIG, variants({}, {"color": 3}), "UNKNOWN_FIELD", "variants[1].color"),
        (CONFIG, variants({}, {"config": 3}), "WRONG_TYPE", "variants[1].config"),
        (
            CONFIG,
            variants({}, {"config": {"a": float("inf")}}),
            "NOT_FINITE",
            "variants[1].config.a",
        ),
        (
            CONFIG,
            variants({}, {"config": {"a": [{1: 2}]}}),
            "WRONG_TYPE",
            "variants[1].config.a[0]",
        ),
        (CONFIG, variants({}, {"config": {"a": object()}}), "WRONG_TYPE", "variants[1].config.a"),
        (
            CONFIG | {"parameters": {"minAllocation": 0.4}},
            [*VARIANTS, {"name": "C"}],
            "FLOOR_TOO_LARGE",
            "config.parameters.minAllocation",
        ),
    ],
)
def test_faults_of_the_variants_are_named(config, arms, code, path):
    assert refusal(config, arms) == (code, path)


def test_config_of_a_variant_may_be_any_json_up_to_a_depth():
    deep: dict[str, Any] = {}
    value = deep
    for _ in range(14):
        value["a"] = value = {}
    value["a"] = 1

    assert parse_definition(CONFIG, variants({}, {"config": deep})).variants[1].config == deep
    value["a"] = {"b": {}}
    assert refusal(CONFIG, variants({}, {"config": deep})) == (
        "TOO_DEEP",
        "variants[1].config" + ".a" * 15 + ".b",
    )


@pytest.mark.parametrize("name", ["minAllocation", "initialAllocation"])
def test_no_floor_is_above_an_equal_share(name):
    arms = [{"name": f"V{i}", "isControl": i == 0} for i in range(3)]

    parse_definition(CONFIG | {"parameters": {name: 1 / 3}}, arms)
    with pytest.raises(InputError) as caught:
        parse_definition(CONFIG | {"parameters": {name: 0.34}}, arms)

    assert (caught.value.code, caught.value.path) == (
        "FLOOR_TOO_LARGE",
        f"config.parameters.{name}",
    )


@pytest.mark.parametrize(
    ("config", "floor"),
    [
        ({}, None),
        ({"autoPromoteWinner": True}, 0.25),
        ({"autoPromoteWinner": True, "parameters": {"minAllocation": 0.02}}, 0.02),
        ({"autoPromoteWinner": True, "type": "bayesian_ab"}, None),
    ],
)
def test_automatic_promotion_explores_with_half_of_its_units(config, floor):
    definition = parse_definition(CONFIG | config, VARIANTS[:2])

    assert definition.policy.min_allocation == floor
    # What the author has written stays as it is.
    assert definition.config.parameters.min_allocation in {None, 0.02}


@given(
    st.sampled_from(["thompson_sampling", "ucb", "epsilon_greedy", "bayesian_ab"]),
    st.integers(2, 9),
    st.floats(0, 1),
)
def test_definition_survives_its_own_json(kind, n_variants, traffic):
    arms = [{"name": f"V{i}", "isControl": i == 0, "config": {"i": i}} for i in range(n_variants)]
    definition = parse_definition(CONFIG | {"type": kind, "trafficAllocation": traffic}, arms)
    as_json = definition.model_dump(mode="json", by_alias=True)

    assert parse_definition(as_json["config"], as_json["variants"]) == definition
