"""Sums by pair of variants as the digits of one integer."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streams.model.errors import InvalidParameterError
from streams.tallies.pair_sums import PAIR_BITS, pack_pairs, unpack_pairs

LIMIT = 1 << PAIR_BITS - 1
digits = st.lists(st.integers(-LIMIT, LIMIT - 1) | st.sampled_from([0, -1, -LIMIT]), max_size=16)
small = st.lists(st.integers(-(2**200), 2**200), min_size=3, max_size=3)


def without_zeros(sums):
    """Return sums up to the last one that is not 0."""
    kept = list(sums)
    while kept and not kept[-1]:
        kept.pop()
    return tuple(kept)


@example([-1, -LIMIT, 1])
@given(digits)
def test_what_was_packed_is_unpacked(sums):
    assert unpack_pairs(pack_pairs(sums)) == without_zeros(sums)


@given(small, small, st.integers(-(2**50), 2**50))
def test_adding_and_multiplying_does_so_to_every_sum(one, other, factor):
    found = pack_pairs(one) + factor * pack_pairs(other)

    expected = [a + factor * b for a, b in zip(one, other, strict=True)]
    assert unpack_pairs(found) == without_zeros(expected)


@pytest.mark.parametrize("sums", [[LIMIT], [0, -LIMIT - 1]])
def test_a_sum_that_does_not_fit_is_refused(sums):
    with pytest.raises(InvalidParameterError):
        pack_pairs(sums)
