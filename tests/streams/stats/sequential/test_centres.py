"""Bounded values counted from near their mean, against sums over single units."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.stats.sequential.centres import CENTRES, SHARES
from streams.stats.sequential.comparison import intervals, p_values
from streams.stats.sequential.confidence_sequences import bounded_radius
from streams.stats.sequential.contrasts import PlainSums, fixed_contrast
from streams.stats.sequential.readings import ConfidenceSequence, bounded_sums

ERROR = np.array([0.025])


def plain(values, most, share=0.5):
    """Return the sums over the units of a variant, whose values are in [0, most]."""
    fields = (len(values), np.sum(values), np.sum(np.square(values)), share, most)
    return PlainSums(*(np.array([float(field)]) for field in fields), heaviest=np.ones(1))


def contrast(a, b, most, share=0.5):
    return fixed_contrast(plain(a, most, share), plain(b, most, 1.0 - share))


def test_shares_are_one_together():
    assert SHARES.sum() == pytest.approx(1.0)
    assert len(CENTRES) == len(set(CENTRES.tolist())) == 65
    assert (CENTRES[0], CENTRES.max()) == (0.0, 1.0)


values = st.lists(st.floats(0.0, 8.0), min_size=1, max_size=20)


@given(values, values, st.sampled_from([0.1, 0.5, 0.8]))
def test_sums_from_a_centre_are_those_over_units(a, b, share):
    compared = contrast(np.array(a), np.array(b), 8.0, share)

    found = bounded_sums(compared, ERROR)

    # Which centre it is follows from its total, as units of a and b do not cancel, or from any.
    centres = 8.0 * CENTRES[found.share == SHARES]
    increments = [
        np.concatenate([(1.0 - share) * (a - c), share * (c - np.array(b))]) for c in centres
    ]
    assert any(
        found.total[0] == pytest.approx(each.sum(), abs=1e-9)
        and found.squares[0] == pytest.approx(np.square(each).sum(), abs=1e-9)
        for each in increments
    )
    falls = np.maximum((1.0 - share) * centres, share * (8.0 - centres))
    assert (np.isclose(found.bounds[0], falls)).any()


def test_dense_values_are_compared_by_their_spread():
    """Values of 4.9 to 5.1 out of [0, 10] differ by 0.2: 2,000 units show it."""
    low, high = np.tile([4.9, 5.1], 500), np.tile([5.1, 5.3], 500)
    compared = contrast(high, low, 10.0)

    found = intervals(compared, 0.05)

    from_zero = bounded_radius(compared.squares, compared.max_decrement, 0.025)
    assert compared.total - from_zero < 0.0
    assert 0.0 < found.lower[0] < 0.2 < found.upper[0]
    assert p_values(compared)[0] < 0.05


@given(values, values)
def test_ends_and_p_values_agree(a, b):
    compared = contrast(np.tile(a, 20), np.tile(b, 20), 8.0)
    reading = ConfidenceSequence()

    is_above = reading.lower(compared, ERROR) > 0.0

    assert (is_above == (reading.p_values(compared, ERROR) < ERROR)).all()


def test_it_never_errs_more_often_than_promised():
    """Of 300 experiments with a rare large value in one variant alone, 5 % may err.

    The tail is not seen at first, and the means are equal. With a false-alarm probability of
    1e-4 at most 29 of 300 err if 5 % do; an asymptotic sequence errs in most of them.
    """
    random = np.random.default_rng(29)
    n, most = 2_000, 300.0
    a = random.uniform(0.5, 1.5, (300, n))
    b = random.uniform(0.2, 1.2, (300, n)) + np.where(random.random((300, n)) < 1e-3, 299.0, 0.0)
    b += 1.0 - (0.7 + 0.299)
    wrong = np.zeros(300, np.bool_)
    for look in range(100, n + 1, 100):
        sums = [
            PlainSums(
                *(
                    np.full(300, float(look)),
                    each[:, :look].sum(axis=1),
                    np.square(each[:, :look]).sum(axis=1),
                    np.full(300, 0.5),
                    np.full(300, most + 1.0),
                ),
                heaviest=np.ones(300),
            )
            for each in (a, b)
        ]
        found = intervals(fixed_contrast(*sums), 0.05)
        wrong |= (found.lower > 0.0) | (found.upper < 0.0)
    assert wrong.sum() <= 29
