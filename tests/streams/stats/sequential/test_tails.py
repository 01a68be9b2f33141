"""Tails that have been seen, by hand and against the weights themselves."""

from __future__ import annotations

import math
from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from streams.stats.sequential.comparison import intervals, p_values
from streams.stats.sequential.contrasts import (
    PlainSums,
    WeightedSums,
    fixed_contrast,
    overlap_contrast,
)
from streams.stats.sequential.one_sided import one_sided_p_values
from streams.stats.sequential.tails import (
    Moments,
    Tails,
    are_ends_believed,
    units_needed,
)


def moments(values, heaviest=1.0):
    return Moments(
        *(np.array([each]) for each in (np.var(values), stats.moment(values, 3), heaviest))
    )


def tails(values, weights=None):
    weights = np.ones(len(values)) if weights is None else np.asarray(weights)
    sums = (float(len(values)), weights.sum(), (weights**2).sum())
    return Tails.of(
        moments(values, float(weights.max())), *(np.array([float(each)]) for each in sums)
    )


def both(a, b):
    """Return the tails of two variants, one after the other."""
    columns = zip(*(astuple(tails(each)) for each in (a, b)), strict=True)
    return Tails(*map(np.array, columns))


def plain(values):
    """Return the sums over the units of one of two variants with even shares."""
    fields = (len(values), np.sum(values), np.sum(np.square(values)), 0.5, math.inf)
    return PlainSums(*(np.array([float(field)]) for field in fields), moments=moments(values))


def test_a_worked_example():
    """One unit of ten has 1: skewness 0.8 / 0.3, so 1 + skewness squared is 8.11."""
    values = np.array([1.0] + [0.0] * 9)

    assert moments(values).skewness == pytest.approx(0.8 / 0.3)
    assert units_needed(moments(values).skewness) == pytest.approx(60 * (1 + 64 / 9))
    assert not tails(np.tile(values, 48)).is_right_seen
    assert tails(np.tile(values, 49)).is_right_seen  # 490 units instead of 486.7
    assert tails(np.tile(values, 6)).is_left_seen  # a number of units that does not occur


def test_who_has_the_long_tail_is_not_taken_for_the_worse_one():
    """Of equal means, the long tail of one may be missing: it may win, and must not lose."""
    long, short = np.tile([9.0] + [0.0] * 9, 20), np.tile([1.1, 0.9], 100)

    compared = fixed_contrast(plain(long * 0.5), plain(short))

    assert compared.has_lower.tolist() == [True]
    assert compared.has_upper.tolist() == [False]
    assert compared.reversed().has_upper.tolist() == [True]
    found = intervals(compared, 0.05)
    assert np.isfinite(found.lower).all()
    assert found.upper.tolist() == [math.inf]
    assert p_values(compared).tolist() == [1.0]  # it is below, which is not believed
    assert one_sided_p_values(compared.reversed()).tolist() == [1.0]


def test_a_sum_that_is_skewed_to_the_left_has_no_lower_end():
    """Tails are seen, and still the sum of so few of them is not normal."""
    values = np.tile([1.0] + [0.0] * 9, 60)
    nothing = np.tile([0.101, 0.099], 300)

    assert tails(values).is_right_seen
    # 2.67 over the root of 600 is 0.11.
    assert are_ends_believed(both(nothing, values)).tolist() == [[False], [True]]
    assert are_ends_believed(both(values, nothing)).tolist() == [[True], [False]]
    assert are_ends_believed(both(values, values)).all()  # skewness of equals cancels


def test_equal_values_say_nothing_of_a_tail():
    assert not tails(np.zeros(10_000)).is_right_seen
    assert not tails(np.zeros(10_000)).is_left_seen


def test_sums_without_moments_are_believed():
    """Of bounded values every number of units is enough."""
    one = np.ones(1)
    sums = WeightedSums(one, one, one, one, one, one, np.inf * one, one)

    compared = overlap_contrast(sums, sums)

    assert compared.has_lower.all()
    assert compared.has_upper.all()


weights = st.lists(st.floats(0.001, 1.0), min_size=1, max_size=30)


@given(weights, st.floats(-3.0, 3.0))
def test_cubes_of_weights_are_within_what_their_moments_allow(weights, third):
    w = np.array(weights)
    one = np.ones(1)
    found = Tails.of(
        Moments(one, third * one, w.max() * one),
        len(w) * one,
        w.sum() * one,
        (w**2).sum() * one,
    )

    exact, slack = third * (w**3).sum(), 1e-9 * abs(third) * len(w)
    assert found.least_third <= exact + slack
    assert exact - slack <= found.most_third
    if len(set(weights)) == 1:
        assert found.most_third == pytest.approx(exact, rel=1e-6, abs=1e-9)
