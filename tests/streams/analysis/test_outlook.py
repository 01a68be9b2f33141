"""Power of a running experiment: against the plan, and against simulated outcomes."""

import numpy as np
import pytest

from streams.experiments.statistics.recommendation import ReasonCode, RecommendedAction
from tests.streams.analysis.test_decision import PLAN, experiment, snapshot_of


def outlook(*pairs, **config):
    return snapshot_of(experiment(n_variants=len(pairs), **config), *pairs).evidence.outlook


def test_worked_by_hand_at_half_of_the_plan():
    """2 x 10,000 units at 10 %: t = 1,800 / 3,758 = 0.479, and 0.01 is 2.357 standard errors.

    So W has the drift 2.357 / sqrt(t) = 3.406 with the planned lift, against the level 2.340: by
    now it is above that with Phi((3.406 t - 2.340) / sqrt(t)) and has been before with about a
    quarter of that; at the end with Phi(1.066) + 0.038; and from 0 in the rest of the plan with
    Phi((3.406 (1 - t) - 2.340) / sqrt(1 - t)) + 0.05. Up to t = 0.5 the bets' line is lower,
    1.51 + 1.63 t, so that by now it is that which is crossed: with Phi((1.776 t - 1.51) / sqrt(t))
    = 0.17 and before with exp(2 x 1.776 x 1.51) Phi(-(1.776 t + 1.51) / sqrt(t)) = 0.07.
    """
    found = outlook((10_000, 1_000), (10_000, 1_000), plan=PLAN)

    assert found.power_at_end == pytest.approx(0.857 + 0.038, abs=0.005)
    assert found.power == pytest.approx(0.17 + 0.07, abs=0.01)
    assert 0.08 < found.detectable_at_end < 0.1 < found.detectable < 0.2
    assert found.conditional_power == pytest.approx(0.217 + 0.05, abs=0.01)


def test_before_any_value_the_plan_alone_decides():
    """Of a drift of 2.99, 80 % reach 2.340; one is 61.3 / 20,000."""
    found = outlook((0, 0), (0, 0), plan=PLAN)

    assert (found.power, found.detectable, found.remaining_ms) == (0.0, None, None)
    assert found.power_at_end == pytest.approx(0.87, abs=0.01)
    assert found.detectable_at_end == pytest.approx(2.99 * 61.3 / 20_000 / 0.1, rel=0.01)


def test_time_left_is_that_of_the_traffic_so_far():
    snapshot = snapshot_of(experiment(plan=PLAN), (5_000, 500), (5_000, 500))
    evidence = snapshot.evidence

    left = evidence.duration_ms * (1 - evidence.progress) / evidence.progress
    assert evidence.outlook.remaining_ms == pytest.approx(left, abs=1)


def test_a_plan_that_would_take_for_ever_has_an_end():
    found = outlook((1_000, 100), (1_000, 100), plan=PLAN | {"units": 10**12, "lift": 1e-6})

    assert 0 < found.remaining_ms <= 10**15
    # The drift is 1e-7 / sqrt(2 0.1 0.9 / 1e12) = 0.24: at c = 2.42 it crosses with
    # Phi(0.24 - c) + exp(2 0.24 c) Phi(-c - 0.24) = 0.0146 + 0.0125 (reflection).
    assert found.power_at_end == pytest.approx(0.027, abs=0.002)


def test_without_a_plan_only_what_is_found_by_now_is_known():
    found = outlook((10_000, 1_000), (10_000, 1_000))

    assert found.detectable > 0.1
    assert (found.power, found.power_at_end, found.conditional_power) == (None, None, None)


def test_an_error_of_a_half_on_one_side_leaves_a_width():
    found = outlook(
        (10_000, 1_000), (10_000, 1_000), alternative="better", significanceThreshold=0.5
    )

    assert 0.0 < found.detectable < 0.1


@pytest.mark.parametrize(("direction", "expected"), [("increase", 0.267), ("decrease", 0.16)])
def test_a_lift_is_in_the_direction_of_the_metric(direction, expected):
    """A fall to 9 % is planned with less variance, so there is less of the plan left."""
    found = outlook(
        (10_000, 1_000), (10_000, 1_000), plan=PLAN, metrics={"click": {"direction": direction}}
    )

    assert found.conditional_power == pytest.approx(expected, abs=0.02)


def test_a_lift_that_would_hardly_be_found_any_more_is_given_up():
    """After three quarters of the plan, the same in both variants."""
    snapshot = snapshot_of(experiment(plan=PLAN), (17_000, 1_700), (17_000, 1_700))

    assert snapshot.evidence.outlook.conditional_power < 0.05
    assert snapshot.recommended_action is RecommendedAction.CONCLUDE_NO_DIFFERENCE
    assert snapshot.reason_code is ReasonCode.FUTILE


def test_a_lead_keeps_an_experiment_going():
    snapshot = snapshot_of(experiment(plan=PLAN), (17_000, 1_700), (17_000, 1_790))

    assert snapshot.recommended_action is RecommendedAction.CONTINUE


def test_of_several_variants_none_may_have_a_chance():
    """C leads B and A by little: futile against A, and so for all."""
    pairs = (17_000, 1_700), (17_000, 1_500), (17_000, 1_705)

    assert outlook(*pairs, plan=PLAN).conditional_power < 0.05
    assert (
        outlook((17_000, 1_500), (17_000, 1_500), (17_000, 1_640), plan=PLAN).conditional_power
        > 0.3
    )


@pytest.mark.long
@pytest.mark.statistical
def test_power_by_now_is_the_share_that_was_found():
    """10 % against 11 %, looked at ten times up to half of the plan, 100 experiments.

    The power for looks at any time is 22 %, and ten looks find some 19 %: below 4 or above 37
    there are 1e-5 of such counts.
    """
    random = np.random.default_rng(3)
    value = experiment(plan=PLAN)
    found = 0
    for _ in range(100):
        clicks = random.binomial(1_000, (0.10, 0.11), (10, 2)).cumsum(axis=0)
        looks = (
            snapshot_of(value, (n, a), (n, b))
            for n, (a, b) in zip(range(1_000, 10_001, 1_000), clicks.tolist(), strict=True)
        )
        found += any(each.winner == 1 for each in looks)

    assert 4 <= found <= 37
