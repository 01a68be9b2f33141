import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.optimize import brentq

from streams.stats.sample import Sample
from streams.stats.sequential.comparison import UNPLANNED_RATES, intervals
from streams.stats.sequential.contrasts import PlainSums, fixed_contrast
from streams.stats.sequential.relative import Ratio, share_of_control

means = st.floats(0.01, 100.0)
shares = st.floats(0.0, 1.0)
reaches = st.floats(0.0, 200.0)


def test_ends_of_a_lift_worked_by_hand():
    """Means 3 and 1, variances 0.16 and 0.09, a reach of 2: (3 - t)^2 = 4 (0.16 + 0.09 t^2).

    0.64 t^2 - 6 t + 8.36 = 0, so t = (6 -+ sqrt(36 - 21.4016)) / 1.28.
    """
    ratio = Ratio(2.0, 1.0, 0.36)

    assert ratio.lift == 2.0
    assert ratio.lower(1.0) == pytest.approx((6.0 - 14.5984**0.5) / 1.28 - 1.0)
    assert ratio.upper(3.0) == pytest.approx((6.0 + 14.5984**0.5) / 1.28 - 1.0)


@given(means, means, shares, reaches)
def test_ends_are_where_the_difference_from_a_multiple_is_as_far_as_it_reaches(
    variant, control, share, reach
):
    ratio = Ratio(variant - control, control, share)

    def beyond(lift, side):
        times = 1.0 + lift
        width = reach * math.sqrt(1.0 - share + share * times * times)
        return side * (variant - times * control) - width

    lower = ratio.lower(ratio.difference - reach)
    if beyond(-1.0, 1.0) > 0.0:
        found = brentq(beyond, -1.0, variant / control, args=(1.0,), xtol=1e-12, rtol=1e-12)
        assert lower == pytest.approx(found, rel=1e-6, abs=1e-6)
    upper = ratio.upper(ratio.difference + reach)
    if beyond(1e12, -1.0) > 0.0:
        found = brentq(beyond, -1.0, 1e12, args=(-1.0,), xtol=1e-12, rtol=1e-12)
        assert upper == pytest.approx(found, rel=1e-6, abs=1e-6)
    elif control < 0.999 * reach * math.sqrt(share):
        assert upper == math.inf
    assert lower <= ratio.lift + 1e-9 * (1.0 + abs(ratio.lift)) or not reach
    assert upper >= ratio.lift - 1e-9 * (1.0 + abs(ratio.lift)) or not reach


@given(st.floats(-100.0, 100.0), means, shares, st.floats(-100.0, 100.0))
def test_a_lift_has_the_sign_of_the_difference(difference, control, share, end):
    assume(end)
    ratio = Ratio(difference, control, share)

    for lift in (ratio.lower(end), ratio.upper(end)):
        assert lift * end >= 0.0


def test_no_end_of_the_difference_is_no_end_of_the_lift():
    assert Ratio(0.1, 0.1, 0.5).lower(-math.inf) == -math.inf
    assert Ratio(0.1, 0.1, 0.5).upper(math.inf) == math.inf


@given(means, means, shares, reaches, st.integers(-900, 900))
def test_a_lift_has_no_unit(variant, control, share, reach, exponent):
    """Of values a power of two as large, in which no digit changes, it is the same to the bit."""
    ratio = Ratio(variant - control, control, share)
    scaled = Ratio(math.ldexp(variant - control, exponent), math.ldexp(control, exponent), share)
    lower, upper = ratio.difference - reach, ratio.difference + reach

    assert scaled.lower(math.ldexp(lower, exponent)) == ratio.lower(lower)
    assert scaled.upper(math.ldexp(upper, exponent)) == ratio.upper(upper)


def test_ends_that_are_no_numbers_are_no_ends():
    assert Ratio(1.0, 1.0, 0.5).lower(math.nan) == -math.inf
    assert Ratio(1e308, 1e308, 0.5).lower(-1e308) == -math.inf
    assert Ratio(-1e308, 1e308, 0.5).upper(1e308) == math.inf


@pytest.mark.parametrize("power", [0, 200, 306])
def test_a_share_of_any_deviations_is_that_of_their_proportion(power):
    deviations = 2.0 * 10.0**power
    variant, control = (Sample(100, 10, 1.0, deviations, 0.0) for _ in range(2))

    assert share_of_control(variant, control) == 0.5


def test_nothing_uncertain_about_the_control_leaves_the_difference_over_its_mean():
    ratio = Ratio(0.1, 0.2, 0.0)

    assert (ratio.lower(0.04), ratio.upper(0.16)) == pytest.approx((0.2, 0.8))


def test_share_worked_by_hand():
    """The typical value of 10 deviations in 10 units counts 1, so 9 in 1,000 and 3 in 500."""
    variant, control = Sample(1_000, 8, 8, 8.0, 0.0), Sample(500, 2, 2, 2.0, 0.0)

    assert share_of_control(variant, control) == pytest.approx(12e-6 / (9e-6 + 12e-6))
    nothing = Sample(0, 0, 0, 0.0, 0.0)
    assert share_of_control(nothing, nothing) == 0.5


@pytest.mark.statistical
def test_lifts_of_three_times_the_control_are_covered_at_every_look():
    """15 % against 5 %, 60 looks every 200 units. If 5 % of 600 experiments ever missed, more than
    52 would have probability 2e-4; the ends of the difference over the control's mean miss in 200.
    """
    random = np.random.default_rng(20260305)
    experiments = 600
    units, converted = np.zeros((2, experiments)), np.zeros((2, experiments))
    rates, one, half = np.array([[0.15], [0.05]]), np.ones(experiments), np.full(experiments, 0.5)
    missed = np.zeros(experiments, dtype=bool)
    for _ in range(60):
        new = np.full((2, experiments), 100)
        units += new
        converted += random.binomial(new, rates)
        a, b = (
            PlainSums(n, x, x, half, one, converted=x)
            for n, x in zip(units, converted, strict=True)
        )
        compared = fixed_contrast(a, b)
        found = intervals(compared, 0.05, UNPLANNED_RATES)
        for place in range(experiments):
            samples = [
                Sample(n, x, x, x - x * x / n, 0.0)
                for n, x in zip(units[:, place], converted[:, place], strict=True)
            ]
            if not converted[1, place]:
                continue
            share = share_of_control(*samples)
            ratio = Ratio(float(compared.difference[place]), samples[1].mean, share)
            lower, upper = (
                ratio.lower(float(found.lower[place])),
                ratio.upper(float(found.upper[place])),
            )
            missed[place] |= not lower <= 2.0 <= upper

    assert missed.sum() <= 52
