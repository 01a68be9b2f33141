"""Bytes of the weights of all variants, and the overlap weights of pairs that follow from them."""

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.model.quantities import ALLOCATION_TOTAL, PROPENSITY_ONE, PROPENSITY_PER_WEIGHT
from streams.model.variant_weights import (
    MAX_WEIGHED,
    NOT_ELIGIBLE,
    OWN_WEIGHT,
    are_weights,
    overlap_weights,
    pack_weights,
)
from streams.policies.weights import integer_weights

EXPONENTS = st.floats(-30.0, 0.0, allow_nan=False)
ALLOCATIONS = st.lists(EXPONENTS, min_size=3, max_size=MAX_WEIGHED).map(
    lambda exponents: integer_weights([2.0**each for each in exponents], 1)
)


def test_bytes_worked_by_hand():
    """16 times the binary logarithm of 2 and 4 is 16 and 32, of 65536 / 3 it is 230.6."""
    assert pack_weights((32_768, 16_384, 16_384)) == bytes([16, 32, 32])
    assert pack_weights((65_531, 3, 2)) == bytes([0, 231, 240])
    assert pack_weights((65_534, 1, 1)) == bytes([0, 254, 254])
    assert pack_weights((65_536, 0, 0)) == bytes([0, NOT_ELIGIBLE, NOT_ELIGIBLE])


@pytest.mark.parametrize("n_variants", [2, MAX_WEIGHED + 1])
def test_of_two_and_of_more_than_fit_there_are_no_bytes(n_variants):
    assert pack_weights((ALLOCATION_TOTAL // n_variants,) * n_variants) == b""


def test_overlap_worked_by_hand():
    """Of p~ = l / 2 and l / 4 with l = 2**(-1/32) it is l / 6: over 1/2 that is l / 3."""
    found = overlap_weights(0, PROPENSITY_ONE // 2, bytes([16, 32, 32]), 3)

    third = round(2 ** (-1 / 32) / 3 * PROPENSITY_ONE)
    assert found[0] == OWN_WEIGHT
    assert found[1:] == pytest.approx((third, third), abs=4)


def test_of_two_variants_the_other_has_the_rest():
    assert overlap_weights(1, PROPENSITY_ONE // 4, b"", 2) == (3 * PROPENSITY_ONE // 4, OWN_WEIGHT)
    assert overlap_weights(0, PROPENSITY_ONE, b"", 2) == (OWN_WEIGHT, 0)


def test_with_a_variant_that_was_not_eligible_nothing_is_compared():
    packed = pack_weights((32_768, 32_768, 0))

    assert overlap_weights(0, PROPENSITY_ONE // 2, packed, 3)[2] == 0
    assert overlap_weights(2, PROPENSITY_ONE // 2, packed, 3) == ()  # it cannot have been assigned


@given(ALLOCATIONS)
def test_no_weight_is_biased_and_none_is_above_1(weights):
    """E[h / p [assigned to a]] is the same for both variants of a pair, to the rounding of one."""
    packed = pack_weights(weights)
    propensities = [weight * PROPENSITY_PER_WEIGHT for weight in weights]
    found = [
        overlap_weights(variant, propensity, packed, len(weights))
        for variant, propensity in enumerate(propensities)
    ]

    for a, p_a in enumerate(propensities):
        assert found[a][a] == OWN_WEIGHT
        for b, p_b in enumerate(propensities):
            if a == b:
                continue
            assert 0 < found[a][b] <= PROPENSITY_ONE
            forth, back = (
                Fraction(weight * propensity, PROPENSITY_ONE)
                for weight, propensity in ((found[a][b], p_a), (found[b][a], p_b))
            )
            assert abs(forth - back) <= Fraction(p_a + p_b, 2 * PROPENSITY_ONE)


@given(ALLOCATIONS)
def test_rounding_to_bytes_costs_little(weights):
    """A byte is off by a factor of 2**(1/16) at most, so an overlap is off by 4.3 %."""
    packed = pack_weights(weights)
    for a, weight in enumerate(weights):
        found = overlap_weights(a, weight * PROPENSITY_PER_WEIGHT, packed, len(weights))
        for b, other in enumerate(weights):
            exact = other / (weight + other) if a != b else 0.5
            assert (
                exact * 2 ** (-1 / 16) - 1e-6 <= found[b] / PROPENSITY_ONE <= exact * 2 ** (1 / 16)
            )


@given(
    st.integers(0, MAX_WEIGHED),
    st.integers(1, PROPENSITY_ONE),
    st.binary(max_size=20),
    st.integers(0, 20),
)
def test_any_bytes_give_weights_or_none(variant, propensity, packed, n_variants):
    found = overlap_weights(variant, propensity, packed, n_variants)

    assert len(found) in {0, n_variants}
    assert all(0 <= weight <= PROPENSITY_ONE for weight in found)
    if n_variants > 2:
        assert bool(found) == are_weights(packed, variant, propensity, n_variants)


def test_no_weight_is_near_the_end_of_the_interval_of_a_byte():
    """So any floating-point logarithm gives the same byte: its error is below 1e-13."""
    distances = (
        abs(-16 * math.log2(weight / ALLOCATION_TOTAL) % 1.0 - 0.5)
        for weight in range(1, ALLOCATION_TOTAL + 1)
    )

    assert min(distances) > 1e-6
