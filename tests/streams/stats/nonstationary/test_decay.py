import math
from dataclasses import astuple
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.model.errors import InvalidParameterError
from streams.stats.nonstationary.decay import faded
from streams.stats.nonstationary.period_samples import Samples
from streams.stats.posteriors.beta import BetaPosterior
from streams.stats.sample import Sample

DAY = 86_400.0


def binary(units, conversions):
    return Sample(units, conversions, conversions, conversions * (1 - conversions / units), 0.0)


class AgedSample(NamedTuple):
    age_s: float
    sample: Sample


def remembered(periods, half_life_s):
    if not periods:
        return Sample(0, 0, 0, 0, 0)
    rows = Samples.of([[period.sample] for period in periods])
    return faded(rows, [period.age_s for period in periods], half_life_s).pooled().row(0)[0]


def test_three_days_worked_by_hand():
    """Half-life of a day: 80 + 40 + 20 units, 8 + 2 + 4 conversions."""
    periods = [AgedSample(age * DAY, binary(80, n)) for age, n in ((0, 8), (1, 4), (2, 16))]

    now = remembered(periods, DAY)

    assert (now.units, now.units_with_value, now.total) == (140.0, 14.0, 14.0)


def test_mean_follows_a_rate_that_has_changed():
    """30 days at 5 %, then 10 at 10 %: with a half-life of 3 days a tenth of the past is left."""
    periods = [AgedSample(day * DAY, binary(1_000, 100 if day < 10 else 50)) for day in range(40)]

    now, all_alike = remembered(periods, 3 * DAY), remembered(periods, math.inf)

    assert now.mean == pytest.approx(0.1 - 0.05 * 2 ** (-10 / 3), abs=1e-4)
    assert all_alike.mean == pytest.approx(0.0625)


def test_dropped_variant_becomes_uncertain_again():
    then = AgedSample(0.0, binary(1_000, 50))
    later = AgedSample(20 * DAY, binary(1_000, 50))

    def width(aged):
        sample = remembered([aged], 2 * DAY)
        arm = BetaPosterior.observed([sample.total], [sample.units - sample.total])
        return (arm.quantiles(0.975) - arm.quantiles(0.025)).item()

    assert width(later) > 10 * width(then)


parts = st.lists(
    st.tuples(st.floats(0, 100), st.integers(1, 10_000), st.integers(0, 100)), max_size=5
).map(
    lambda rows: [
        AgedSample(age * DAY, binary(units, min(units, conversions)))
        for age, units, conversions in rows
    ]
)


@given(parts, st.floats(0.1, 1_000))
def test_memory_is_never_more_than_what_there_was(periods, half_life):
    everything, left = remembered(periods, math.inf), remembered(periods, half_life * DAY)

    assert left.units <= everything.units * (1 + 1e-12)
    assert left.total <= everything.total * (1 + 1e-12)


@given(parts, st.floats(0.1, 1_000), st.floats(0, 50))
def test_waiting_multiplies_every_sum_alike(periods, half_life, days):
    later = [AgedSample(period.age_s + days * DAY, period.sample) for period in periods]
    factor = 2 ** (-days / half_life)

    assert astuple(remembered(later, half_life * DAY)) == pytest.approx(
        [factor * value for value in astuple(remembered(periods, half_life * DAY))], abs=1e-9
    )


@given(parts, st.randoms(use_true_random=False))
def test_order_of_the_periods_does_not_matter(periods, random):
    shuffled = list(periods)
    random.shuffle(shuffled)

    assert astuple(remembered(shuffled, DAY)) == pytest.approx(
        astuple(remembered(periods, DAY)), abs=1e-9
    )


@pytest.mark.parametrize("half_life", [0.0, -1.0, math.nan])
def test_half_life_is_positive(half_life):
    with pytest.raises(InvalidParameterError):
        remembered([AgedSample(0.0, binary(1, 0))], half_life)


@pytest.mark.parametrize("age", [-1.0, math.inf])
def test_ages_are_finite_and_not_negative(age):
    with pytest.raises(InvalidParameterError):
        remembered([AgedSample(age, binary(1, 0))], DAY)
