"""Metrics with a conversion window are compared by the units whose window is over."""

from dataclasses import replace

import pytest

from streams.analysis.reasons import reason
from streams.experiments.statistics.maturity import Maturity
from streams.experiments.statistics.recommendation import ReasonCode, RecommendedAction
from streams.model.quantities import MICRO
from streams.tallies.cell import MetricTally, Tally, VariantTally
from streams.tallies.weights import weighted
from tests.streams.analysis.test_evaluate import evaluated, experiment

DAY_S = 86_400
HALF = 1 << 31


def variant(units, **metrics) -> VariantTally:
    """Return units of an even split, of which some have the value 1, by metric."""
    tallies = {
        name: MetricTally(n, n, n * MICRO, n * MICRO**2, binary_observations=n, positive_units=n)
        for name, n in metrics.items()
    }
    return weighted(units, tallies, HALF)


def tally(counted, mature, window_s=DAY_S) -> Tally:
    found = {window_s: dict(enumerate(mature))} if mature else {}
    return Tally(1, 99, 0, dict(enumerate(counted)), mature=found, late=3)


QUICK = variant(5_000, click=250), variant(5_000, click=50)  # all conversions of the one are there
EQUAL = variant(2_000, click=100), variant(2_000, click=100)


@pytest.mark.parametrize("kind", ["bayesian_ab", "thompson_sampling"])
def test_a_quick_variant_is_no_better_one(kind):
    plain = evaluated(experiment(kind), tally(QUICK, ()))
    window = evaluated(experiment(kind, conversionWindow=DAY_S), tally(QUICK, EQUAL))

    assert plain.recommended_action is RecommendedAction.CONCLUDE_WINNER
    assert plain.evidence.maturity.warning.code == "NO_CONVERSION_WINDOW"
    assert plain.evidence.compared_units == plain.evidence.units == (5_000, 5_000)
    assert window.recommended_action is RecommendedAction.CONTINUE
    found = window.evidence
    assert (found.units, found.units_with_value) == ((5_000, 5_000), (250, 50))
    assert (found.maturity.window, found.maturity.units) == (DAY_S, (2_000, 2_000))
    assert (found.maturity.units_with_value, found.maturity.late) == ((100, 100), 3)
    assert found.maturity.warning is None
    [comparison] = found.comparisons
    assert comparison.p_value == 1.0
    for each in window.variants:
        report = each.metrics["click"]
        assert report.mean == pytest.approx(101 / 2_002)
        assert each.probability_best == pytest.approx(0.5)
    assert [each.metrics["click"].units for each in window.variants] == [250, 50]
    assert window.metrics["click"].conversion_window == DAY_S


def test_a_policy_learns_from_all_units():
    without = evaluated(experiment(), tally(QUICK, ()))
    window = evaluated(experiment(conversionWindow=DAY_S), tally(QUICK, EQUAL))

    assert window.allocation.weights == without.allocation.weights


def test_a_truly_better_variant_is_declared_by_its_mature_units():
    better = variant(5_000, click=250), variant(5_000, click=400)
    young = variant(9_000, click=400), variant(9_000, click=420)

    found = evaluated(experiment("bayesian_ab", conversionWindow=DAY_S), tally(young, better))

    assert (found.recommended_action, found.winner) == (RecommendedAction.CONCLUDE_WINNER, 1)


@pytest.mark.parametrize("mature", [(), (variant(99, click=9), variant(200, click=9))])
def test_units_are_waited_for(mature):
    found = evaluated(experiment("bayesian_ab", conversionWindow=DAY_S), tally(QUICK, mature))

    assert found.reason_code is ReasonCode.TOO_FEW_MATURE
    units = mature[0].units if mature else 0
    assert reason(found).startswith(f"V0 has {units} units whose conversion window of 86,400 s is")


def test_a_guardrail_has_a_separate_window():
    """Harm that shows at once is not waited for."""
    harmed = variant(5_000, click=250, crash=10), variant(5_000, click=250, crash=200)
    for window_s, action in ((0, "stop_guardrail"), (3_600, "continue")):
        crash = {"kind": "binary", "direction": "decrease", "conversionWindow": window_s}
        config = {"guardrailMetrics": ["crash"], "metrics": {"crash": crash}}
        value = experiment("bayesian_ab", conversionWindow=DAY_S, **config)
        snapshot = evaluated(value, tally(harmed, EQUAL))
        assert snapshot.recommended_action == action


def test_a_metric_that_is_not_waited_for_is_compared_by_all_units():
    """Its later values do not count either, as the fold leaves them out."""
    config = {"conversionWindow": DAY_S, "metrics": {"click": {"onlyMature": False}}}
    counted = replace(tally(QUICK, EQUAL), early=2)

    snapshot = evaluated(experiment("bayesian_ab", **config), counted)

    assert snapshot.recommended_action is RecommendedAction.CONCLUDE_WINNER
    found, model = snapshot.evidence.maturity, snapshot.metrics["click"]
    assert (found.window, found.units, found.late, found.early) == (0, (5_000, 5_000), 3, 2)
    assert found.warning.code == "NO_CONVERSION_WINDOW"
    assert (model.conversion_window, model.only_mature, model.maturity) == (DAY_S, False, 0)


def test_a_plan_and_the_sample_ratio():
    """Progress is of mature units; a fault of the split shows by all of them."""
    value = experiment(
        "bayesian_ab",
        conversionWindow=DAY_S,
        plan={"baseline": 0.05, "lift": 0.1, "units": 4_000},
    )
    lost = variant(5_000, click=250), variant(4_000, click=200)

    snapshot = evaluated(value, tally(lost, EQUAL))

    assert snapshot.reason_code is ReasonCode.SAMPLE_RATIO_MISMATCH
    first, later = (evaluated(value, tally(each, EQUAL)).evidence for each in (QUICK, lost))
    assert 0.0 < first.progress == later.progress


def test_a_ratio_is_that_of_mature_units():
    config = {
        "primaryMetric": "ctr",
        "conversionWindow": DAY_S,
        "metrics": {"ctr": {"kind": "ratio", "numerator": "click", "denominator": "view"}},
    }
    counted = variant(500, click=100, view=400), variant(500, click=100, view=400)
    mature = variant(200, click=30, view=100), variant(200, view=0)

    first, second = evaluated(experiment(**config), tally(counted, mature)).variants

    assert first.metrics["ctr"].mean == pytest.approx(0.3, abs=0.01)
    assert second.metrics["ctr"].undefined.code == "NO_DENOMINATOR"
    assert second.metrics["ctr"].units == 400


def test_the_time_left_is_that_of_mature_units():
    """Of three days, two have been compared: so fast does information come."""
    found = replace(tally(QUICK, EQUAL), last_at_ms=3 * DAY_S * 1_000 + 1)
    plan = {"baseline": 0.05, "lift": 0.1, "units": 20_000}

    evidence = evaluated(
        experiment("bayesian_ab", conversionWindow=DAY_S, plan=plan), found
    ).evidence

    left = 2 * DAY_S * 1_000 * (1 - evidence.progress) / evidence.progress
    assert 0.0 < evidence.progress < 1.0
    assert evidence.outlook.remaining_ms == pytest.approx(left, abs=1)


def test_before_any_unit_nothing_can_pass_for_a_difference():
    found = Maturity(window=0, units=(0, 0), units_with_value=(0, 0), late=0)

    assert found.warning is None
    assert replace(found, units=(1, 0)).warning is not None
