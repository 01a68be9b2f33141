import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.model.errors import InvalidParameterError
from streams.stats.nonstationary import delayed_conversions
from streams.stats.nonstationary.delayed_conversions import ArrivalCurve
from streams.stats.nonstationary.period_samples import Samples
from streams.stats.posteriors.beta import BetaPosterior
from streams.stats.sample import Sample

N_DAYS = 20


def matured(periods, shares):
    """One variant."""
    rows = Samples.of([[period] for period in periods]) if periods else Samples.tallied([], 1)
    return delayed_conversions.matured(rows, shares).row(0)[0]


def simulated(rng, rate, units_a_day, mean_delay):
    """Units of 20 days, the newest just over, whose conversions take an exponential time."""
    ages = np.arange(N_DAYS, 0, -1)
    arrived = np.zeros((N_DAYS, N_DAYS))
    for day, age in enumerate(ages):
        delays = rng.exponential(mean_delay, rng.binomial(units_a_day, rate))
        buckets = np.floor(delays[delays < age]).astype(int)
        arrived[day] = np.bincount(buckets, minlength=N_DAYS)[:N_DAYS]
    return arrived, ages


def test_curve_worked_by_hand():
    """Of 10 by day 3 one came last; of 27 by day 2, 9; so 0.9, and 0.9 * 18 / 27."""
    curve = ArrivalCurve.estimated([[6, 3, 1], [12, 6, 0], [12, 0, 0]], [3, 2, 1])

    assert curve.shares == pytest.approx([0.6, 0.9, 1.0])
    assert curve.at([0.0, 0.5, 1.0, 1.5, 3.0, 9.0]) == pytest.approx([0, 0.3, 0.6, 0.75, 1.0, 1.0])


def test_buckets_that_are_not_over_are_not_used():
    """The same table with a part of the running day in it."""
    full = ArrivalCurve.estimated([[6, 3, 1], [12, 6, 0], [12, 0, 0]], [3, 2, 1])
    begun = ArrivalCurve.estimated([[6, 3, 1], [12, 6, 5], [12, 2, 0]], [3.9, 2.5, 1.2])

    assert begun.shares == pytest.approx(full.shares)


def test_curve_of_exponential_delays_is_found_where_a_histogram_is_not():
    """20 days, delays of 5 days on average; within 20 days, 1 - e^(-t / 5) over 1 - e^-4.

    About 8,000 conversions: standard errors are below 0.012, and four of them fail once in 10^4 for
    one bucket, so once in 800 for all. The histogram is 0.05 and more away.
    """
    arrived, ages = simulated(np.random.default_rng(31), 0.1, 5_000, 5.0)
    truth = (1 - np.exp(-np.arange(1, N_DAYS + 1) / 5)) / (1 - np.exp(-4))
    histogram = arrived.sum(axis=0).cumsum() / arrived.sum()

    curve = ArrivalCurve.estimated(arrived, ages)

    assert curve.shares == pytest.approx(truth, abs=0.048)
    assert np.abs(histogram - truth).max() > 0.05


def test_rate_of_young_units_is_estimated_without_bias():
    """2,000 units a day at 10 %; 40 repetitions have a standard error of 0.0003.

    The truth is the rate within 20 days. Six standard errors fail once in 10^8; without the curve
    the rate comes out a quarter too low.
    """
    rng = np.random.default_rng(37)
    estimates, plain = [], []
    for _ in range(40):
        arrived, ages = simulated(rng, 0.1, 2_000, 5.0)
        periods = [Sample(2_000, n, n, n * (1 - n / 2_000), 0.0) for n in arrived.sum(axis=1)]
        shares = ArrivalCurve.estimated(arrived, ages).at(ages)
        estimates.append(matured(periods, shares.tolist()).mean)
        plain.append(Samples.of([[period] for period in periods]).pooled().row(0)[0].mean)

    truth = 0.1 * (1 - np.exp(-4))
    assert np.mean(estimates) == pytest.approx(truth, abs=0.002)
    assert np.mean(plain) < 0.8 * truth


def test_posterior_is_that_of_vernade_and_others():
    """Beta(1 + conversions, 1 + sum of F(age) - conversions)."""
    sample = matured([Sample(100, 10, 10, 9, 0), Sample(50, 1, 1, 0.98, 0)], [1.0, 0.3])
    arm = BetaPosterior.observed([sample.total], [sample.units - sample.total])

    assert (arm.alpha[0], arm.beta[0]) == (12.0, pytest.approx(1 + 115 - 11))


def test_deviations_are_those_of_the_fewer_units():
    """Values 2 and 4 among 8 units at a half: as among 4 units, mean 1.5, deviations 11."""
    sample = matured([Sample(8, 2, 6.0, 15.5, 2.0)], [0.5])

    assert sample == Sample(4.0, 2, 6.0, 11.0, 2.0)


def test_more_conversions_than_could_have_come_are_all_there_is():
    sample = matured([Sample(100, 40, 40, 24, 0)], [0.1])

    assert (sample.units, sample.mean, sample.squared_deviations) == (40.0, 1.0, 0.0)


def test_nothing_assigned_is_nothing():
    assert matured([], []) == Sample(0, 0, 0, 0, 0)
    assert ArrivalCurve.estimated(np.zeros((2, 3)), [3, 1]).shares.tolist() == [1.0, 1.0, 1.0]


def test_units_of_full_age_change_nothing():
    period = Sample(100, 10, 500.0, 60_000.0, 37_500.0)

    assert matured([period], [1.0]) == period


tables = st.integers(1, 6).flatmap(
    lambda n_buckets: st.lists(
        st.tuples(
            st.lists(st.integers(0, 1_000), min_size=n_buckets, max_size=n_buckets),
            st.integers(0, n_buckets),
        ),
        min_size=1,
        max_size=6,
    )
)


@given(tables)
def test_curve_rises_to_one(rows):
    curve = ArrivalCurve.estimated([row for row, _ in rows], [age for _, age in rows])

    assert np.all(np.diff(curve.shares) >= 0.0)
    assert curve.shares[0] >= 0.0
    assert curve.shares[-1] == 1.0


@given(tables, st.randoms(use_true_random=False))
def test_order_of_the_periods_does_not_matter(rows, random):
    shuffled = list(rows)
    random.shuffle(shuffled)

    one, other = (
        ArrivalCurve.estimated([row for row, _ in order], [age for _, age in order]).shares
        for order in (rows, shuffled)
    )
    assert np.array_equal(one, other)


@given(tables)
def test_with_all_periods_of_full_age_the_curve_is_the_histogram(rows):
    arrived = np.array([row for row, _ in rows], dtype=float)
    total = arrived.sum()

    curve = ArrivalCurve.estimated(arrived, np.full(len(rows), arrived.shape[1]))

    if total:
        assert curve.shares == pytest.approx(arrived.sum(axis=0).cumsum() / total)


@pytest.mark.parametrize(
    ("arrived", "ages", "name"),
    [
        ([[1, -1]], [1], "arrived"),
        ([1, 2], [1], "arrived"),
        ([[1, 2]], [-1], "ages"),
        ([[1, 2]], [1, 2], "ages"),
    ],
)
def test_what_cannot_be_is_refused(arrived, ages, name):
    with pytest.raises(InvalidParameterError) as caught:
        ArrivalCurve.estimated(arrived, ages)

    assert caught.value.path == name


def test_shares_are_shares():
    with pytest.raises(InvalidParameterError):
        matured([Sample(9, 1, 1, 0.9, 0)], [1.5])
