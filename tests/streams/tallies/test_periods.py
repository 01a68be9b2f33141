"""Tallies by period against the units themselves, in whatever order and parts they come."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.fold.impressions import ImpressionFold
from streams.fold.observations import ObservationFold
from streams.model.errors import EventError
from streams.model.events import ImpressionBatch, ImpressionGroup, Observation, ObservationBatch
from streams.model.quantities import MICRO, PROPENSITY_ONE
from streams.model.receipts import Keyring, Receipt
from streams.tallies.cell import Cell, Source, VariantTally
from streams.tallies.merging import join, merge
from streams.tallies.periods import (
    FINEST_SHIFT,
    Period,
    PeriodTally,
    add_periods,
    delay_bucket,
    tick_of,
)
from streams.tallies.plan import PLAIN, PeriodPlan, Plan, PlanMissingError
from streams.wire.cells import decode_cell, encode_cell
from tests.streams.fold.batches import fold_batch

EXPERIMENT = 7
KEYRING = Keyring({1: bytes(range(32))})
START_MS = 1_700_000_000_000
TICK_MS = 1 << FINEST_SHIFT
HALF = PROPENSITY_ONE // 2
PLAN = Plan(by_period=PeriodPlan("click", 3))


def expected_period(at_ms: int, newest_ms: int) -> Period:
    """Return the period of a time by its definition: the first length with its pair near enough."""
    shift = FINEST_SHIFT
    while (newest_ms >> shift + 1) - (at_ms >> shift + 1) >= 8:
        shift += 1
    return Period(shift, at_ms >> shift)


def test_a_worked_example():
    """Ticks 0 to 19: the pairs of 18 and 16 ... 4 are eight, so those of 2 and 0 are one each."""
    ticks = {Period(FINEST_SHIFT, tick): PeriodTally(tick) for tick in range(20)}

    merged = add_periods(ticks)

    assert merged == {
        **{Period(FINEST_SHIFT, tick): PeriodTally(tick) for tick in range(4, 20)},
        Period(FINEST_SHIFT + 1, 0): PeriodTally(0 + 1),
        Period(FINEST_SHIFT + 1, 1): PeriodTally(2 + 3),
    }
    assert list(merged) == sorted(merged)
    assert Period(19, 3).begins_at_ms == 3 * 2 * TICK_MS
    assert Period(19, 3).ends_at_ms == 4 * 2 * TICK_MS


def test_a_year_needs_some_hundred_periods_each_at_most_a_seventh_of_its_age():
    ticks = range(tick_of(START_MS), tick_of(START_MS) + 366 * 86_400_000 // TICK_MS)
    newest_ms = ticks[-1] * TICK_MS

    periods = add_periods({Period(FINEST_SHIFT, tick): PeriodTally(1) for tick in ticks})

    assert sum(each.units for each in periods.values()) == len(ticks)
    assert len(periods) <= 128
    for period in periods:
        length = period.ends_at_ms - period.begins_at_ms
        assert length == TICK_MS or length <= (newest_ms - period.begins_at_ms) / 7
    ordered = sorted(periods, key=lambda period: period.begins_at_ms)
    for before, after in pairwise(ordered):
        assert before.ends_at_ms <= after.begins_at_ms  # no two of them overlap


# Times that are near each other, and far apart: up to about two years.
times = st.one_of(
    st.integers(0, 40 * TICK_MS), st.integers(0, 3_000 * TICK_MS), st.integers(0, 6 * 10**10)
).map(lambda ms: START_MS + ms)
units = st.lists(st.tuples(times, st.integers(0, 2)), min_size=1, max_size=40)


@settings(max_examples=150)
@given(units, st.randoms(use_true_random=False), st.integers(1, 9), st.integers(1, 3))
def test_units_are_where_the_newest_one_of_all_puts_them(rows, random, size, partitions):
    """Folded in batches and partitions, with cells taken in between and merged in any order."""
    random.shuffle(rows)
    folds = [ImpressionFold(n, plan_of=lambda _: PLAN) for n in range(partitions)]
    cells: list[Cell] = []
    for offset, start in enumerate(range(0, len(rows), size)):
        part = rows[start : start + size]
        fold = folds[offset % partitions]
        group = ImpressionGroup(
            EXPERIMENT,
            False,
            [variant for _, variant in part],
            [HALF] * len(part),
            [1] * len(part),
            [at_ms for at_ms, _ in part],
            list(range(len(part))),
        )
        assert not fold_batch(fold, offset, ImpressionBatch(1, fold._partition, offset, [group]))
        if random.random() < 0.5:
            cells += fold.take_changes().cells
    for fold in folds:
        cells += fold.take_changes().cells
    random.shuffle(cells)

    tally = merge(cells)

    newest_ms = max(at_ms for at_ms, _ in rows)
    expected: defaultdict[int, Counter[Period]] = defaultdict(Counter)
    for at_ms, variant in rows:
        expected[variant][expected_period(at_ms, newest_ms)] += 1
    assert {
        variant: Counter({period: each.units for period, each in found.periods.items()})
        for variant, found in tally.variants.items()
    } == expected
    for cell in tally.cells:
        assert decode_cell(encode_cell(cell)) == cell
        assert join(cell, cell) == cell


observed = st.lists(
    st.tuples(
        st.integers(0, 7),  # unit
        st.sampled_from(["click", "view"]),
        st.integers(-3 * MICRO, 3 * MICRO),
        st.integers(0, 3_600_000),  # delay
    ),
    min_size=1,
    max_size=30,
)


@settings(max_examples=100)
@given(
    observed,
    st.lists(times, min_size=8, max_size=8),
    st.randoms(use_true_random=False),
    st.sampled_from([None, 2 * MICRO]),
)
def test_values_and_delays_are_those_of_the_units(events, assigned_at_ms, random, cap):
    random.shuffle(events)
    plan = replace(PLAN, caps={} if cap is None else {"click": cap})
    fold = ObservationFold(0, KEYRING, plan_of=lambda _: plan)
    for offset, (unit, metric, value, delay_ms) in enumerate(events):
        at_ms = assigned_at_ms[unit]
        receipt = KEYRING.sign(Receipt(EXPERIMENT, unit % 2, HALF, 1, at_ms, unit, 0))
        observation = Observation(receipt, metric, value, None, at_ms + delay_ms)
        assert not fold_batch(fold, offset, ObservationBatch([observation]), at_ms + delay_ms)
        if random.random() < 0.3:
            fold.take_changes()
    fold.take_changes()

    [cell] = fold.cells
    clicks = [
        (unit, value, delay_ms) for unit, metric, value, delay_ms in events if metric == "click"
    ]
    newest_ms = max((assigned_at_ms[unit] for unit, _, _ in clicks), default=0)
    expected: dict[int, dict[Period, PeriodTally]] = {0: {}, 1: {}}
    for unit in {unit for unit, _, _ in clicks}:
        worth = sum(value for each, value, _ in clicks if each == unit)
        worth = worth if cap is None else min(worth, cap)
        delays = [delay_bucket(delay_ms) for each, _, delay_ms in clicks if each == unit]
        arrivals = [0] * (max(delays) + 1)
        for bucket in delays:
            arrivals[bucket] += 1
        period = expected_period(assigned_at_ms[unit], newest_ms)
        known = expected[unit % 2].get(period, PeriodTally())
        one = PeriodTally(0, 1, worth, worth * worth, int(worth > 0), tuple(arrivals))
        expected[unit % 2][period] = known + one
    assert {
        index: dict(variant.periods) for index, variant in cell.variants.items() if variant.periods
    } == {index: periods for index, periods in expected.items() if periods}


def test_without_a_plan_nothing_is_kept_by_period():
    fold = ImpressionFold(0)
    group = ImpressionGroup(EXPERIMENT, False, [0], [HALF], [1], [START_MS], [1])
    fold_batch(fold, 0, ImpressionBatch(1, 0, 0, [group]))

    [cell] = fold.take_changes().cells
    assert cell.variants[0] == replace(cell.variants[0], periods={})


def test_a_batch_of_units_without_a_known_plan_changes_nothing_until_it_is_known():
    plans = {EXPERIMENT: PLAN}
    fold = ImpressionFold(0, plan_of=plans.get)
    groups = [
        ImpressionGroup(number, False, [0], [HALF], [1], [START_MS], [1]) for number in (7, 8)
    ]
    batch = ImpressionBatch(1, 0, 0, groups)

    with pytest.raises(PlanMissingError) as missing:
        fold_batch(fold, 3, batch)
    assert (missing.value.experiment, fold.last_offset) == (8, -1)
    plans[8] = PLAIN
    assert not fold_batch(fold, 3, batch)

    first, second = fold.take_changes().cells
    assert first.variants[0].periods == {Period(FINEST_SHIFT, tick_of(START_MS)): PeriodTally(1)}
    assert (second.variants[0].units, second.variants[0].periods) == (1, {})


def test_a_repeated_unit_is_in_its_period_once():
    fold = ImpressionFold(0, plan_of=lambda _: PLAN)
    columns = [0, 0], [HALF] * 2, [1] * 2, [START_MS] * 2, [5, 5]
    fold_batch(fold, 0, ImpressionBatch(1, 0, 0, [ImpressionGroup(EXPERIMENT, True, *columns)]))

    [cell] = fold.take_changes().cells
    assert sum(each.units for each in cell.variants[0].periods.values()) == 1


def test_units_of_a_promoted_winner_do_not_move_the_periods_of_the_experiment():
    """Index 3 is beyond the three variants of the plan, and a year later."""
    fold = ImpressionFold(0, plan_of=lambda _: PLAN)
    for offset, (variant, tick) in enumerate([(0, 0), (1, 1), (3, 120_000)]):
        columns = [variant], [HALF], [1], [tick * TICK_MS], [offset]
        group = ImpressionGroup(EXPERIMENT, False, *columns)
        fold_batch(fold, offset, ImpressionBatch(1, 0, offset, [group]))
    observations = ObservationFold(0, KEYRING, plan_of=lambda _: PLAN)
    for offset, (variant, tick) in enumerate([(0, 0), (3, 120_000)]):
        at_ms = tick * TICK_MS
        receipt = KEYRING.sign(Receipt(EXPERIMENT, variant, HALF, 1, at_ms, offset, 0))
        click = Observation(receipt, "click", MICRO, None, at_ms)
        assert not fold_batch(observations, offset, ObservationBatch([click]), at_ms)

    tally = merge([*fold.take_changes().cells, *observations.take_changes().cells])

    assert {
        (variant, period): (each.units, each.units_with_value)
        for variant, found in tally.variants.items()
        for period, each in found.periods.items()
    } == {(0, Period(FINEST_SHIFT, 0)): (1, 1), (1, Period(FINEST_SHIFT, 1)): (1, 0)}
    assert tally.variants[3].units == 1


@pytest.mark.parametrize(("shift", "number"), [(17, 5), (63, 0), (18, -1)])
def test_periods_that_cannot_be_are_refused(shift, number):
    periods = {Period(shift, number): PeriodTally(1)}
    cell = Cell(7, Source.IMPRESSIONS, 0, 1, 1, 2, 0, {0: VariantTally(1, periods=periods)})

    with pytest.raises(EventError) as refused:
        decode_cell(encode_cell(cell))

    assert refused.value.code == "OUT_OF_RANGE"


def test_a_variant_that_gets_no_units_any_more_is_in_the_periods_of_the_others():
    """Its cell changes although nothing is added to it."""
    fold = ImpressionFold(0, plan_of=lambda _: PLAN)
    for offset, (variant, tick) in enumerate([(0, 0), (0, 1), (1, 0), (1, 400)]):
        columns = [variant], [HALF], [1], [tick * TICK_MS], [offset]
        group = ImpressionGroup(EXPERIMENT, False, *columns)
        fold_batch(fold, offset, ImpressionBatch(1, 0, offset, [group]))
        [cell] = fold.take_changes().cells

    assert [each.units for each in cell.variants[0].periods.values()] == [2]
    assert cell.variants[0].periods.keys() < cell.variants[1].periods.keys()


def test_sums_of_variants_have_the_periods_of_the_newer_one():
    old = VariantTally(1, periods={Period(FINEST_SHIFT, 0): PeriodTally(1)})
    new = VariantTally(1, periods={Period(FINEST_SHIFT, 16): PeriodTally(1)})

    assert (old + new).periods == {
        Period(FINEST_SHIFT, 16): PeriodTally(1),
        Period(FINEST_SHIFT + 1, 0): PeriodTally(1),
    }


def test_cells_of_different_sources_are_aligned_with_each_other():
    def cell(source, last_offset, tick):
        periods = {Period(FINEST_SHIFT, tick): PeriodTally(1)}
        return Cell(7, source, 0, last_offset, 1, 2, 0, {0: VariantTally(1, periods=periods)})

    tally = merge([cell(Source.IMPRESSIONS, 1, 16), cell(Source.OBSERVATIONS, 1, 1)])

    assert list(tally.variants[0].periods) == [Period(18, 16), Period(19, 0)]
