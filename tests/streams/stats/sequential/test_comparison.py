import math
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from streams.model.errors import InvalidParameterError
from streams.stats.sequential.comparison import (
    MIN_PLANNED_UNITS,
    PLANNED_SHARE,
    intervals,
    p_values,
    pairwise_error,
)
from streams.stats.sequential.confidence_sequences import asymptotic_radius
from streams.stats.sequential.contrasts import PlainSums, fixed_contrast

conversions = st.integers(0, 5_000)
errors = st.floats(1e-6, 0.5)


class Interval(NamedTuple):
    lower: float
    upper: float


def plain(units, total, total_squared, share, largest=math.inf):
    fields = (units, total, total_squared, share, largest)
    return PlainSums(*(np.array([float(field)]) for field in fields))


def interval(compared, alpha, planned_units=0):
    """The only interval of a contrast of one pair."""
    result = intervals(compared, alpha, planned_units)
    return Interval(float(result.lower[0]), float(result.upper[0]))


def p_value(compared):
    return float(p_values(compared)[0])


def binary(a, b, units=20_000, share=0.5):
    return fixed_contrast(plain(units, a, a, share, 1.0), plain(units, b, b, 1 - share, 1.0))


def continuous(a, b, units=20_000, deviation=2.0):
    def sums(mean):
        return plain(units, units * mean, units * (mean**2 + deviation**2), 0.5)

    return fixed_contrast(sums(a), sums(b))


def test_planned_interval_worked_by_hand():
    """At the planned size it is that of a z-test at 1 - Phi(c) = 0.75 * 5 % / 4: c = 2.351."""
    compared = binary(2_200, 2_000)

    result = interval(compared, 0.05, planned_units=20_000)

    critical = norm.isf(PLANNED_SHARE * 0.05 / 4)
    assert critical == pytest.approx(2.3507, abs=1e-3)
    assert result.lower == pytest.approx(0.01 - critical * compared.standard_error)
    assert result.upper == pytest.approx(0.01 + critical * compared.standard_error)


def test_planned_interval_keeps_its_width():
    first, later = (
        interval(binary(round(0.11 * n), round(0.10 * n), n), 0.05, planned_units=20_000)
        for n in (20_000, 30_000)
    )

    assert later.upper - later.lower == pytest.approx(first.upper - first.lower, rel=0.01)


def test_before_the_planned_size_only_the_sequence_speaks():
    before = interval(binary(2_200, 2_000), 0.05, planned_units=20_001)

    assert before == interval(binary(2_200, 2_000), (1 - PLANNED_SHARE) * 0.05)


def test_a_small_minimum_is_no_plan():
    compared = binary(220, 200, units=2_000)

    assert interval(compared, 0.05, MIN_PLANNED_UNITS - 1) == interval(compared, 0.05)


def test_values_without_a_bound_have_the_asymptotic_sequence():
    compared = continuous(5.1, 5.0)

    result = interval(compared, 0.05)

    half = 2 * math.sqrt(4.0 + 0.0025) * asymptotic_radius(40_000, 0.05)
    assert (result.lower, result.upper) == pytest.approx((0.1 - half, 0.1 + half), rel=1e-6)


def test_asymptotic_interval_agrees_with_gbstats():
    """Printed by `gbstats` 0.8.0, SequentialTwoSidedTTest, 500 and 560 of 10,000, N* = 5,000."""
    compared = fixed_contrast(plain(10_000, 560, 560, 0.5), plain(10_000, 500, 500, 0.5))

    result = interval(compared, 0.05)

    # It estimates the variance in each variant, and here it is taken around the common mean.
    assert result.upper == pytest.approx(0.015906784471104503, rel=1e-3)


def test_nothing_is_known_before_both_variants_have_units():
    compared = fixed_contrast(plain(10, 5, 5, 0.5, 1.0), plain(0, 0, 0, 0.5, 1.0))

    result = interval(compared, 0.05)

    assert (result.lower, result.upper) == (-math.inf, math.inf)
    assert p_value(compared) == 1.0


def test_p_value_of_a_mean_is_that_of_the_msprt():
    """Johari, Pekelis and Walsh: sqrt(s2 / (s2 + n t2)) exp(n^2 t2 d^2 / (2 s2 (s2 + n t2)))."""
    compared = continuous(5.1, 5.0)
    n, s2 = 40_000, 4 * (4.0 + 0.0025)
    t2 = s2 * (-2 * math.log(0.05) + math.log(1 - 2 * math.log(0.05))) / 5_000

    ratio = math.sqrt(s2 / (s2 + n * t2)) * math.exp(n**2 * t2 * 0.1**2 / (2 * s2 * (s2 + n * t2)))

    assert p_value(compared) == pytest.approx(1 / ratio, rel=1e-6)


