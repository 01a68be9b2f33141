"""Conversion windows: defaults, bounds and codes."""

from __future__ import annotations

import pytest

from streams.experiments.assignment import is_remembered
from streams.experiments.definition import parse_definition
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


@pytest.mark.parametrize(
    ("config", "code", "path"),
    [
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
    for config, is_kept in (({}, False), ({"conversionWindow": 3_600}, True)):
        value = experiment("bayesian_ab", unit="user", **config)
        assert all(is_remembered(value, phase) is is_kept for phase in Phase)
