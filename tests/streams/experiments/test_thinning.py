"""Which points of a time series stay: the first of each bucket, however and whenever one thins."""

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from streams.experiments.thinning import MOST_POINTS, thinned, width_at

series = st.lists(st.integers(0, 5_000), unique=True, min_size=1, max_size=60).map(sorted)
mosts = st.integers(2, 12)


def test_thinning_worked_by_hand():
    """Seconds 3 to 11 in buckets of 4, aligned to the epoch: 0-3, 4-7, 8-11."""
    assert width_at(3, 11, most=3) == 4
    assert thinned([3, 4, 5, 9, 11], 11, most=3) == [3, 4, 9]
    assert thinned([], 0) == []


@given(slots=series, most=mosts)
def test_no_more_stay_than_are_allowed_and_the_first_one_always(slots, most):
    kept = thinned(slots, slots[-1], most)

    assert kept[0] == slots[0]
    assert len(kept) <= most
    assert set(kept) <= set(slots)


@given(slots=series, most=mosts, data=st.data())
def test_points_that_are_thinned_as_they_come_are_those_thinned_at_once(slots, most, data):
    """The oracle keeps everything; a worker keeps what is left, whenever it thins."""
    left: list[int] = []
    for slot in slots:
        left = [*left, slot]
        if data.draw(st.booleans()):
            left = thinned(left, slot, most)

    assert thinned(left, slots[-1], most) == thinned(slots, slots[-1], most)


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32))
def test_a_busy_experiment_has_a_few_hundred_points_at_any_age(seed):
    left: list[int] = []
    now = 0
    for number, step in enumerate(Random(seed).choices((1, 2, 3), k=1_500)):
        now += step
        left = thinned([*left, now], now) if number % 50 == 49 else [*left, now]

    assert MOST_POINTS / 4 <= len(thinned(left, now)) <= MOST_POINTS
