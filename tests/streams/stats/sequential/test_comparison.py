import math
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.experiments.plan import PlanSpec
from streams.model.errors import InvalidParameterError
from streams.stats.alternative import Alternative
from streams.stats.direction import Direction
from streams.stats.kinds import MetricKind
from streams.stats.sequential.comparison import (
    NARROWEST,
    PLANNED_SHARE,
    UNPLANNED,
    ReadingShare,
    both_sides,
    intervals,
    p_values,
    pairwise_error,
    planned_readings,
)
from streams.stats.sequential.confidence_sequences import asymptotic_radius
from streams.stats.sequential.contrasts import PlainSums, fixed_contrast
from streams.stats.sequential.planned_information import PlannedInformation
from streams.stats.sequential.readings import ConfidenceSequence

conversions = st.integers(0, 5_000)
errors = st.floats(1e-6, 0.5)


class Interval(NamedTuple):
    lower: float
    upper: float


def plain(units, total, total_squared, share, largest=math.inf):
    fields = (units, total, total_squared, share, largest)
    return PlainSums(*(np.array([float(field)]) for field in fields))


def interval(compared, alpha, plan=None):
    """The only interval of a contrast of one pair."""
    result = intervals(compared, alpha, readings(plan))
    return Interval(float(result.lower[0]), float(result.upper[0]))


def readings(plan):
    return UNPLANNED if plan is None else planned_readings(PlannedInformation(plan))


def p_value(compared, alpha=0.05, plan=None):
    return float(p_values(compared, alpha, readings(plan))[0])


def binary(a, b, units=20_000, share=0.5):
    return fixed_contrast(plain(units, a, a, share, 1.0), plain(units, b, b, 1 - share, 1.0))


@pytest.mark.parametrize("largest", [1.0, math.inf])
@pytest.mark.parametrize("plan", [None, 400.0])
def test_values_whose_units_are_not_seen_yet_say_nothing(largest, plan):
    compared = fixed_contrast(plain(5_000, 900, 900, 0.5, largest), plain(0, 40, 40, 0.5, largest))

    assert interval(compared, 0.05, plan) == (-math.inf, math.inf)
    assert p_value(compared, 0.05, plan) == 1.0


def continuous(a, b, units=20_000, deviation=2.0):
    def sums(mean):
        return plain(units, units * mean, units * (mean**2 + deviation**2), 0.5)

    return fixed_contrast(sums(a), sums(b))


def test_planned_interval_worked_by_hand():
    """2,000 and 2,200 of 20,000: V = 40,000 x 0.105 x 0.895 = 3,759, and t = 3,759 / V_plan.

    98 % of 2.5 % a side is the level c = 2.2627: the half width is c / sqrt(t) standard errors
    within the plan, and 1.3 c sqrt(t) beyond it.
    """
    compared = binary(2_200, 2_000)
    variance = 40_000 * 0.105 * 0.895
    error = math.sqrt(variance) / 20_000

    for plan, factor in ((2 * variance, 2**0.5), (variance, 1.0), (variance / 1.44, 1.56)):
        result = interval(compared, 0.05, plan)
        half = 2.2627 * factor * error
        assert float(compared.variance[0]) == pytest.approx(variance)
        assert (result.lower, result.upper) == pytest.approx((0.01 - half, 0.01 + half), abs=2e-6)


def test_the_sequence_beside_a_plan_is_narrow_beyond_it():
    """Its share is a fiftieth; it alone speaks where nothing is Gaussian."""
    compared = binary(30, 2)  # 32 conversions
    alone = (ReadingShare(ConfidenceSequence(NARROWEST * 4_000.0), 1.0),)

    result = intervals(compared, (1 - PLANNED_SHARE) * 0.05, alone)

    assert interval(compared, 0.05, 4_000.0) == (float(result.lower[0]), float(result.upper[0]))


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


@given(conversions, conversions, errors, st.sampled_from([None, 4_000.0]))
def test_smaller_error_means_wider(a, b, alpha, planned):
    wide, narrow = (interval(binary(a, b), error, planned) for error in (alpha / 2, alpha))

    assert wide.lower <= narrow.lower + 1e-12
    assert narrow.upper <= wide.upper + 1e-12


@given(conversions, conversions, errors)
def test_exchanging_the_variants_mirrors_the_interval(a, b, alpha):
    forth, back = interval(binary(a, b), alpha, 4_000.0), interval(binary(b, a), alpha, 4_000.0)

    assert (forth.lower, forth.upper) == pytest.approx((-back.upper, -back.lower), abs=1e-12)
    assert p_value(binary(a, b)) == pytest.approx(p_value(binary(b, a)))
    assert p_value(binary(a, b).reversed()) == pytest.approx(p_value(binary(a, b)))


@given(conversions, st.integers(1, 5_000))
def test_more_successes_are_more_evidence(b, more):
    less, greater = (interval(binary(b + extra, b), 0.05) for extra in (0, more))

    assert less.lower <= 0.0
    assert greater.lower + greater.upper > less.lower + less.upper


@given(conversions, conversions, errors, st.sampled_from([None, 40.0, 2_000.0, 1e6]))
def test_p_value_and_interval_agree(a, b, alpha, plan):
    """Whatever the error and the plan, both say the same unless they are on the edge."""
    for compared in (binary(a, b), continuous(a / 5_000, b / 5_000, deviation=1.0)):
        p, result = p_value(compared, alpha, plan), interval(compared, alpha, plan)

        if abs(p / alpha - 1.0) > 1e-6:
            assert (p < alpha) == (result.lower > 0.0 or result.upper < 0.0)


