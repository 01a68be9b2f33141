"""Conversion windows: defaults, bounds and codes."""

from __future__ import annotations

import pytest

from streams.experiments.definition import parse_definition
from streams.experiments.first_receipts import is_remembered
from streams.experiments.measurement_plan import plan_of
from streams.experiments.promotion_state import Phase
from streams.model.errors import InputError
from tests.streams.analysis.test_evaluate import experiment

RATIO = {"kind": "ratio", "numerator": "view", "denominator": "order"}


def windows(**config):
    return plan_of(experiment(**config).definition).windows


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, {}),
        ({"unit": "user"}, {}),
        ({"unit": "user", "attributionWindow": 600}, {"click": 600}),
        ({"unit": "session", "attributionWindow": 600, "conversionWindow": 0}, {}),
        ({"unit": "user", "conversionWindow": 60}, {"click": 60}),
        ({"unit": "user", "attributionWindow": 1}, {"click": 60}),
        ({"conversionWindow": 900}, {"click": 900}),
        (
            {"conversionWindow": 900, "metrics": {"click": {"conversionWindow": 0}}},
            {},
        ),
        (
            {
                "secondaryMetrics": ["r"],
                "conversionWindow": 900,
                "metrics": {"click": {"conversionWindow": 300}, "r": RATIO},
            },
            {"click": 300, "view": 900, "order": 900},
        ),
    ],
)
def test_which_metrics_have_a_window(config, expected):
    assert windows(**config) == expected


def test_which_metrics_are_compared_at_once():
    value = experiment(
        guardrailMetrics=["crash"],
        secondaryMetrics=["r"],
        conversionWindow=900,
        metrics={
            "crash": {"conversionWindow": 60, "onlyMature": False, "conversionDelay": 5},
            "r": RATIO,
            "view": {"onlyMature": False, "conversionDelay": 30},
            "order": {"onlyMature": False},
        },
    )
    plan, config = plan_of(value.definition), value.definition.config

    assert (plan.windows, plan.limits) == ({"click": 900}, {"crash": 60, "view": 900, "order": 900})
    assert plan.delays == {"crash": 5, "view": 30}
    names = "click", "crash", "r", "view", "order"
    assert [config.maturity_s(name) for name in names] == [900, 0, 0, 0, 0]
    assert [config.is_only_mature(name) for name in names] == [True, False, False, False, False]


@pytest.mark.parametrize(
    ("config", "code", "path"),
    [
        (
            {"metrics": {"click": {"conversionDelay": 60, "conversionWindow": 60}}},
            "DELAY_TOO_LONG",
            "config.metrics.click.conversionDelay",
        ),
        (
            {"attributionWindow": 100, "metrics": {"click": {"conversionDelay": 100}}},
            "DELAY_TOO_LONG",
            "config.metrics.click.conversionDelay",
        ),
        (
            {"metrics": {"click": {"conversionDelay": -1}}},
            "OUT_OF_RANGE",
            "config.metrics.click.conversionDelay",
        ),
        (
            {"metrics": {"click": {"conversionDelay": 400 * 86_400}}},
            "OUT_OF_RANGE",
            "config.metrics.click.conversionDelay",
        ),
        (
            {"metrics": {"click": {"onlyMature": 1}}},
            "WRONG_TYPE",
            "config.metrics.click.onlyMature",
        ),
        (
            {"secondaryMetrics": ["r"], "metrics": {"r": RATIO | {"conversionDelay": 60}}},
            "WINDOW_NOT_USED",
            "config.metrics.r.conversionDelay",
        ),
        (
            {"secondaryMetrics": ["r"], "metrics": {"r": RATIO | {"onlyMature": False}}},
            "WINDOW_NOT_USED",
            "config.metrics.r.onlyMature",
        ),
        (
            {
                "secondaryMetrics": ["r"],
                "conversionWindow": 60,
                "metrics": {"r": RATIO, "view": {"onlyMature": False}},
            },
            "WINDOWS_DIFFER",
            "config.metrics.r.denominator",
        ),
        ({"conversionWindow": 59}, "OUT_OF_RANGE", "config.conversionWindow"),
        ({"conversionWindow": -1}, "OUT_OF_RANGE", "config.conversionWindow"),
        ({"conversionWindow": 400 * 86_400}, "OUT_OF_RANGE", "config.conversionWindow"),
        ({"conversionWindow": 86_401}, "WINDOW_TOO_LONG", "config.conversionWindow"),
        (
            {"metrics": {"click": {"conversionWindow": 86_401}}},
            "WINDOW_TOO_LONG",
            "config.metrics.click.conversionWindow",
        ),
        (
            {"metrics": {"click": {"conversionWindow": 7}}},
            "OUT_OF_RANGE",
            "config.metrics.click.conversionWindow",
        ),
        (
            {"secondaryMetrics": ["r"], "metrics": {"r": RATIO | {"conversionWindow": 60}}},
            "WINDOW_NOT_USED",
            "config.metrics.r.conversionWindow",
        ),
        (
            {
                "secondaryMetrics": ["r"],
                "metrics": {"r": RATIO, "view": {"conversionWindow": 60}},
            },
            "WINDOWS_DIFFER",
            "config.metrics.r.denominator",
        ),
        (
            {
                "secondaryMetrics": ["a", "b", "c", "d"],
                "conversionWindow": 60,
                "metrics": {
                    name: {"conversionWindow": 100 + place} for place, name in enumerate("abcd")
                },
            },
            "TOO_MANY_WINDOWS",
            "config.metrics",
        ),
    ],
)
def test_what_is_refused(config, code, path):
    with pytest.raises(InputError) as refused:
        parse_definition(
            {"name": "Hero", "type": "thompson_sampling", "primaryMetric": "click"} | config,
            [{"name": f"V{i}", "isControl": i == 0} for i in range(2)],
        )
    assert (refused.value.code, refused.value.path) == (code, path)


def test_first_receipts_are_kept_where_a_window_begins_with_them():
    delayed = {"metrics": {"click": {"conversionDelay": 9}}}
    for config, is_kept in (({}, False), ({"conversionWindow": 3_600}, True), (delayed, True)):
        value = experiment("bayesian_ab", unit="user", **config)
        assert all(is_remembered(value, phase) is is_kept for phase in Phase)
