"""The level of a plan beside bets: by hand, against simulated motions, and at its limits."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from streams.model.errors import InvalidParameterError
from streams.stats.sequential.beside_bets import BetLine, level_alone, power_beside
from streams.stats.sequential.planned_information import level
from streams.stats.sequential.power import crossing_probability

ERROR = 0.025


def beside(share, drift=3.26, weight=0.95):
    return BetLine(drift, weight, share / (1.0 - share))


def test_bets_that_need_more_than_the_level_add_nothing():
    """With a drift of 0.1 the line begins at 46, and is crossed after the level with exp(-4.4)."""
    found = level_alone(2.2, 0.0, BetLine(0.1, 1.0, 1.0), 0.01)

    assert 0.987 <= found / (2.0 * norm.sf(2.2)) <= 1.0


def test_a_line_that_is_below_the_level_all_the_time_leaves_it_nothing():
    """With a drift of 2 and an error of 0.5 the line ends at 1.35, below 2."""
    assert level_alone(2.0, 0.0, BetLine(2.0, 1.0, 1.0), 0.5) == 0.0


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_the_level_is_between_that_with_all_of_the_error_and_that_with_its_own(rate, share):
    found = level((1.0 - share) * ERROR, rate, beside(share))

    assert level(ERROR, rate) <= found <= level((1.0 - share) * ERROR, rate)


def test_more_error_is_a_lower_level():
    found = [level(error, 0.0, beside(0.3)) for error in (1e-9, 1e-4, 0.01, 0.05, 0.3)]

    assert found == sorted(found, reverse=True)


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.4])
@pytest.mark.statistical
def test_probability_is_that_of_simulated_motions(rate):
    """Both lines as motions meet them, 20,000 paths to t = 1; the bets' line by its chance to come.

    Five standard errors of 20,000 paths: a false alarm has the probability 6e-7. In the time of
    steps, crossings that end below again are missed: a step of 1/400 costs 0.58 / 20.
    """
    height, share, n_paths, n_steps = 1.5, 0.5, 20_000, 400
    line = beside(share)
    error = 0.2
    start = -math.log(line.weight * line.times * error) / line.drift
    low, low_slope = start * (1.0 - rate), start * rate + line.drift / (2.0 * (1.0 - rate))
    high, high_slope = height * (1.0 - rate), height * rate
    random = np.random.default_rng(7)
    step = 1.0 / n_steps
    shift = 0.5826 * math.sqrt(step)
    time = step * np.arange(1, n_steps + 1)
    place = np.cumsum(random.normal(0.0, math.sqrt(step), (n_paths, n_steps)), axis=1)
    is_above = place >= high + high_slope * time - shift
    is_bet = (place >= low + low_slope * time - shift).any(axis=1)
    gap = low + low_slope - place[:, -1]
    # What is left of the time is endless: the line is crossed with exp(-2 slope gap).
    never = np.where(is_bet, 0.0, -np.expm1(-2.0 * low_slope * np.maximum(gap, 0.0)))
    alone = np.where(is_above.any(axis=1), never, 0.0)

    expected = level_alone(height, rate, line, error)
    assert alone.mean() == pytest.approx(
        expected, abs=5.0 * alone.std() / math.sqrt(n_paths) + 0.02 * expected
    )


@pytest.mark.parametrize("drift", [0.0, -1.0, math.inf])
def test_a_drift_is_finite_and_above_0(drift):
    with pytest.raises(InvalidParameterError):
        BetLine(drift, 0.95, 1.0)


def of(value):
    return np.array([value])


def test_power_is_that_of_the_lower_of_both():
    """Bets that need more than the level leave its power; 0.87 and 0.19 are of 20,000 motions."""
    far, ample = BetLine(0.1, 1.0, 1.0), beside(0.9, drift=3.41)
    error, zero = of(0.1 * ERROR), of(0.0)
    height = of(level(0.1 * ERROR, 0.0, ample))

    alone = power_beside(far, of(2.2), of(0.01), zero, zero, 1.0, 3.0)
    assert alone[0] == pytest.approx(float(crossing_probability(2.2, 3.0, 1.0)))
    found = power_beside(ample, height, error, zero, zero, 1.0, 3.41)
    assert float(crossing_probability(height[0], 3.41, 1.0)) < found[0]
    assert found[0] == pytest.approx(0.871, abs=0.012)
    later = power_beside(ample, height, error, zero, of(0.48), 1.0, 3.41)
    assert later[0] == pytest.approx(0.190, abs=0.014)
    assert power_beside(ample, height, error, height, of(0.2), 1.0, 0.0) == 1.0


@given(st.floats(0.0, 1.0), st.floats(-2.0, 2.0), st.floats(-4.0, 6.0), st.floats(0.02, 0.98))
def test_power_grows_with_the_time_that_is_left(time, place, drift, share):
    line, error = beside(share), of((1.0 - share) * ERROR)
    height = of(level(float(error[0]), 0.0, line))
    ends = [time, (1.0 + time) / 2.0, 1.0]
    found = [
        float(power_beside(line, height, error, of(place), of(time), end, drift)[0]) for end in ends
    ]

    assert all(0.0 <= each <= 1.0 for each in found)
    assert found[0] <= found[1] + 1e-6
    assert found[1] <= found[2] + 1e-6
