"""Sizes of tests looked at once, against tables and laws."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.model.errors import InvalidParameterError
from streams.planning.assumed import Assumption, ValueKind
from streams.planning.fixed import Design, detectable_lift, units_per_variant

BINARY, COUNT, CONTINUOUS = ValueKind


@pytest.mark.parametrize(
    ("baseline", "lift", "alpha", "power", "expected"),
    [
        # statsmodels 0.15.0: samplesize_proportions_2indep_onetail(baseline * lift, baseline,
        # power, 1, alpha)
        (0.05, 0.1, 0.05, 0.8, 31233.43794013001),
        (0.1, 0.1, 0.05, 0.8, 14750.790469044941),
        (0.004, 0.2, 0.05, 0.9, 143839.2909034595),
        (0.05, 0.1, 0.025, 0.8, 37823.99632866717),
        # The example of R's power.prop.test(p1 = .50, p2 = .75, power = .90): n = 76.7.
        (0.5, 0.5, 0.05, 0.9, 76.70692845177747),
    ],
)
def test_rates_need_what_statsmodels_and_r_say(baseline, lift, alpha, power, expected):
    found = units_per_variant(Assumption(BINARY, baseline, lift), Design(2, alpha, power))

    assert found == math.ceil(expected)


@pytest.mark.parametrize(
    ("effect", "alpha", "power", "expected"),
    [
        # statsmodels 0.15.0: NormalIndPower().solve_power(effect_size=effect, ...)
        (10 * 0.05 / 4, 0.05, 0.8, 1004.6541460552606),
        (0.05, 0.05 / 3, 0.9, 10807.624632718076),
    ],
)
def test_means_need_what_statsmodels_says(effect, alpha, power, expected):
    assumed = Assumption(CONTINUOUS, 10.0, effect / 10.0, deviation=1.0)

    assert units_per_variant(assumed, Design(2, alpha, power)) == math.ceil(expected)


def test_several_variants_share_the_error():
    assumed = Assumption(BINARY, 0.05, 0.1)

    assert units_per_variant(assumed, Design(3, 0.05)) == 37_824
    assert units_per_variant(assumed, Design(2, 0.025)) == 37_824


assumptions = st.one_of(
    st.builds(Assumption, st.just(BINARY), st.floats(1e-3, 0.4), st.floats(0.01, 0.9)),
    st.builds(Assumption, st.just(COUNT), st.floats(1e-3, 100), st.floats(0.01, 2)),
    st.builds(
        Assumption,
        st.just(CONTINUOUS),
        st.floats(0.1, 1e3),
        st.floats(0.05, 2),
        # Needs 3.3e10 units at most, and an error is what needs more than 1e12.
        deviation=st.floats(0.1, 100.0),
    ),
)
designs = st.builds(Design, st.integers(2, 9), st.floats(0.001, 0.2), st.floats(0.5, 0.99))


@given(assumptions, designs)
def test_asking_for_more_never_needs_fewer_units(assumed, design):
    needed = units_per_variant(assumed, design)

    stricter = Design(design.n_variants + 1, design.alpha, design.power)
    surer = Design(design.n_variants, design.alpha / 2, design.power)
    stronger = Design(design.n_variants, design.alpha, (1 + design.power) / 2)
    assert all(units_per_variant(assumed, each) >= needed for each in (stricter, surer, stronger))


@given(assumptions, designs)
def test_the_lift_that_a_size_finds_is_the_one_it_is_the_size_for(assumed, design):
    units = units_per_variant(assumed, design) * design.n_variants

    lift = detectable_lift(assumed, design, units)

    assert lift is not None
    assert lift <= assumed.lift * (1 + 1e-9)
    again = Assumption(assumed.kind, assumed.baseline, lift * (1 + 1e-9), assumed.deviation)
    assert units_per_variant(again, design) * design.n_variants <= units


def test_a_size_may_find_nothing_or_everything():
    assert detectable_lift(Assumption(BINARY, 0.5, 0.1), Design(), 4) is None
    assert detectable_lift(Assumption(CONTINUOUS, 1e6, 0.1, 1e-9), Design(), 100) == 1e-6


@pytest.mark.statistical
@pytest.mark.parametrize(
    "assumed",
    [
        Assumption(BINARY, 0.05, 0.2),
        Assumption(COUNT, 0.7, 0.1),
        Assumption(CONTINUOUS, 20.0, 0.1, 40.0),
    ],
)
def test_a_test_of_that_size_has_that_power(assumed):
    """2,000 z-tests: 80 % +- 0.9 find the lift; four standard errors, a false alarm in 15,000."""
    random = np.random.default_rng(8)
    n_units = units_per_variant(assumed, Design())
    found = 0
    for _ in range(2_000):
        a, b = (assumed.draw(random, mean, n_units) for mean in assumed.means(2))
        means = [values.total / 1e6 / n_units for values in (a, b)]
        variances = [
            values.total_squared / 1e12 / n_units - mean**2
            for values, mean in zip((a, b), means, strict=True)
        ]
        found += abs(means[1] - means[0]) > 1.959964 * math.sqrt(sum(variances) / n_units)

    assert abs(found / 2_000 - 0.8) < 4 * 0.009


@pytest.mark.parametrize(
    "make",
    [
        lambda: Assumption(BINARY, 0.0, 0.1),
        lambda: Assumption(BINARY, 0.6, 0.7),
        lambda: Assumption(BINARY, 0.5, 0.0),
        lambda: Assumption(BINARY, 0.5, 0.1, 1.0),
        lambda: Assumption(CONTINUOUS, 0.5, 0.1),
        lambda: Assumption(CONTINUOUS, 0.5, 0.1, math.inf),
        lambda: Assumption(COUNT, 2e6, 0.1),
        lambda: Assumption(COUNT, math.nan, 0.1),
        lambda: Design(1),
        lambda: Design(2, 0.0),
        lambda: Design(2, 0.05, 1.0),
    ],
)
def test_what_cannot_be_planned_is_refused(make):
    with pytest.raises(InvalidParameterError):
        make()
