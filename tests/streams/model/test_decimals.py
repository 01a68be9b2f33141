from __future__ import annotations

import doctest

from hypothesis import given
from hypothesis import strategies as st

from streams.model import decimals
from streams.model.decimals import SMALLEST, written


def test_the_examples_hold():
    assert doctest.testmod(decimals).failed == 0


@given(st.floats(-1e14, 1e14), st.integers(0, 12))
def test_what_is_written_is_the_number_to_its_decimals_or_a_bound_of_it(value, n):
    text = written(value, n).replace(",", "")

    if text[0] in "<>":
        assert n >= 6
        assert 0 < abs(value) < SMALLEST
        assert float(text[1:]) == (SMALLEST if value > 0 else -SMALLEST)
    else:
        # Half a unit of the last decimal, and what a float of this size cannot resolve.
        assert abs(float(text) - value) <= 0.500001 * 10.0**-n + 1e-15 * abs(value)


@given(st.floats(-1e14, 1e14), st.integers(0, 12))
def test_signs_are_of_what_does_not_round_to_zero(value, n):
    text = written(value, n, is_signed=True)

    is_zero = not any(each in "123456789" for each in text)
    assert (text[0] in "+-") is (not is_zero and text[0] not in "<>")
