"""A linear combination of two metrics against the one that every unit has."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from streams.tallies.cell import MetricTally, ProductTally
from streams.tallies.combined import combine

units = st.lists(
    st.tuples(st.integers(-(10**9), 10**9), st.integers(-(10**9), 10**9), st.integers(1, 10**8)),
    max_size=20,
)
factors = st.floats(-1e6, 1e6)


@given(units=units, alpha=factors, beta=factors)
def test_sums_of_a_combination_are_those_over_units_rounded_once(units, alpha, beta):
    x = y = MetricTally()
    product = ProductTally()
    for first, second, w in units:
        x += MetricTally(1, 1, first, first**2, w * first, (w * first) ** 2)
        y += MetricTally(1, 1, second, second**2, w * second, (w * second) ** 2)
        product += ProductTally(first * second, w * w * first * second)

    found = combine(x, y, product, alpha, beta)

    values = [(Fraction(alpha) * first + Fraction(beta) * second, w) for first, second, w in units]
    assert found.total == round(sum(z for z, _ in values))
    assert found.total_squared == round(sum(z * z for z, _ in values))
    assert found.weighted_total == round(sum(w * z for z, w in values))
    assert found.weighted_total_squared == round(sum((w * z) ** 2 for z, w in values))
