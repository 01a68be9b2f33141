"""Mature units against the units themselves, in whatever order and parts their events come."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.fold.impressions import ImpressionFold
from streams.fold.observations import ObservationFold
from streams.model.events import ImpressionBatch, ImpressionGroup, Observation, ObservationBatch
from streams.model.quantities import MICRO, PROPENSITY_ONE
from streams.model.receipts import Keyring, Receipt
from streams.model.vectors import pack
from streams.tallies.cell import Cell, Tally
from streams.tallies.cohorts import COHORTS_PER_WINDOW, Cohort, seen_at
from streams.tallies.merging import merge
from streams.tallies.plan import Plan
from streams.wire.cells import decode_cell, encode_cell
from tests.streams.fold.batches import ONE_BY_ONE, fold_batch, vectorized_from

KEYRING = Keyring({1: bytes(range(32))})
START_MS = 1_700_000_000_000
WINDOW_S = 800
WINDOW_MS = 1000 * WINDOW_S
LENGTH_MS = WINDOW_MS // COHORTS_PER_WINDOW
PLAN = Plan(
    {"order": 2 * MICRO},
    (("click", "order"),),
    floors={"order": 0},
    windows={"click": WINDOW_S, "order": WINDOW_S, "view": 60},
    limits={"scroll": 120},
    delays={"order": 20, "scroll": 3, "view": 5},
)


def test_a_worked_example():
    """Cohorts of ten seconds: those that end by 0:20 are 80 s old at 1:40."""
    cohorts = [(Cohort.of(80, at_s * 1000), 1) for at_s in (0, 9, 10, 20, 99)]

    assert seen_at(100_000, cohorts, int.__add__) == {
        Cohort.mature(80): 3,
        Cohort(80, 2): 1,
        Cohort(80, 9): 1,
    }


EDGES_MS = (WINDOW_MS, WINDOW_MS + 1, 19_999, 20_000, 120_000, 120_001, 2_999, 3_000)
times = st.integers(0, 4 * WINDOW_MS).map(lambda ms: START_MS + ms)
assigned = st.lists(
    st.tuples(times, st.integers(0, 2), st.sampled_from([PROPENSITY_ONE // 2, 1 << 28])),
    min_size=1,
    max_size=12,
)
observed = st.lists(
    st.tuples(
        st.integers(0, 11),  # unit
        st.sampled_from(["click", "order", "view", "scroll"]),
        st.integers(-MICRO, 3 * MICRO) | st.just(MICRO),
        st.integers(0, 2 * WINDOW_MS) | st.sampled_from(EDGES_MS),  # delay
    ),
    max_size=40,
)


def folded(plan, units, events, *, partitions=1, size=ONE_BY_ONE, takes=lambda: False) -> Tally:
    """Return the tally of impressions and observations, folded in parts and partitions."""
    cells: list[Cell] = []
    for partition in range(partitions):
        assignments = ImpressionFold(partition, plan_of=lambda _: plan)
        mine = units[partition::partitions]
        for offset, start in enumerate(range(0, len(mine), size)):
            columns = zip(*mine[start : start + size], strict=True)
            at_ms, variants, propensities = map(list, columns)
            count = len(variants)
            group = ImpressionGroup(
                7, False, variants, propensities, [1] * count, at_ms, list(range(count))
            )
            batch = ImpressionBatch(1, partition, offset, [group])
            assert not fold_batch(assignments, offset, batch)
            if takes():
                cells += assignments.take_changes().cells
        cells += assignments.take_changes().cells
        values = ObservationFold(partition, KEYRING, plan_of=lambda _: plan)
        own = [each for each in events if each[0] % len(units) % partitions == partition]
        for offset, start in enumerate(range(0, len(own), size)):
            read = [observation(units, *event) for event in own[start : start + size]]
            assert not fold_batch(values, offset, ObservationBatch(read), START_MS + (1 << 40))
            if takes():
                cells += values.take_changes().cells
        cells += values.take_changes().cells
    for cell in cells:
        assert decode_cell(encode_cell(cell)) == cell
    return merge(cells)


def observation(units, unit, metric, value, delay_ms):
    at_ms, variant, propensity = units[unit % len(units)]
    receipt = Receipt(7, variant, propensity, 1, at_ms, unit % len(units), 0)
    return Observation(KEYRING.sign(receipt), metric, value, None, at_ms + delay_ms)


@settings(max_examples=40, deadline=None)
@given(
    units=assigned,
    events=observed,
    random=st.randoms(use_true_random=False),
    partitions=st.integers(1, 3),
    size=st.integers(1, 12),
    together=st.booleans(),
)
def test_mature_are_the_units_whose_window_is_over_and_their_values_within_it(
    units, events, random, partitions, size, together
):
    """The oracle folds the events of these units alone, by the plan without windows."""
    random.shuffle(events)
    with vectorized_from(1 if together else ONE_BY_ONE):
        tally = folded(
            PLAN,
            units,
            events,
            partitions=partitions,
            size=size,
            takes=lambda: random.random() < 0.4,
        )

    newest_ms = max(
        [at_ms for at_ms, _, _ in units]
        + [units[unit % len(units)][0] + delay_ms for unit, _, _, delay_ms in events]
    )
    windows = {**PLAN.windows, **PLAN.limits}
    late = [each for each in events if each[3] > 1000 * windows.get(each[1], each[3])]
    early = [each for each in events if each[3] < 1000 * PLAN.delays.get(each[1], 0)]
    within = [each for each in events if each not in late and each not in early]
    assert (tally.late, tally.early) == (len(late), len(early))
    plain = replace(PLAN, windows={}, limits={}, delays={})
    everything = folded(plain, units, within)
    assert tally.variants == everything.variants
    for window_s in (WINDOW_S, 60):
        length_ms = window_s * 1000 // COHORTS_PER_WINDOW
        old = {
            place
            for place, (at_ms, _, _) in enumerate(units)
            if (at_ms // length_ms + 1) * length_ms + 1000 * window_s <= newest_ms
        }
        values = [
            event
            for event in within
            if event[0] % len(units) in old and PLAN.windows.get(event[1]) == window_s
        ]
        mature = tally.mature.get(window_s, {})
        found = merged_by_variant([unit for n, unit in enumerate(units) if n in old])
        assert {index: each.units for index, each in mature.items()} == found
        only = folded(plain, units, values)
        assert {index: each.metrics for index, each in mature.items() if each.metrics} == {
            index: each.metrics for index, each in only.variants.items() if each.metrics
        }
        assert {index: each.products for index, each in mature.items() if each.products} == {
            index: each.products for index, each in only.variants.items() if each.products
        }


def merged_by_variant(units):
    return {
        index: sum(variant == index for _, variant, _ in units)
        for index in sorted({variant for _, variant, _ in units})
    }


def test_weights_of_mature_units_are_theirs():
    units = [(START_MS + n * LENGTH_MS, n % 2, PROPENSITY_ONE >> n % 3) for n in range(40)]
    tally = folded(PLAN, units, [], size=7)

    old = [unit for unit in units if unit[0] + LENGTH_MS + WINDOW_MS <= units[-1][0]]
    assert len(old) == 31
    assert tally.mature[WINDOW_S] == folded(Plan(), old, []).variants


def test_covariates_are_kept_by_cohort_where_they_are_declared():
    """Features of a contextual policy are not: its matrices would be ten times as many."""
    vector = pack(((0, 1_024), (1, 512)))
    receipt = Receipt(7, 0, 1 << 31, 1, START_MS, 1, 0, features=vector)
    times = [START_MS, START_MS + 3 * WINDOW_MS]
    group = ImpressionGroup(
        7, False, [0, 0], [1 << 31] * 2, [1, 1], times, [1, 2], (), [vector, vector]
    )
    seen = Observation(KEYRING.sign(receipt), "click", 3 * MICRO, None, START_MS + 5)
    for has_covariates in (True, False):
        plans = {7: replace(PLAN, has_covariates=has_covariates)}
        assignments = ImpressionFold(0, plan_of=plans.get)
        assert not fold_batch(assignments, 0, ImpressionBatch(1, 0, 0, [group]))
        values = ObservationFold(0, KEYRING, plan_of=plans.get)
        assert not fold_batch(values, 0, ObservationBatch([seen]), START_MS + 5)
        tally = merge([*assignments.take_changes().cells, *values.take_changes().cells])

        mature, whole = tally.mature[WINDOW_S][0], tally.variants[0]

        assert (mature.units, whole.units) == (1, 2)
        moment = whole.metrics["click"].moment
        assert moment
        assert mature.gram == (tuple(x // 2 for x in whole.gram) if has_covariates else ())
        assert mature.metrics["click"].moment == (moment if has_covariates else ())


@pytest.mark.parametrize("count", [1, ONE_BY_ONE])
def test_cohorts_are_bounded_however_long_it_lasts(count):
    units = [(START_MS + n * LENGTH_MS // 3, n % 2, PROPENSITY_ONE // 2) for n in range(300)]
    events = [(unit, "click", MICRO, 5_000) for unit in range(300)]
    with vectorized_from(count):
        tally = folded(PLAN, units, events, size=11)

    for cell in tally.cells:
        of_window = [cohort for cohort in cell.cohorts if cohort.window_s == WINDOW_S]
        assert len(of_window) <= COHORTS_PER_WINDOW + 2
    assert tally.mature[WINDOW_S][0].metrics["click"].units > 100


def test_a_late_observation_counts_nowhere_but_moves_the_clock():
    units = [(START_MS, 0, PROPENSITY_ONE // 2)]
    tally = folded(PLAN, units, [(0, "click", MICRO, 3 * WINDOW_MS)])

    assert tally.late == 1
    assert tally.variants[0].metrics == {}
    assert tally.last_at_ms == START_MS + 3 * WINDOW_MS
    assert tally.mature[WINDOW_S][0].units == 1