def test_readings_that_contradict_each_other_leave_the_sequence():
    """Their centres differ when the shares did: 18,000 against 22,000 units of an even split."""
    compared = fixed_contrast(
        plain(18_000, 9_000, 9_000, 0.5, 1.0), plain(22_000, 11_000, 11_000, 0.5, 1.0)
    )

    result = interval(compared, 0.05, 8_000.0)

    alone = planned_readings(PlannedInformation(8_000.0))[:1]
    first = intervals(compared, 0.05, alone)
    assert (result.lower, result.upper) == (float(first.lower[0]), float(first.upper[0]))
    assert result.upper < 0.0
    assert p_value(compared, 0.05, 8_000.0) < 0.05


@pytest.mark.parametrize(("alpha", "planned"), [(0.0, None), (1.0, None), (0.05, -1.0)])
def test_arguments_outside_their_domain_are_refused(alpha, planned):
    with pytest.raises(InvalidParameterError):
        interval(binary(1, 1), alpha, planned)


@pytest.mark.statistical
def test_units_that_come_at_once_and_convert_late_err_seldom():
    """5,000 units of each variant at once, 0.2 % of them convert a day, 60 days, daily looks.

    Planned are 12 %. In 4,000 repetitions, if the probability of ever naming one were exactly 5 %,
    more than 262 false winners would have probability 1e-5. (With units for the clock it was
    10.7 %.)
    """
    random = np.random.default_rng(20260303)
    late = random.binomial(5_000, 0.002, (60, 4_000, 2)).cumsum(axis=0)
    wrong = np.zeros(4_000, dtype=bool)
    units, half, one = np.full(4_000, 5_000.0), np.full(4_000, 0.5), np.ones(4_000)
    planned = planned_readings(PlannedInformation(2 * 5_000 * 0.12 * 0.88, 0.12))
    for look in late.astype(float):
        a, b = (PlainSums(units, x, x, half, one) for x in look.T)
        result = intervals(fixed_contrast(a, b), 0.05, planned)
        wrong |= (result.lower > 0.0) | (result.upper < 0.0)

    assert wrong.sum() <= 262


@pytest.mark.statistical
def test_units_that_come_at_once_and_buy_once_err_seldom():
    """2,000 users of each variant at once, 2 % of them buy for 10 a day, and then never again.

    In 4,000 repetitions, if the probability of ever naming one were exactly 5 %, more than 262
    false winners would have probability 1e-5. (Taken for a motion without a bridge it was 7.6 %.)
    """
    random = np.random.default_rng(20260304)
    waiting = np.full((4_000, 2), 2_000)
    bought = np.zeros((4_000, 2))
    plan = PlanSpec(baseline=7.0, lift=0.1, units=2_000, deviation=21**0.5)
    information = plan.information(MetricKind.REVENUE, Direction.INCREASE)
    planned = planned_readings(
        PlannedInformation(information, plan.share_of_mean(MetricKind.REVENUE))
    )
    wrong = np.zeros(4_000, dtype=bool)
    units, half, none = np.full(4_000, 2_000.0), np.full(4_000, 0.5), np.full(4_000, math.inf)
    for _ in range(60):
        new = random.binomial(waiting, 0.02)
        waiting = waiting - new
        bought += new
        a, b = (PlainSums(units, 10.0 * x, 100.0 * x, half, none) for x in bought.T)
        result = intervals(fixed_contrast(a, b), 0.05, planned)
        wrong |= (result.lower > 0.0) | (result.upper < 0.0)

    assert wrong.sum() <= 262


def test_error_of_a_pair_is_shared_by_the_variants():
    assert pairwise_error(0.05, 2) == 0.05
    assert pairwise_error(0.05, 11) == pytest.approx(0.005)
    assert pairwise_error(0.05, 11, with_control=False) == pytest.approx(0.0095)


@pytest.mark.parametrize("n_arms", range(2, 12))
def test_wrong_winners_have_the_error_of_the_experiment(n_arms):
    """One-sided failures by which a wrong variant can be declared, whichever is the best."""
    control = pairwise_error(0.05, n_arms) / 2
    other = pairwise_error(0.05, n_arms, with_control=False) / 2

    assert n_arms * control <= 0.05 + 1e-12
    assert control + (n_arms - 1) * other <= 0.05 + 1e-12 or n_arms == 2


@pytest.mark.parametrize(("alpha", "n_arms"), [(0.0, 2), (1.0, 2), (0.05, 1)])
def test_error_of_a_pair_needs_a_pair(alpha, n_arms):
    with pytest.raises(InvalidParameterError):
        pairwise_error(alpha, n_arms)


@pytest.mark.parametrize("n_arms", [2, 3, 10])
def test_wrong_winners_have_the_error_of_the_experiment_where_the_control_cannot_win(n_arms):
    side = Alternative.BETTER
    of_control, of_others = (
        side.of_one_side(pairwise_error(0.05, n_arms, with_control=each, alternative=side))
        for each in (True, False)
    )

    # The control is best: one failure of K - 1. Another is: K - 2 of others, and its own.
    assert (n_arms - 1) * of_control <= 0.05 * (1.0 + 1e-12)
    assert (n_arms - 2) * of_others + of_others <= 0.05 * (1.0 + 1e-12)


def test_sides_are_those_of_the_reversed_contrasts():
    compared = binary(130, 100, units=1_000)
    error = np.full(1, 0.05)
    here = both_sides(compared, error, UNPLANNED)
    there = both_sides(compared.reversed(), error, UNPLANNED)

    assert here.intervals.lower == pytest.approx(-there.intervals.upper)
    assert here.above == pytest.approx(there.below)
    assert here.above[0] < 1.0 == here.below[0]
    assert here.two_sided == pytest.approx(2.0 * here.above)
