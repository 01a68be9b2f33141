import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate

from streams.model.errors import InvalidParameterError
from streams.stats.sequential.confidence_sequences import (
    Mixture,
    asymptotic_radius,
    bounded_radius,
    log_e_values,
)


def radius(sum_of_squares, bound=1.0, alpha=0.05, **options):
    return float(bounded_radius(np.array([sum_of_squares]), np.array([bound]), alpha, **options)[0])


def mixture_by_quadrature(s, v, rho):
    """The integral that `Mixture` has in closed form."""

    def prior(x):
        return (1 - x) ** (rho - 1) * math.exp(-rho * (1 - x))

    def weighted(x):
        return prior(x) * math.exp(x * s - (-math.log1p(-x) - x) * v)

    top, bottom = (
        integrate.quad(f, 0, 1, epsabs=0, epsrel=1e-11, limit=500)[0] for f in (weighted, prior)
    )
    return math.log(top / bottom)


@pytest.mark.parametrize(
    ("s", "v", "rho"),
    [(0, 0, 3), (3, 1, 2), (10, 20, 5), (0, 3, 20), (30, 100, 20), (100, 2_000, 20)],
)
def test_mixture_is_the_integral_over_the_bets(s, v, rho):
    mixture = Mixture(np.array([float(v)]), rho)
    value, slope = mixture.log_and_slope(np.array([float(s)]))
    after = mixture.log(np.array([s + 1e-4]))

    assert value[0] == pytest.approx(mixture_by_quadrature(s, v, rho), abs=1e-8)
    assert slope[0] == pytest.approx((after[0] - value[0]) / 1e-4, abs=1e-4)


def test_radius_is_where_the_mixture_reaches_one_over_alpha():
    mixture = Mixture(np.array([300.0]), 10.0 / 7.935)

    value = mixture.log(np.array([radius(300.0, planned_events=10.0)]))

    # rho = planned / (2 log 20 + log(1 + 2 log 20)) = 10 / 7.935...
    assert value[0] == pytest.approx(math.log(20), abs=1e-3)


@pytest.mark.parametrize(
    ("s", "v", "planned", "printed"),
    [
        (60.0, 300.0, 500.0, 4.294183916473685),
        (30.0, 100.0, 50.0, 2.6714141027914593),
        (300.0, 5_000.0, 500.0, 6.9419302567403065),
    ],
)
def test_e_value_agrees_with_confseq(s, v, planned, printed):
    """Printed by `confseq` 0.0.11: gamma_exponential_log_mixture(s, v, planned, 1.0, 0.0125).

    It takes one-sided errors to tune for, and we two-sided ones, so 0.0125 is our 0.025.
    """
    value = log_e_values(np.array([s]), np.array([v]), np.array([1.0]), planned)

    assert value[0] == pytest.approx(printed, abs=1e-9)


@pytest.mark.parametrize(
    ("squares", "printed"),
    [
        (10.0, 21.91628884147576),
        (300.0, 55.71313893934757),
        (4_200.0, 214.41083201331708),
        (1e6, 3995.3159896235493),
    ],
)
def test_radius_agrees_with_confseq(squares, printed):
    """Printed by `confseq` 0.0.11: gamma_exponential_mixture_bound(v, .025, 500, 1.0, .0125)."""
    assert radius(squares, alpha=0.025) == pytest.approx(printed, rel=1e-8)


def test_asymptotic_radius_agrees_with_confseq():
    """Printed by `confseq` 0.0.11: normal_mixture_bound(20_000, .05, 5_000, .05, False)."""
    assert asymptotic_radius(20_000, 0.05) * 20_000 == pytest.approx(442.2407233092284, rel=1e-12)


def test_no_rise_is_no_evidence():
    assert log_e_values(np.array([-3.0, 0.0]), np.ones(2), np.ones(2)).tolist() == [0.0, 0.0]


@given(st.floats(0.1, 1e4), st.floats(0.0, 1e6), st.floats(0.1, 100.0))
def test_e_value_reaches_its_threshold_at_the_radius(bound, squares, factor):
    squares *= bound * bound
    edge = float(bounded_radius(np.array([squares]), np.array([bound]), 0.025)[0])

    value = log_e_values(np.array([edge * factor]), np.array([squares]), np.array([bound]))[0]

    assert (value >= math.log(40) * (1 - 1e-6)) == (factor >= 1.0) or abs(factor - 1) < 1e-6


def test_asymptotic_width_agrees_with_gbstats():
    """Printed by `gbstats` 0.8.0, SequentialTwoSidedTTest, 500 and 560 of 10,000, N* = 5,000."""
    half_width = math.sqrt(1.0036400000000001e-05 * 20_000) * asymptotic_radius(20_000, 0.05)

    assert half_width == pytest.approx(0.015906784471104503 - 0.005999999999999998, rel=1e-12)


@given(st.floats(0.0, 1e12), st.floats(1.0, 65_536.0), st.floats(1e-6, 0.5))
def test_radius_grows_with_the_squares_and_with_confidence(squares, bound, alpha):
    assert 0.0 < radius(squares, bound, alpha) <= radius(2 * squares + 1, bound, alpha) * (1 + 1e-9)
    assert radius(squares, bound, alpha) < radius(squares, bound, alpha / 2)


@pytest.mark.parametrize("bound", [0.0, -1.0, float("inf"), float("nan")])
def test_bound_outside_its_domain_is_refused(bound):
    with pytest.raises(InvalidParameterError):
        radius(1.0, bound)


@pytest.mark.statistical
@pytest.mark.parametrize(
    ("rate", "shares"), [(0.05, (0.5, 0.5)), (0.004, (0.9, 0.1)), (0.004, (0.99, 0.01))]
)
def test_sequence_covers_the_difference_at_every_look(rate, shares):
    """Two equal arms, 130 looks in 40,000 units, 2,000 repetitions: 10 % at most may ever miss 0.

    If the true probability were exactly 10 %, more than 260 failures would have probability 7e-6.
    """
    repetitions, looks, per_look, alpha = 2_000, 400, 100, 0.1
    random = np.random.default_rng(20260101)
    bounds = [1 / share for share in shares]
    failed = np.zeros(repetitions, dtype=bool)
    totals, squares = np.zeros(repetitions), np.zeros(repetitions)
    for look in range(1, looks + 1):
        for sign, share, bound in zip((1, -1), shares, bounds, strict=True):
            events = random.binomial(per_look, share * rate, repetitions)
            totals += sign * events * bound
            squares += events * bound**2
        if look % 4 == 0 or look <= 40:  # often while there is little
            below = bounded_radius(squares, np.full(repetitions, bounds[1]), alpha / 2)
            above = bounded_radius(squares, np.full(repetitions, bounds[0]), alpha / 2)
            failed |= (totals > below) | (-totals > above)

    assert failed.sum() <= 260
