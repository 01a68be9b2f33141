import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streams.model.vectors import INTERCEPT
from streams.tallies.linear import LinearSums, LinearTally, triangle

MICRO = 10**6

vectors = st.dictionaries(
    st.integers(1, 20), st.integers(-1024, 1024).filter(bool), max_size=6
).map(lambda entries: ((0, 1024), *sorted(entries.items())))
events = st.lists(
    st.tuples(vectors, st.one_of(st.none(), st.integers(-(10**15), 10**15))), max_size=12
)


def tally_of(sample, start=None):
    sums = LinearSums(start)
    for vector, value in sample:
        if value is None:
            sums.add_unit(vector)
        else:
            sums.add_value(vector, value)
    return sums.freeze()


def test_sums_worked_by_hand():
    """x = (1, 1/2, 0, -1) twice, and one click."""
    vector = ((0, 1024), (1, 512), (3, -1024))

    tally = tally_of([(vector, None), (vector, None), (vector, MICRO)])

    gram = np.zeros((4, 4), dtype=int)
    gram[np.tril_indices(4)] = tally.gram
    x = np.array([1024, 512, 0, -1024])
    assert np.array_equal(gram, np.tril(2 * np.outer(x, x)))
    assert tally.moment == (1024 * MICRO, 512 * MICRO, 0, -1024 * MICRO)


@given(events, st.randoms(use_true_random=False))
def test_order_of_events_does_not_matter(sample, random):
    shuffled = list(sample)
    random.shuffle(shuffled)

    assert tally_of(shuffled) == tally_of(sample)


@given(events, events, events)
def test_tallies_add_up_like_their_events(first, second, third):
    a, b, c = tally_of(first), tally_of(second), tally_of(third)

    assert a + b == b + a == tally_of(first + second) == tally_of(second, a)
    assert (a + b) + c == a + (b + c)
    assert a + LinearTally() == a


@given(vectors, st.integers(0, 1000))
def test_many_units_in_one_context_are_as_many_times_one(vector, count):
    sums = LinearSums()
    sums.add_unit(vector, count)

    assert sums.freeze() == tally_of([(vector, None)] * count) or count == 0


@given(events, st.integers(0, 9), st.integers(-(10**9), 10**9))
def test_units_without_features_are_known_by_their_count_and_total(sample, n_others, value):
    others = [(INTERCEPT, None)] * n_others + [(INTERCEPT, value)]
    units = sum(each is None for _, each in sample) + n_others
    total = sum(each or 0 for _, each in sample) + value

    found = tally_of(sample).with_intercept(units, total)

    assert found == tally_of(sample + others) or units == 0


@given(events)
def test_mirroring_twice_is_the_identity(sample):
    tally = tally_of(sample)

    assert tally.mirrored().mirrored() == tally
    assert tally.mirrored().gram == tally.gram


def test_sums_beyond_64_bits_are_exact():
    huge = LinearTally((2**80,), (2**100,))

    assert (huge + LinearTally((1,), (1,))) == LinearTally((2**80 + 1,), (2**100 + 1,))


def test_triangle_numbers():
    assert [triangle(n) for n in range(5)] == [0, 1, 3, 6, 10]
