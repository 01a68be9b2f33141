import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal, norm

from streams.model.errors import InvalidParameterError
from streams.stats.sequential.group_sequential import (
    MAX_LOOKS,
    Spending,
    boundaries,
    crossing,
    spent,
)

EVEN = (0.2, 0.4, 0.6, 0.8, 1.0)
look_times = st.lists(st.integers(1, 100), min_size=1, max_size=6, unique=True).map(
    lambda ticks: [tick / 100 for tick in sorted(ticks)]
)


@pytest.mark.parametrize(
    ("spending", "published"),
    [
        (Spending.OBRIEN_FLEMING, [4.88, 3.36, 2.68, 2.29, 2.03]),
        (Spending.POCOCK, [2.44, 2.43, 2.41, 2.40, 2.39]),
    ],
)
def test_boundaries_are_the_published_ones(spending, published):
    """DeMets and Lan (1994), "Interim analysis: the alpha spending function approach"."""
    assert boundaries(EVEN, 0.05, spending).round(2).tolist() == published


def test_one_look_is_the_fixed_test():
    assert boundaries([1.0], 0.05, Spending.POCOCK)[0] == pytest.approx(norm.ppf(0.975), abs=1e-9)


def test_crossing_is_the_integral_of_the_joint_normal():
    """Three looks against SciPy's quasi-Monte-Carlo integral, whose error is about 1e-6."""
    times, drift = [0.3, 0.7, 1.0], 2.5
    critical = boundaries(times, 0.05, Spending.POCOCK)
    correlation = [[math.sqrt(min(s, t) / max(s, t)) for t in times] for s in times]
    z = multivariate_normal(mean=[drift * math.sqrt(t) for t in times], cov=correlation, seed=1)

    inside = z.cdf(critical, lower_limit=-critical)

    assert crossing(times, critical, drift)[-1] == pytest.approx(1.0 - inside, abs=2e-5)


@settings(max_examples=25, deadline=None)
@given(look_times, st.sampled_from(Spending), st.floats(0.001, 0.3))
def test_what_is_spent_is_what_is_crossed(times, spending, alpha):
    critical = boundaries(times, alpha, spending)

    assert crossing(times, critical) == pytest.approx(spent(spending, times, alpha), abs=1e-8)


@settings(max_examples=25, deadline=None)
@given(look_times, st.sampled_from(Spending))
def test_looks_to_come_change_nothing(times, spending):
    all_looks = boundaries(times, 0.05, spending)

    assert boundaries(times[:1], 0.05, spending)[0] == all_looks[0]


def test_many_looks_keep_their_digits():
    times = np.arange(1, MAX_LOOKS + 1) / MAX_LOOKS
    critical = boundaries(times.tolist(), 0.05, Spending.OBRIEN_FLEMING)

    assert crossing(times.tolist(), critical)[-1] == pytest.approx(0.05, abs=1e-9)
    assert critical[0] == math.inf


def test_power_grows_with_the_drift_whatever_its_sign():
    critical = boundaries(EVEN, 0.05, Spending.OBRIEN_FLEMING)
    power = [crossing(EVEN, critical, drift)[-1] for drift in (0.0, 1.0, 3.0)]

    assert power == sorted(power)
    assert crossing(EVEN, critical, -3.0)[-1] == pytest.approx(power[-1], abs=1e-12)


@pytest.mark.parametrize(
    ("times", "alpha"),
    [([], 0.05), ([0.5, 0.5], 0.05), ([0.0, 1.0], 0.05), ([1.1], 0.05), ([1.0], 0.0)],
)
def test_arguments_outside_their_domain_are_refused(times, alpha):
    with pytest.raises(InvalidParameterError):
        boundaries(times, alpha, Spending.POCOCK)


def test_critical_values_must_match_the_looks():
    with pytest.raises(InvalidParameterError):
        crossing([0.5, 1.0], [2.0])
