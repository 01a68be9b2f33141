"""Sequences of quantiles against their definition, and p-values against ends."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from streams.stats.sequential.confidence_sequences import log_e_values
from streams.stats.sequential.quantiles import IDLE, PLANNED_VALUES, QuantilePair, QuantileSide

ENDS = np.arange(1.0, 31.0)
ERROR = np.array([0.025])


def side(values, weight=1.0, ends=ENDS):
    """Return units with values in whole bins: a value of 3 is in the bin that ends at 3."""
    counts = np.searchsorted(np.sort(np.asarray(values, dtype=float)), ENDS, side="right")
    below = weight * counts[None].astype(float)
    total = weight * len(values)
    return QuantileSide(
        ends[None], below, weight * below, np.array([total]), np.array([weight * total]), np.ones(1)
    )


def test_e_values_by_hand():
    """Of 60 units 20 are at most 10, and 48 at most 20, where 30 are expected of a median."""
    units = side([10] * 20 + [20] * 28 + [30] * 12)

    below, above = units.evidence(0.5, ERROR)

    def e_value(rise):
        rises, squares, falls = (np.array([each]) for each in (rise, 60 * 0.25, 0.5))
        bet = np.exp(log_e_values(rises, squares, falls, PLANNED_VALUES, ERROR)[0])
        return np.log(IDLE + (1.0 - IDLE) * bet)

    assert below[0, 9] == pytest.approx(e_value(10.0))
    assert above[0, 9] == pytest.approx(np.log(IDLE))
    assert above[0, 19] == pytest.approx(e_value(18.0))
    assert (np.diff(below[0]) <= 0.0).all()
    assert (np.diff(above[0]) >= 0.0).all()


def refuted(pair, lead):
    """Return whether "quantile a is at most `lead` above quantile b" is refuted, bin by bin."""
    below, above = pair.a.evidence(pair.p, ERROR)[0][0], pair.b.evidence(pair.p, ERROR)[1][0]
    for place in range(len(ENDS) + 1):
        # b is in a bin: not below its beginning, and below its end.
        of_b = above[place - 1] if place else np.log(IDLE)
        end = ENDS[place] + lead if place < len(ENDS) else np.inf
        beyond = np.flatnonzero(end <= ENDS)
        of_a = below[beyond[0]] if len(beyond) else np.log(IDLE)
        if end <= 0.0:
            of_a = np.inf  # a has no values below 0
        if of_a + of_b < -np.log(ERROR[0]):
            return False
    return True


values = st.lists(st.integers(2, 29), min_size=1, max_size=8)


@settings(max_examples=25)
@given(values, values, st.sampled_from([0.5, 0.8]), st.integers(3, 40))
def test_lower_ends_are_the_largest_lead_that_is_refuted(a, b, p, times):
    pair = QuantilePair(p, side(a * times), side(b * times))

    found = pair.lower(ERROR)[0]

    leads = [lead for lead in range(-29, 30) if refuted(pair, lead)]
    assert round(max(found, -30.0)) == max(leads, default=-30) or (found < -28.0 and not leads)


@settings(max_examples=40)
@given(values, values, st.sampled_from([0.5, 0.8, 0.95]), st.integers(1, 60))
def test_an_end_is_above_zero_when_the_p_value_is_below_the_error(a, b, p, times):
    pair = QuantilePair(p, side(a * times), side(b * times))

    for each in (pair, pair.reversed()):
        assert (each.lower(ERROR)[0] > 0.0) == (each.p_values(ERROR)[0] <= ERROR[0])


def test_one_that_is_clearly_above_and_its_mirror_image():
    low, high = [3, 4, 5] * 200, [13, 14, 15] * 200
    pair = QuantilePair(0.5, side(high), side(low))

    assert 8.0 <= pair.lower(ERROR)[0] <= 10.0
    assert pair.p_values(ERROR)[0] < 1e-9
    assert pair.reversed().p_values(ERROR)[0] == 1.0
    assert -12.0 <= pair.reversed().lower(ERROR)[0] <= -10.0


def test_intervals_cover_at_every_look():
    """At 5 %, at most 28 of 300 miss with a false-alarm probability of 1e-3."""
    random, p = np.random.default_rng(36), 0.9
    draws = np.minimum(random.geometric(0.2, (300, 1_500)), 30)
    true = float(stats.geom(0.2).ppf(p))
    missed = np.zeros(300, np.bool_)
    for look in range(50, 1_501, 50):
        below = np.array([[(row[:look] <= end).sum() for end in ENDS] for row in draws], float)
        n = np.full(300, float(look))
        units = QuantileSide(np.broadcast_to(ENDS, below.shape), below, below, n, n, np.ones(300))
        lower, upper = units.interval(p, np.full(300, 0.05))
        missed |= (true < lower) | (true - 1.0 >= upper)

    assert missed.sum() <= 28
    assert (upper - lower).mean() < 4.0


def test_nothing_is_known_without_units():
    no_units = side([])

    assert no_units.interval(0.5, ERROR) == (0.0, np.inf)
    assert QuantilePair(0.5, no_units, no_units).p_values(ERROR) == pytest.approx([1.0])
    assert QuantilePair(0.5, side([3] * 90), no_units).lower(ERROR) == [-np.inf]
