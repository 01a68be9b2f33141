"""Symptoms that users of other products have reported, each against the whole evaluation."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import numpy as np
import orjson
import pytest
from rich.console import Console

from api.http.pages import stats_page
from streams.analysis.evaluate import evaluate
from streams.analysis.reasons import reason
from streams.cli.statistics_view import stats_view
from streams.experiments.snapshot import Snapshot
from streams.experiments.statistics.recommendation import RecommendedAction
from streams.experiments.statistics.variant_report import MetricReport
from streams.experiments.stats_response import Stats
from streams.model.quantities import PROPENSITY_ONE
from streams.tallies.cell import Tally
from streams.tallies.weights import weighted
from tests.streams.analysis.test_evaluate import experiment, tally, variant
from tests.streams.analysis.test_ratios import counted
from tests.streams.analysis.test_ratios import experiment as ratio_experiment
from tests.streams.experiments.laws import check

POLICIES = ("bayesian_ab", "thompson_sampling")
KINDS = (None, "binary", "count", "revenue", "continuous")
NOTHING_CERTAIN = 0.95


def payload(snapshot: Snapshot) -> dict[str, Any]:
    """Return the statistics as the API gives them."""
    return dict(orjson.loads(asyncio.run(stats_page(snapshot))))


def printed(snapshot: Snapshot) -> str:
    """Return the statistics as a client reads and a terminal shows them."""
    console = Console(width=200)
    with console.capture() as shown:
        console.print(stats_view(Stats.from_json(payload(snapshot))))
    return shown.get()


def reported(snapshot: Snapshot, index: int, name: str) -> MetricReport:
    return snapshot.variants[index].metrics[name]


def declared(kind: str | None) -> dict[str, Any]:
    return {} if kind is None else {"metrics": {"click": {"kind": kind}}}


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "counts",
    [Tally(), tally(variant(0), variant(0)), tally(variant(1), variant(0))],
    ids=["no cell", "no unit", "no value"],
)
def test_without_users_nothing_is_certain(policy, kind, counts):
    """growthbook #4364, featbit #654: no users gave NaN, or a variant that is surely better."""
    value = experiment(policy, minSampleSize=0, **declared(kind))

    snapshot = check(value, counts, ())  # every number of it is finite

    assert snapshot.recommended_action is RecommendedAction.CONTINUE
    assert snapshot.winner is None
    assert snapshot.confidence < NOTHING_CERTAIN
    report = reported(snapshot, 1, "click")
    assert (report.mean, report.against_control) == (None, None)
    assert report.undefined is not None
    assert report.undefined.code == "NO_UNITS"
    assert "click" in printed(snapshot)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("second", [variant(0), variant(1), variant(1, click=[0])])
def test_one_user_decides_nothing(policy, kind, second):
    """growthbook #1012: a single user has no variance, and the result was certain."""
    value = experiment(policy, minSampleSize=0, **declared(kind))

    snapshot = check(value, tally(variant(1, click=[1]), second), ())

    assert snapshot.recommended_action is RecommendedAction.CONTINUE
    assert snapshot.winner is None
    assert snapshot.confidence < NOTHING_CERTAIN
    against = reported(snapshot, 1, "click").against_control
    assert (against is None) == (second.units == 0)
    assert against is None or against.p_value == 1.0


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("units", [2, 100, 5_000])
def test_values_without_variance_that_are_equal_differ_in_nothing(policy, kind, units):
    """growthbook #1012, featbit #654: a variance of 0 gave NaN, or certainty about nothing."""
    value = experiment(policy, minSampleSize=0, **declared(kind))
    same = variant(units, click=[1] * units)

    snapshot = check(value, tally(same, same), ())

    assert snapshot.winner is None
    assert snapshot.confidence == pytest.approx(0.5, abs=1e-6)
    against = reported(snapshot, 1, "click").against_control
    assert against is not None
    assert against.difference == pytest.approx(0.0, abs=1e-9)
    assert against.difference_lower < 0.0 < against.difference_upper
    assert against.p_value == 1.0


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("kind", ["count", "revenue", "continuous"])
def test_a_few_values_without_variance_that_differ_are_no_winner(policy, kind):
    """growthbook #1012: 5, 5 against 6, 6 has no variance either."""
    value = experiment(policy, minSampleSize=0, **declared(kind))

    snapshot = check(value, tally(variant(2, click=[5, 5]), variant(2, click=[6, 6])), ())

    assert snapshot.recommended_action is RecommendedAction.CONTINUE
    assert snapshot.winner is None
    assert snapshot.confidence < NOTHING_CERTAIN


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("others", [([1, 0, 1] * 40, [1, 2, 1] * 40), ([1] * 10, [0] * 10)])
@pytest.mark.parametrize("n", [1, 10, 40])
def test_a_ratio_with_a_denominator_of_0_is_null_with_a_reason(policy, others, n):
    """posthog #85529: a division by 0 in the ratio of one variant."""
    counts = Tally(1, 99, 0, {0: counted(*others), 1: counted([1] * n, [0] * n)})

    snapshot = check(ratio_experiment(policy), counts, ())

    found = payload(snapshot)["variants"][1]["stats"]
    ratio = found["metrics"]["ctr"]
    assert (found["mean"], found["lower"], found["upper"]) == (None, None, None)
    assert (ratio["mean"], ratio["lower"], ratio["upper"]) == (None, None, None)
    assert ratio["undefined"]["code"] == "NO_DENOMINATOR"
    assert ratio["againstControl"] is None
    assert snapshot.winner is None
    assert "the denominator of this variant sums to 0" in printed(snapshot)


