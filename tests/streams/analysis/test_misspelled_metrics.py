"""A metric that is declared under one name and observed under another."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.http.pages import stats_page
from streams.analysis.evaluate import evaluate
from streams.analysis.misspelled_metrics import is_like, misspelt_metrics
from streams.cli.statistics_view import stats_view
from streams.cli.terminal import out
from streams.experiments.stats_response import MisspeltMetric, Stats
from tests.streams.analysis.test_evaluate import experiment, tally, variant

NAMES = st.text("abcd12_-.", min_size=1, max_size=9)


def snapshot(observed: dict[str, int], **config: Any) -> Any:
    first = {name: [1] * n for name, n in observed.items()}
    return evaluate(experiment(**config), tally(variant(100, **first), variant(100)), ())


@pytest.mark.parametrize(
    "observed",
    ["Click", "CLICK", "cl_ick", "cli-ck", "c.lick", "clik", "clicks", "clock", "lcick", "klick"],
)
def test_the_primary_metric_under_another_name_is_said(observed):
    found = snapshot({observed: 30})

    assert misspelt_metrics(found) == (MisspeltMetric("click", observed, 30),)
    payload = orjson.loads(asyncio.run(stats_page(found)))
    assert payload["misspelt"] == [{"metric": "click", "observed": observed, "observations": 30}]
    with out.capture() as shown:
        out.print(stats_view(Stats.from_json(payload)))
    said = " ".join(shown.get().split())
    assert f"click has no observation, but {observed} has 30" in said


def test_a_long_name_with_several_mistakes_is_said():
    found = snapshot(
        {"subscripton_start": 7, "checkout_canceled": 5},
        primaryMetric="subscription_started",
        guardrailMetrics=["checkout_completed"],
    )

    named = MisspeltMetric("subscription_started", "subscripton_start", 7)
    assert misspelt_metrics(found) == (named,)


@pytest.mark.parametrize(
    ("observed", "config"),
    [
        ({"click": 1, "Click": 30}, {}),  # the declared one is observed as well
        ({"view": 30}, {}),
        ({"clack2": 30}, {}),  # two edits, and a digit
        ({"step2": 30}, {"secondaryMetrics": ["step1"]}),
        ({"add": 30}, {"guardrailMetrics": ["ad"]}),
        ({"clicks": 30}, {"secondaryMetrics": ["clicks"]}),  # declared itself
        ({}, {}),
    ],
)
def test_what_is_no_misspelt_metric(observed, config):
    assert misspelt_metrics(snapshot(observed, **config)) == ()


def test_a_part_of_a_ratio_under_another_name_is_said():
    ratio = {"kind": "ratio", "numerator": "clicks", "denominator": "views"}
    found = snapshot({"clicks": 9, "view": 30}, primaryMetric="ctr", metrics={"ctr": ratio})

    assert misspelt_metrics(found) == (MisspeltMetric("views", "view", 30),)


def distance(a: str, b: str) -> int:
    """Return the distance by edits and swaps of neighbours, by its definition."""
    if not a or not b:
        return len(a) + len(b)
    found = [
        distance(a[1:], b) + 1,
        distance(a, b[1:]) + 1,
        distance(a[1:], b[1:]) + (a[0] != b[0]),
    ]
    if len(a) > 1 and len(b) > 1 and a[:2] == b[1::-1]:
        found.append(distance(a[2:], b[2:]) + 1)
    return min(found)


@given(st.text("abc", min_size=4, max_size=6), st.text("abc", min_size=4, max_size=6))
def test_one_edit_is_what_the_distance_says(a, b):
    assert is_like(a, b) == (distance(a, b) <= 1)


@given(NAMES, NAMES)
def test_likeness_goes_both_ways(a, b):
    assert is_like(a, b) == is_like(b, a)


@given(NAMES.filter(lambda name: any(map(str.isalnum, name))))
def test_case_and_separators_make_no_difference(name):
    assert is_like(name, name.upper().replace("_", "-"))
