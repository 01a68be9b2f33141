import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

from streams.model.errors import InvalidParameterError
from streams.stats.bayes.value_remaining import (
    _LargestOther,
    relative_value_remaining,
    value_remaining,
)
from streams.stats.direction import Direction
from streams.stats.numerics.tabulated import TabulatedPosteriors
from streams.stats.posteriors.beta import BetaPosterior
from streams.stats.posteriors.gamma import GammaPosterior
from streams.stats.posteriors.normal import NormalPosterior
from tests.streams.stats.single_metric import lift_vs_control


def remaining(posteriors, arm, **arguments):
    return value_remaining(TabulatedPosteriors.of(posteriors), arm, **arguments)


def betas(*pairs):
    return BetaPosterior(*(np.array(column, dtype=float) for column in zip(*pairs, strict=True)))


def test_three_uniform_arms_worked_by_hand():
    """P(M <= x + d) = (1 - d^3) / 3 + d, and P(M <= s x) = 1 - 2 / (3 s): s = 40 / 3."""
    expected = optimize.brentq(lambda d: (1 - d**3) / 3 + d - 0.95, 0, 1)

    result = remaining(betas((1, 1), (1, 1), (1, 1)), 0)

    assert result.absolute == pytest.approx(expected, abs=1e-5)
    assert result.relative == pytest.approx(40 / 3 - 1, rel=1e-4)
    assert (
        relative_value_remaining(TabulatedPosteriors.of(betas((1, 1), (1, 1), (1, 1))), 0)
        == result.relative
    )


def test_two_arms_agree_with_the_interval_of_their_difference():
    """With one rival the 95 % point of the value is the upper end of a 90 % interval."""
    arms = GammaPosterior.observed([30, 36], [100, 100])

    result, lift = remaining(arms, 0), lift_vs_control(arms, 0, level=0.9)

    assert result.absolute == pytest.approx(lift.difference_upper[1], abs=1e-6)
    assert result.relative == pytest.approx(lift.relative_upper[1], abs=1e-5)


@pytest.mark.parametrize(
    "pairs",
    [
        [(51, 951), (76, 1_126), (41, 861)],
        [(1, 50), (900, 9e4), (3, 100)],
        [(5e3, 9.5e4), (5.01e3, 9.5e4), (2, 100)],
        [(2, 10), (40, 300), (1e4, 8e4), (1, 1)],
    ],
)
@pytest.mark.parametrize("flip", [False, True])
def test_agrees_with_draws(pairs, flip):
    """1,000,000 draws: the level of a quantile has a standard error of 0.00022.

    Five of them fail once in 10^6.
    """
    arms = betas(*pairs)
    x = np.random.default_rng(43).beta(arms.alpha, arms.beta, (1_000_000, len(pairs)))
    leader = int(np.argmin(arms.means) if flip else np.argmax(arms.means))
    best = x.min(axis=1) if flip else x.max(axis=1)
    value = np.abs(best - x[:, leader])

    direction = Direction.DECREASE if flip else Direction.INCREASE
    result = remaining(arms, leader, direction=direction)

    for found, drawn in ((result.absolute, value), (result.relative, value / x[:, leader])):
        if found:
            assert np.mean(drawn <= found) == pytest.approx(0.95, abs=0.0011)
        else:
            assert np.mean(drawn == 0.0) >= 0.9489


def test_sure_leader_leaves_nothing():
    result = remaining(betas((900, 100), (100, 900)), 0)

    assert (result.absolute, result.relative) == (0.0, 0.0)


def test_single_arm_leaves_nothing():
    assert remaining(betas((1, 1)), 0).absolute == 0.0


def test_nothing_is_said_in_per_cent_of_an_arm_that_may_be_zero():
    arms = NormalPosterior(np.array([0.1, 0.0]), np.ones(2), np.full(2, 30.0))

    result = remaining(arms, 0)

    assert np.isnan(result.relative)
    assert result.absolute > 0.0


def test_value_of_negative_means_is_over_their_size():
    """-10 against -9.5 with deviations of 0.1: half a unit, and 5 % of 10."""
    arms = NormalPosterior(np.array([-10.0, -9.5]), np.full(2, 0.1), np.full(2, 1e6))

    result = remaining(arms, 0, probability=0.5)

    assert result.absolute == pytest.approx(0.5, abs=1e-6)
    assert result.relative == pytest.approx(0.05, abs=1e-4)


def test_line_that_does_not_rise_asks_for_the_others_alone():
    """P(two uniforms <= 0.6) = 0.36."""
    largest = _LargestOther(
        TabulatedPosteriors.of(betas((3, 4), (1, 1), (1, 1))), 0, Direction.INCREASE
    )

    assert largest.below(0.0, 0.6) == pytest.approx(0.36, abs=1e-6)


shapes = st.tuples(st.floats(0.5, 1e5), st.floats(0.5, 1e5))


@settings(max_examples=25, deadline=None)
@given(st.lists(shapes, min_size=2, max_size=4), st.floats(0.5, 0.99))
def test_more_certainty_takes_no_less_value(pairs, probability):
    arms = betas(*pairs)

    less = remaining(arms, 0, probability=probability - 0.1)
    more = remaining(arms, 0, probability=probability)

    assert more.absolute >= less.absolute - 1e-6


@settings(max_examples=25, deadline=None)
@given(st.lists(shapes, min_size=3, max_size=4), st.randoms(use_true_random=False))
def test_order_of_the_other_arms_does_not_matter(pairs, random):
    others = pairs[1:]
    random.shuffle(others)

    plain = remaining(betas(*pairs), 0)
    shuffled = remaining(betas(pairs[0], *others), 0)

    assert shuffled.absolute == pytest.approx(plain.absolute, abs=1e-5)


@settings(max_examples=25, deadline=None)
@given(st.lists(shapes, min_size=2, max_size=3), shapes)
def test_another_arm_takes_nothing_away(pairs, another):
    few = remaining(betas(*pairs), 0)
    more = remaining(betas(*pairs, another), 0)

    assert more.absolute >= few.absolute - 1e-5


@pytest.mark.parametrize(("arm", "probability"), [(-1, 0.9), (2, 0.9), (0, 0.0), (0, 1.0)])
def test_what_cannot_be_is_refused(arm, probability):
    with pytest.raises(InvalidParameterError):
        remaining(betas((1, 1), (1, 1)), arm, probability=probability)