def test_values_that_do_not_vary_prove_nothing():
    assert p_value(continuous(5.0, 5.0, deviation=0.0)) == 1.0


@given(conversions, conversions, errors, st.sampled_from([0, 20_000]))
def test_smaller_error_means_wider(a, b, alpha, planned):
    wide, narrow = (interval(binary(a, b), error, planned) for error in (alpha / 2, alpha))

    assert wide.lower <= narrow.lower + 1e-12
    assert narrow.upper <= wide.upper + 1e-12


@given(conversions, conversions, errors)
def test_exchanging_the_variants_mirrors_the_interval(a, b, alpha):
    forth, back = interval(binary(a, b), alpha, 20_000), interval(binary(b, a), alpha, 20_000)

    assert (forth.lower, forth.upper) == pytest.approx((-back.upper, -back.lower), abs=1e-12)
    assert p_value(binary(a, b)) == pytest.approx(p_value(binary(b, a)))
    assert p_value(binary(a, b).reversed()) == pytest.approx(p_value(binary(a, b)))


@given(conversions, st.integers(1, 5_000))
def test_more_successes_are_more_evidence(b, more):
    less, greater = (interval(binary(b + extra, b), 0.05) for extra in (0, more))

    assert less.lower <= 0.0
    assert greater.lower + greater.upper > less.lower + less.upper


@given(conversions, conversions)
def test_p_value_and_interval_agree(a, b):
    """At 5 %, for which the p-value is tuned, both say the same unless they are on the edge."""
    compared = binary(a, b)
    p, result = p_value(compared), interval(compared, 0.05)

    if abs(p - 0.05) > 1e-6:
        assert (p < 0.05) == (result.lower > 0.0 or result.upper < 0.0)


def test_few_events_have_no_planned_reading():
    compared = binary(40, 5, units=5_000)

    assert interval(compared, 0.05, 5_000) == interval(compared, (1 - PLANNED_SHARE) * 0.05)


def test_readings_that_contradict_each_other_leave_the_sequence():
    """Their centres differ when the shares did: 18,000 against 22,000 units of an even split."""
    compared = fixed_contrast(
        plain(18_000, 9_000, 9_000, 0.5, 1.0), plain(22_000, 11_000, 11_000, 0.5, 1.0)
    )

    result = interval(compared, 0.05, 18_000)

    assert result == interval(compared, (1 - PLANNED_SHARE) * 0.05)


@pytest.mark.parametrize(("alpha", "planned"), [(0.0, 0), (1.0, 0), (0.05, -1)])
def test_arguments_outside_their_domain_are_refused(alpha, planned):
    with pytest.raises(InvalidParameterError):
        interval(binary(1, 1), alpha, planned)


@pytest.mark.statistical
def test_a_planned_test_that_goes_on_errs_seldom():
    """Equal rates of 10 %, 40 looks from 2,000 units a variant to 16,000, 4,000 repetitions.

    If the probability were exactly 5 %, more than 262 false winners would have probability 1e-5.
    """
    random = np.random.default_rng(20260303)
    steps = np.full(40, 359)
    steps[0] = 2_000
    successes = random.binomial(steps[:, None, None], 0.1, (40, 4_000, 2)).cumsum(axis=0)
    units = steps.cumsum()
    wrong = np.zeros(4_000, dtype=bool)
    half, one = np.full(4_000, 0.5), np.ones(4_000)
    for n, look in zip(units.tolist(), successes.astype(float), strict=True):
        a, b = (PlainSums(np.full(4_000, float(n)), x, x, half, one) for x in look.T)
        result = intervals(fixed_contrast(a, b), 0.05, 2_000)
        wrong |= (result.lower > 0.0) | (result.upper < 0.0)

    assert wrong.sum() <= 262


def test_error_of_a_pair_is_shared_by_the_variants():
    assert pairwise_error(0.05, 2) == 0.05
    assert pairwise_error(0.05, 10) == pytest.approx(0.01)


@pytest.mark.parametrize(("alpha", "n_arms"), [(0.0, 2), (1.0, 2), (0.05, 1)])
def test_error_of_a_pair_needs_a_pair(alpha, n_arms):
    with pytest.raises(InvalidParameterError):
        pairwise_error(alpha, n_arms)
