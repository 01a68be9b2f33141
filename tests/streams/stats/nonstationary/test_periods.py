"""Units by period read for posteriors: faded, matured, stratified, and together."""

from __future__ import annotations

from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.model.quantities import MICRO
from streams.stats.bayes.best import best
from streams.stats.families.registry import FAMILIES
from streams.stats.kinds import MetricKind
from streams.stats.nonstationary.periods import (
    MIN_UNITS_OF_STRATUM,
    TimeWeights,
    in_buckets,
    read_periods,
)
from streams.stats.sample import Sample
from streams.tallies.cell import MetricTally, VariantTally
from streams.tallies.periods import (
    FINEST_SHIFT,
    Period,
    PeriodTally,
    add_periods,
    delay_bucket,
    tick_of,
)

TICK_MS = 1 << FINEST_SHIFT


def binary(units: int, conversions: int, arrivals: tuple[int, ...] = ()) -> PeriodTally:
    return PeriodTally(
        units, conversions, conversions * MICRO, conversions * MICRO**2, arrivals=arrivals
    )


def variants(*columns):
    """Return variants whose periods are ticks 0, 1, ..., and how they are read at their end."""
    return [
        VariantTally(periods={Period(FINEST_SHIFT, tick): each for tick, each in enumerate(column)})
        for column in columns
    ]


def read(tallies, now_ms=None, **weights):
    n = max(len(each.periods) for each in tallies)
    return read_periods(tallies, TimeWeights(**weights), n * TICK_MS if now_ms is None else now_ms)


@given(st.integers(0, 10**11))
def test_buckets_of_delay_are_where_the_fractions_say(delay_ms):
    before, after = in_buckets(np.array([delay_ms, delay_ms + 1.0]))

    assert int(before) == delay_bucket(delay_ms)
    assert before < after


def test_half_life_worked_by_hand():
    """Middles of three periods are 5/2, 3/2 and 1/2 of one old, and it is the half-life."""
    tallies = variants([binary(80, 16), binary(80, 4), binary(80, 8)])

    (sample,) = read(tallies, half_life_s=TICK_MS / 1000)

    factors = [2**-2.5, 2**-1.5, 2**-0.5]
    assert sample.units == pytest.approx(80 * sum(factors))
    assert sample.total == pytest.approx(np.dot(factors, [16, 4, 8]))


def test_nothing_fades_while_no_unit_is_assigned():
    tallies = variants([binary(80, 16), binary(80, 4)])

    assert read(tallies, half_life_s=900.0) == read(tallies, now_ms=10**12, half_life_s=900.0)


def test_a_drifting_base_rate_under_moving_weights_turns_no_winner_round():
    """A is better in both periods, and has most of its units in the one in which few convert."""
    a = [binary(90_000, 900), binary(10_000, 500)]
    b = [binary(10_000, 80), binary(90_000, 4_050)]

    alike = best(FAMILIES[MetricKind.BINARY].posteriors(read(variants(a, b))))
    by_period = best(
        FAMILIES[MetricKind.BINARY].posteriors(read(variants(a, b), is_stratified=True))
    )

    assert alike.probability[1] > 0.999
    assert by_period.probability[0] > 0.95


def test_short_periods_become_strata_of_enough_units():
    """Ten units each: three periods make 30, so of seven the last four are one stratum."""
    per_period = MIN_UNITS_OF_STRATUM // 3
    rates = [1, 1, 1, 5, 5, 5, 5]
    a = [binary(per_period, rate) for rate in rates]
    b = [binary(2 * per_period, 2 * rate) for rate in rates]

    left, right = read(variants(a, b), is_stratified=True)

    assert left.mean == pytest.approx(3 / 7 * 1 / 10 + 4 / 7 * 5 / 10)
    assert right.mean == pytest.approx(left.mean)
    assert (left.units, right.units) == (pytest.approx(70), pytest.approx(140))


def test_a_variant_with_few_units_leaves_one_stratum_and_no_unit_out():
    a, b = [binary(1_000, 10), binary(1_000, 30)], [binary(3, 0), binary(0, 0)]

    assert read(variants(a, b), is_stratified=True) == read(variants(a, b))


def simulated(rng, rate: float, per_tick: int, n_ticks: int, mean_delay_ms: float):
    """Return one variant whose conversions take an exponential time, as it is known now."""
    now_ms = n_ticks * TICK_MS
    times = np.sort(rng.integers(0, now_ms, per_tick * n_ticks))
    delays = rng.exponential(mean_delay_ms, len(times))
    is_known = (rng.random(len(times)) < rate) & (times + delays <= now_ms)
    ticks: dict[Period, PeriodTally] = {}
    for tick in range(n_ticks):
        inside = (times >= tick * TICK_MS) & (times < (tick + 1) * TICK_MS)
        buckets = [delay_bucket(int(delay)) for delay in delays[inside & is_known]]
        arrivals = np.bincount(buckets).tolist() if buckets else []
        n = int((inside & is_known).sum())
        period = Period(FINEST_SHIFT, tick)
        ticks[period] = binary(int(inside.sum()), n, tuple(arrivals))
    return VariantTally(periods=add_periods(ticks)), now_ms


def test_rates_of_units_whose_conversions_are_under_way_are_found():
    """40 periods, delays of eight on average: a fifth of the conversions is yet to come.

    The mean of 60 runs has a standard error of 0.0006; five of them and 1 % of the rate for the
    ends of the curve (e^-5) fail once in a million. Plain means are a fifth too low.
    """
    rng = np.random.default_rng(41)
    matured, plain = [], []
    for _ in range(60):
        tally, now_ms = simulated(rng, 0.1, 150, 40, 8.0 * TICK_MS)
        matured.append(read([tally], now_ms, is_delayed=True)[0].mean)
        plain.append(read([tally], now_ms)[0].mean)

    assert np.mean(matured) == pytest.approx(0.1, abs=0.004)
    assert np.mean(plain) == pytest.approx(0.08, abs=0.003)


