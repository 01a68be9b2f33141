"""Shares of linear Thompson sampling with a draw that all variants have in common."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from streams.policies.contextual.lin_ts import LARGEST_DRAW, common_draw_shares

DRAW = stats.truncnorm(0.0, LARGEST_DRAW)
lines = st.lists(st.tuples(st.floats(-3, 3), st.floats(0, 3)), min_size=2, max_size=12)

parts = st.integers(0, 192).map(lambda n: n / 64)
exact_lines = st.lists(st.tuples(parts, parts), min_size=2, max_size=12)


def shares_of(found):
    return common_draw_shares(*zip(*found, strict=True))


def test_crossings_worked_by_hand():
    """0.3 + 0.1 z leads to z = 1, 0.2 + 0.2 z to 1.5, then -0.1 + 0.4 z; 0.1 + 0.1 z never."""
    shares = shares_of([(0.3, 0.1), (0.2, 0.2), (-0.1, 0.4), (0.1, 0.1)])

    until = [float(DRAW.cdf(z)) for z in (0.0, 1.0, 1.5, LARGEST_DRAW)]
    assert shares[:3] == pytest.approx(np.diff(until))
    assert shares[3] == 0.0


@given(lines, st.integers(0, 2**32))
def test_shares_are_those_of_drawing(found, seed):
    """20,000 draws; 0.025 is seven standard errors: below 1e-11 by chance for each share."""
    means, deviations = map(np.array, zip(*found, strict=True))
    draws = DRAW.ppf(np.random.default_rng(seed).random((20_000, 1)))
    values = means + draws * deviations
    leads = values >= values.max(axis=1, keepdims=True) - 1e-9

    shares = np.array(shares_of(found))

    assert sum(shares) == pytest.approx(1.0)
    assert min(shares) >= 0.0
    # Lines that are nearly equal share among themselves as they like.
    alone = (leads.sum(axis=1) == 1)[:, None]
    assert np.all(shares >= (leads & alone).mean(axis=0) - 0.025)
    assert np.all(shares <= leads.mean(axis=0) + 0.025)


@given(lines, st.randoms(use_true_random=False))
def test_order_of_the_arms_does_not_matter(found, random):
    order = list(range(len(found)))
    random.shuffle(order)

    shuffled = shares_of([found[place] for place in order])

    assert shuffled == pytest.approx([shares_of(found)[place] for place in order])


@given(exact_lines, st.sampled_from([0.25, 2.0, 1024.0]), st.sampled_from([-2.0, 0.0, 0.5]))
def test_unit_and_zero_of_the_metric_do_not_matter(found, factor, shift):
    moved = [(factor * mean + factor * shift, factor * deviation) for mean, deviation in found]

    assert shares_of(moved) == pytest.approx(shares_of(found))


@given(lines)
def test_dominated_arm_has_no_share(found):
    worst = (min(mean for mean, _ in found) - 1.0, min(deviation for _, deviation in found))

    assert shares_of([*found, worst])[-1] == 0.0


def test_equal_arms_share_equally():
    assert shares_of([(0.1, 0.2)] * 4) == pytest.approx((0.25,) * 4)
    assert shares_of([(0.0, 0.0)] * 3) == pytest.approx((1 / 3,) * 3)


def test_sure_loser_is_not_explored_and_the_unknown_is():
    """A lead of two deviations ends it; without a lead the less known has all of the draws."""
    assert shares_of([(0.5, 0.0), (0.2, 0.1)]) == (1.0, 0.0)
    assert shares_of([(0.5, 0.0), (0.5, 0.1)]) == (0.0, 1.0)
    assert math.isclose(shares_of([(0.5, 0.0), (0.4, 0.1)])[1], DRAW.sf(1.0), rel_tol=1e-9)


def test_numbers_of_any_size():
    largest = float(np.finfo(float).max)

    for found in ([(largest, 1.0), (-largest, largest)], [(1e-300, 1e-300), (0.0, 1e-300)]):
        assert sum(shares_of(found)) == 1.0
