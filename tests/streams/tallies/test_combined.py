"""A linear combination of two metrics against the one that every unit has."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from streams.model.quantities import to_propensity
from streams.tallies.cell import MetricTally, ProductTally
from streams.tallies.combined import combine
from streams.tallies.fields import unit_weights
from streams.tallies.weights import weighted

values = st.integers(-(10**9), 10**9)
units = st.lists(
    st.tuples(values, values, st.sampled_from([to_propensity(p) for p in (0.01, 0.3, 0.5, 1.0)])),
    max_size=20,
)
factors = st.floats(-1e6, 1e6)


def one(value, propensity):
    """Return the tally of a unit."""
    metric = MetricTally(1, 1, value, value * value, total_cubed=value**3)
    return weighted(1, {"x": metric}, propensity).metrics["x"]


@given(units=units, alpha=factors, beta=factors)
def test_sums_of_a_combination_are_those_over_units_rounded_once(units, alpha, beta):
    x = y = MetricTally()
    product = ProductTally()
    for first, second, propensity in units:
        _, _, inverse_squared, _, overlap_squared = unit_weights(propensity)
        x, y = x + one(first, propensity), y + one(second, propensity)
        both = first * second
        squares = both * first, both * second
        product += ProductTally(both, inverse_squared * both, overlap_squared * both, *squares)

    found = combine(x, y, product, alpha, beta)

    rows = [
        (Fraction(alpha) * first + Fraction(beta) * second, *unit_weights(propensity)[1:])
        for first, second, propensity in units
    ]
    assert found.total == round(sum(z for z, *_ in rows))
    assert found.total_squared == round(sum(z * z for z, *_ in rows))
    assert found.total_cubed == round(sum(z * z * z for z, *_ in rows))
    assert found.weighted_total == round(sum(w * z for z, w, *_ in rows))
    assert found.weighted_total_squared == round(sum(ww * z * z for z, _, ww, *_ in rows))
    assert found.weighted_cross == round(sum(ww * z for z, _, ww, *_ in rows))
    assert found.overlap_total == round(sum(v * z for z, _, _, v, _ in rows))
    assert found.overlap_cross == round(sum(vv * z for z, *_, vv in rows))
    assert found.overlap_total_squared == round(sum(vv * z * z for z, *_, vv in rows))
    assert found.units == 2 * len(units)
