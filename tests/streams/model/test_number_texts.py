"""Numbers in texts are read in the notation of JSON, and in no other of Python's."""

from __future__ import annotations

import doctest
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.model import number_texts
from streams.model.number_texts import decimal_number, whole_number
from tests.lax_numbers import LAX_NUMBERS


def test_the_examples_hold():
    assert doctest.testmod(number_texts).failed == 0


@given(st.integers(-(10**19) + 1, 10**19 - 1))
def test_every_integer_of_64_bits_is_read(number: int):
    assert whole_number(str(number)) == number


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_float_is_read_as_json_writes_it(number: float):
    assert decimal_number(json.dumps(number)) == number


@pytest.mark.parametrize("text", LAX_NUMBERS)
def test_what_python_reads_besides_is_no_number(text: str):
    assert whole_number(text) is None
    assert decimal_number(text) is None


@given(st.text(alphabet="0123456789+-._eE ٣²x\n", max_size=12) | st.text(max_size=60))
def test_a_text_is_a_number_if_json_says_so(text: str):
    try:
        found: Any = json.loads(text) if text == text.strip() else None
    except (ValueError, RecursionError):
        found = None
    is_number = isinstance(found, int | float) and type(found) is not bool and math.isfinite(found)

    assert (decimal_number(text) is not None) == is_number
    assert whole_number(text) == (found if type(found) is int else None)


@pytest.mark.parametrize("text", ["9" * 20, "9" * 5_000, "-" + "9" * 20])
def test_longer_integers_are_not_read(text: str):
    assert whole_number(text) is None