@pytest.mark.parametrize("zeros", [None, [0] * 50])
def test_a_control_without_a_denominator_compares_with_nothing(zeros):
    """posthog #85529, the other way round, and with zeros that were sent as observations."""
    control = counted([1] * 10, [0] * 10)
    if zeros is not None:
        control = replace(control, metrics=control.metrics | variant(50, views=zeros).metrics)
    counts = Tally(1, 99, 0, {0: control, 1: counted([1, 0] * 40, [1, 2] * 40)})

    snapshot = check(ratio_experiment(), counts, ())

    first, second = (each["stats"]["metrics"]["ctr"] for each in payload(snapshot)["variants"])
    assert (first["mean"], first["undefined"]["code"]) == (None, "NO_DENOMINATOR")
    assert second["mean"] == pytest.approx(1 / 3)
    assert (second["undefined"], second["againstControl"]) == (None, None)


def test_numerators_of_many_units_without_a_denominator_are_investigated():
    """posthog #85529: while the denominator is not sent, more units do not help."""
    none = counted([1] * 200, [0] * 200)

    snapshot = check(ratio_experiment(), Tally(1, 99, 0, {0: none, 1: none}), ())

    assert snapshot.recommended_action is RecommendedAction.INVESTIGATE
    assert "denominator that is not above 0" in reason(snapshot)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("mean", [-100.0, -5.0, -0.01, 0.0])
@pytest.mark.parametrize("lift", [-2.0, -0.3, 0.3, 2.0])
def test_a_negative_baseline_turns_no_lift_around(policy, mean, lift):
    """growthbook #6658, abacus #793: -4 against -5 was a lift of -20 %."""
    random = np.random.default_rng(7)
    a, b = (list(random.normal(each, 1.0, 800)) for each in (mean, mean + lift))
    value = experiment(
        policy, minSampleSize=0, guardrailMetrics=["profit"],
        metrics={"click": {"kind": "continuous"}, "profit": {"kind": "continuous"}},
    )  # fmt: skip

    snapshot = check(
        value, tally(variant(800, click=a, profit=a), variant(800, click=b, profit=b)), ()
    )

    for name in ("click", "profit"):
        against = reported(snapshot, 1, name).against_control
        assert against is not None
        assert np.sign(against.difference) == np.sign(lift)
        assert against.relative is None or np.sign(against.relative) == np.sign(lift)
        assert (against.probability_better > 0.5) == (lift > 0.0)
    assert snapshot.evidence is not None
    (harm,) = snapshot.evidence.guardrails
    assert harm.harm is not None
    assert np.sign(harm.harm) == -np.sign(lift)
    assert "%]" not in printed(snapshot).partition("lift [interval]")[2]


def arrived(policy: str, units: tuple[int, ...]) -> Snapshot:
    """Evaluate units that were assigned with the weights of the start."""
    value = experiment(policy, n_variants=len(units), minSampleSize=0)
    weights = evaluate(value, Tally(), ()).allocation.weights
    counts = {
        index: weighted(n, {}, weight << 16)
        for index, (n, weight) in enumerate(zip(units, weights, strict=True))
    }
    return check(value, Tally(1, 99, 0, counts), ())


@pytest.mark.parametrize(
    ("policy", "units"),
    [
        ("bayesian_ab", (30, 0)),
        ("bayesian_ab", (0, 100)),
        ("bayesian_ab", (40, 40, 0)),
        ("bayesian_ab", (5_000, 5_000, 5_000, 0)),
        ("thompson_sampling", (100, 0)),
        ("thompson_sampling", (300, 300, 0)),
    ],
)
def test_a_variant_that_never_reports_is_a_sample_ratio_mismatch(policy, units):
    """growthbook #4427, #75: one variant had no units, and nothing was said of it."""
    snapshot = arrived(policy, units)

    assert snapshot.recommended_action is RecommendedAction.INVESTIGATE
    assert snapshot.winner is None
    assert snapshot.evidence is not None
    assert snapshot.evidence.sample_ratio.is_mismatch
    assert snapshot.evidence.sample_ratio.ratios[units.index(0)] == 0.0
    assert "Sample ratio mismatch" in printed(snapshot)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("units", [(12, 0), (0, 12), (9, 3), (6, 6, 0), (4, 8, 0)])
def test_twelve_units_are_no_sample_ratio_mismatch(policy, units):
    """growthbook #75: a warning after a handful of users."""
    snapshot = arrived(policy, units)

    assert snapshot.evidence is not None
    assert not snapshot.evidence.sample_ratio.is_mismatch
    assert snapshot.recommended_action is RecommendedAction.CONTINUE


def test_a_variant_without_any_tally_counts_as_one_that_never_reports():
    """growthbook #4427: the variant is missing from the counts altogether."""
    share = PROPENSITY_ONE // 2
    counts = Tally(1, 99, 0, {0: weighted(200, {}, share)})

    snapshot = check(experiment("bayesian_ab", minSampleSize=0), counts, ())

    assert snapshot.recommended_action is RecommendedAction.INVESTIGATE