def test_a_variant_that_came_later_is_not_taken_for_a_worse_one():
    """B has young units alone. By plain means it is worse; by what could have arrived it is not."""
    rng = np.random.default_rng(43)
    a, now_ms = simulated(rng, 0.1, 500, 40, 6.0 * TICK_MS)
    young, _ = simulated(rng, 0.1, 500, 40, 6.0 * TICK_MS)
    begin = (40 - 8) * TICK_MS
    b = VariantTally(
        periods={
            period: each for period, each in young.periods.items() if period.begins_at_ms >= begin
        }
    )

    plain = best(FAMILIES[MetricKind.BINARY].posteriors(read([a, b], now_ms)))
    matured = best(FAMILIES[MetricKind.BINARY].posteriors(read([a, b], now_ms, is_delayed=True)))

    assert plain.probability[1] < 0.001
    assert 0.01 < matured.probability[1] < 0.99


def test_a_handful_of_old_units_does_not_decide_about_all_young_ones():
    """One of a few units converted late; of 8,000 younger ones 10 % did at once.

    By that one alone, nothing of the young could have arrived.
    """
    pilot = PeriodTally(5, 1, MICRO, MICRO**2, arrivals=(*[0] * 10, 1))
    young = {Period(FINEST_SHIFT, 30 + tick): binary(1_000, 100, (100,)) for tick in range(8)}
    tally = VariantTally(periods=add_periods({Period(FINEST_SHIFT, 0): pilot}, young))

    (sample,) = read_periods([tally], TimeWeights(is_delayed=True), 38 * TICK_MS)

    assert sample.mean == pytest.approx(0.1, rel=0.01)


def test_a_stratum_that_has_faded_away_is_no_stratum():
    """A pilot of 40 units, and 10,000 more than a thousand half-lives later."""
    pilot = {Period(FINEST_SHIFT, tick): binary(40, 2) for tick in range(12)}
    for gap in range(3_000, 4_400, 25):
        later = {Period(FINEST_SHIFT, gap): binary(10_000, 500)}
        tally = VariantTally(periods=add_periods(pilot, later))
        first, second = read_periods(
            [tally, tally], TimeWeights(900.0, is_stratified=True), (gap + 1) * TICK_MS
        )
        assert first.mean == pytest.approx(0.05)
        assert second == first


def test_before_any_unit_there_is_nothing():
    for weights in (TimeWeights(), TimeWeights(900.0, is_delayed=True, is_stratified=True)):
        assert read_periods([VariantTally()] * 2, weights, 0) == (Sample(0, 0, 0, 0, 0),) * 2


counts = st.integers(0, 200).flatmap(
    lambda units: st.tuples(st.just(units), st.integers(0, units), st.integers(-500, 500))
)
columns = st.integers(1, 12).flatmap(
    lambda n: st.lists(st.lists(counts, min_size=n, max_size=n), min_size=2, max_size=4)
)
readings = st.builds(
    TimeWeights,
    st.one_of(st.none(), st.floats(100.0, 1e7)),
    st.booleans(),
    st.booleans(),
)


def valued(units: int, with_value: int, value: int) -> PeriodTally:
    """Return units of which some have a value; the first ones arrive at once, the others later."""
    total = with_value * value * MICRO
    arrivals = (with_value - with_value // 3, with_value // 3)
    squares = with_value * value * value * MICRO**2
    return PeriodTally(units, with_value, total, squares, arrivals=arrivals)


@given(columns)
def test_read_all_alike_it_is_the_sample_of_all_units(rows):
    tallies = variants(*([valued(*each) for each in row] for row in rows))

    for sample, row in zip(read(tallies), rows, strict=True):
        every = sum((valued(*each) for each in row), PeriodTally())
        metric = MetricTally(every.units_with_value, 0, every.total, every.total_squared)
        whole = astuple(Sample.of(every.units, metric))
        assert astuple(sample) == pytest.approx(whole, rel=1e-9, abs=1e-6)


@given(columns, readings)
def test_variants_change_places_with_their_samples(rows, weights):
    tallies = variants(*([valued(*each) for each in row] for row in rows))
    now_ms = len(rows[0]) * TICK_MS

    there = read_periods(tallies, weights, now_ms)
    back = read_periods(tallies[::-1], weights, now_ms)[::-1]

    for one, other in zip(there, back, strict=True):
        assert astuple(one) == pytest.approx(astuple(other), rel=1e-9, abs=1e-6)


@given(columns, readings)
def test_there_are_never_more_units_than_were_assigned(rows, weights):
    tallies = variants(*([valued(*each) for each in row] for row in rows))

    samples = read_periods(tallies, weights, len(rows[0]) * TICK_MS)

    for sample, row in zip(samples, rows, strict=True):
        assert sample.units <= sum(units for units, _, _ in row) * (1 + 1e-9)


def test_periods_are_in_order_of_time_and_not_of_length():
    """An hour ago is a longer period than the last minutes, and comes before them."""
    ticks = {Period(FINEST_SHIFT, tick): binary(40, tick % 2) for tick in range(40)}
    tally = VariantTally(periods=add_periods(ticks))
    assert len({period.shift for period in tally.periods}) > 1

    (sample,) = read_periods([tally], TimeWeights(half_life_s=2.0 * TICK_MS / 1000), 40 * TICK_MS)

    newest = tick_of(39 * TICK_MS)
    exact = sum(40 * 2 ** (-(newest - tick + 0.5) / 2) for tick in range(40))
    assert sample.units == pytest.approx(exact, rel=0.01)
