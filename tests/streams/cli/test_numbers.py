from __future__ import annotations

import doctest
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.cli import numbers
from streams.cli.numbers import change, number, p_value
from streams.model.decimals import SMALLEST


def test_the_examples_hold():
    assert doctest.testmod(numbers).failed == 0


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.000_012_345, "0.0000123"),
        (-3e-9, ">-0.000001"),
        (1e6, "1,000,000"),
        (999.6, "1,000"),
        (-12.34, "-12.3"),
        (-math.inf, "-∞"),
        (math.nan, "unknown"),
        (3e17, "3e+17"),
    ],
)
def test_a_number_is_written_out(value, text):
    assert number(value) == text


@given(st.floats(SMALLEST, 1e12), st.sampled_from([1, -1]))
def test_it_is_read_as_the_number_to_its_digits(size, sign):
    value = sign * size
    text = number(value)

    assert "e" not in text
    assert float(text.replace(",", "")) == pytest.approx(value, rel=0.0051)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_no_zero_has_a_sign_and_only_zero_is_written_so(value):
    texts = {number(value), number(value, is_signed=True)}

    assert ("0" in texts) is (value == 0)
    assert not texts & {"-0", "+0"}


def test_signs_are_those_of_the_values():
    assert number(0.5, is_signed=True) == "+0.5"
    assert number(-0.5, is_signed=True) == "-0.5"
    assert change(-0.0004) == "+0.0%"
    assert p_value(1e-300) == "<0.0001"
