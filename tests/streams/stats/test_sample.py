from dataclasses import astuple
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.model.errors import InvalidParameterError
from streams.model.quantities import MICRO
from streams.stats.nonstationary.period_samples import Samples
from streams.stats.sample import Sample
from streams.tallies.cell import MetricTally


def tallied(values):
    """The tally of units that all have an observation."""
    micro = [round(value * MICRO) for value in values]
    return MetricTally(len(micro), len(micro), sum(micro), sum(value * value for value in micro))


def test_two_buyers_of_four_worked_by_hand():
    """Values 0, 0, 2, 4: mean 1.5, squared deviations 2.25 * 2 + 0.25 + 6.25; of 2 and 4, 2."""
    sample = Sample.of(4, tallied([2, 4]))

    assert sample == Sample(4, 2, 6.0, 11.0, 2.0)
    assert sample.mean == 1.5


def test_observation_before_its_impression_counts_as_assigned():
    assert Sample.of(1, tallied([2, 4])).units == 2


def test_nothing_is_nothing():
    sample = Sample.of(0, MetricTally())

    assert sample == Sample(0, 0, 0.0, 0.0, 0.0)
    assert sample.mean == 0.0


def test_large_equal_values_have_no_deviation_left_from_rounding():
    sample = Sample.of(1_000_000, MetricTally(10**6, 10**6, 10**21, 10**36))

    assert sample.squared_deviations == 0.0


values = st.lists(st.integers(-10_000, 10_000).map(lambda value: value / 100), max_size=8)


@given(st.lists(values, min_size=1, max_size=4), st.integers(0, 5))
def test_pooled_samples_are_the_sample_of_all_units(parts, without):
    everyone = [value for part in parts for value in part]

    rows = [[Sample.of(len(part) + without, tallied(part))] for part in parts]
    [pooled] = Samples.of(rows).pooled().row(0)
    expected = Sample.of(len(everyone) + without * len(parts), tallied(everyone))

    assert pooled.units == expected.units
    assert pooled.total == pytest.approx(expected.total, abs=1e-9)
    assert pooled.squared_deviations == pytest.approx(expected.squared_deviations, abs=1e-6)
    assert pooled.value_squared_deviations == pytest.approx(
        expected.value_squared_deviations, abs=1e-6
    )


@given(values, st.sampled_from([0.25, 0.5, 2.0]))
def test_weight_multiplies_every_sum(part, weight):
    sample = Sample.of(len(part) + 1, tallied(part))

    assert astuple(Samples.of([[sample]]).weighted([weight]).row(0)[0]) == pytest.approx(
        [weight * value for value in astuple(sample)]
    )


def test_weight_of_nothing_leaves_nothing():
    samples = Samples.of([[Sample(4, 2, 6.0, 11.0, 2.0)]]).weighted([0.0])

    assert samples.pooled().row(0) == (Sample(0, 0, 0, 0, 0),)


@given(st.lists(st.lists(values, min_size=2, max_size=2), min_size=1, max_size=6), st.data())
def test_groups_of_periods_are_pooled_separately(parts, data):
    samples = Samples.of(
        [[Sample.of(len(each) + 1, tallied(each)) for each in row] for row in parts]
    )
    cuts = data.draw(st.sets(st.integers(1, len(parts)), max_size=3)) - {len(parts)}
    starts = [0, *sorted(cuts)]

    grouped = samples.pooled(starts)

    for index, (start, stop) in enumerate(pairwise([*starts, len(parts)])):
        alone = samples.only(np.arange(len(parts)) >= start)
        alone = alone.only(np.arange(len(parts) - start) < stop - start).pooled()
        for one, other in zip(grouped.row(index), alone.row(0), strict=True):
            assert astuple(one) == pytest.approx(astuple(other), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ((-1, 0, 0, 0, 0), "units"),
        ((1, 2, 0, 0, 0), "units_with_value"),
        ((1, -1, 0, 0, 0), "units_with_value"),
        ((1, 1, np.inf, 0, 0), "total"),
        ((1, 1, 0, -1, 0), "squared_deviations"),
        ((1, 1, 0, 0, np.nan), "value_squared_deviations"),
    ],
)
def test_sums_outside_their_domain_are_refused(arguments, name):
    with pytest.raises(InvalidParameterError) as caught:
        Sample(*arguments)

    assert caught.value.path == name
