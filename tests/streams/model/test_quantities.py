from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.model.errors import EventError, InvalidParameterError
from streams.model.quantities import (
    MICRO,
    PROPENSITY_ONE,
    VALUE_LIMIT,
    inverse_propensity,
    to_micro,
    to_propensity,
)


@pytest.mark.parametrize(
    ("value", "micro"),
    [
        (0, 0),
        (1, 1_000_000),
        (49.99, 49_990_000),
        (-0.5, -500_000),
        (1e-6, 1),
        (4e-7, 0),
        (VALUE_LIMIT, 10**15),
        (-1e9, -(10**15)),
    ],
)
def test_values_in_micro_units(value, micro):
    assert to_micro(value) == micro
    assert type(to_micro(value)) is int


@given(st.floats(-VALUE_LIMIT, VALUE_LIMIT))
def test_value_is_the_nearest_micro_unit_up_to_a_rounded_product(value):
    assert (
        abs(to_micro(value) - Fraction(value) * MICRO)
        <= Fraction(1, 2) + abs(Fraction(value) * MICRO) / 2**52
    )


@given(st.integers(-(10**9), 10**9).map(lambda cents: Decimal(cents) / 100))
def test_amounts_in_cents_are_exact(amount):
    assert to_micro(float(amount)) == int(amount * MICRO)


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (float("nan"), "VALUE_NOT_FINITE"),
        (float("inf"), "VALUE_NOT_FINITE"),
        (float("-inf"), "VALUE_NOT_FINITE"),
        (VALUE_LIMIT + 1, "VALUE_OUT_OF_RANGE"),
        (-1.0000001e9, "VALUE_OUT_OF_RANGE"),
        (10**400, "VALUE_OUT_OF_RANGE"),
    ],
)
def test_values_that_are_no_value_are_refused(value, code):
    with pytest.raises(EventError) as caught:
        to_micro(value)

    assert (caught.value.code, caught.value.path) == (code, "value")


@pytest.mark.parametrize(
    ("probability", "numerator"), [(1.0, 2**32), (0.5, 2**31), (1e-300, 1), (0.25, 2**30)]
)
def test_propensities_over_two_to_the_32(probability, numerator):
    assert to_propensity(probability) == numerator


@pytest.mark.parametrize("probability", [0.0, -0.1, 1.0000001, float("nan"), float("inf")])
def test_probabilities_outside_their_domain_are_refused(probability):
    with pytest.raises(InvalidParameterError):
        to_propensity(probability)


@given(st.integers(1, PROPENSITY_ONE))
def test_inverse_propensity_is_the_nearest_micro_unit(numerator):
    exact = Fraction(MICRO * PROPENSITY_ONE, numerator)

    assert abs(inverse_propensity(numerator) - exact) <= Fraction(1, 2)
