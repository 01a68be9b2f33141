"""Voided units: the tallies are those of a log in which they never were."""

from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streams.fold.impressions import ImpressionFold
from streams.fold.observations import ObservationFolding
from streams.fold.segments import WindowSegment
from streams.model.errors import EventError
from streams.model.events import ImpressionBatch, ImpressionGroup, Observation
from streams.model.quantities import MICRO
from streams.model.receipts import Keyring, Receipt
from streams.model.variant_weights import pack_weights
from streams.model.voids import MAX_REASONS, OTHER, void_metric, void_reason
from streams.tallies.bins import QUANTILES, WINSORIZED
from streams.tallies.cell import Cell, MetricTally, ProductTally, VariantTally
from streams.tallies.cohorts import Cohort
from streams.tallies.merging import merge
from streams.tallies.periods import PeriodTally
from streams.tallies.plan import PLAIN, AcceptedValues, PeriodPlan, Plan
from streams.wire.observations import encode_observation
from streams.wire.records import SINGLE_OBJECT
from tests.streams.fold.batches import ONE_BY_ONE, vectorized_from

KEYRING = Keyring({1: bytes(16)})
NOW_MS = 1_700_000_000_000
EXPERIMENT, WINDOW_S = 7, 600
WEIGHTS = (30_000, 20_000, 15_536)
PACKED = pack_weights(WEIGHTS)
N_UNITS = 5
CAPPED = Plan({"click": 100 * MICRO}, floors={"pay": 0}, declared=frozenset({"click", "pay"}))
FULL = replace(
    CAPPED,
    pairs=(("click", "pay"),),
    by_period=PeriodPlan("pay", 3),
    n_variants=3,
    windows={"click": 120, "pay": 120},
    has_covariates=True,
    weighted_covariates=2,
    bins={"click": WINSORIZED, "pay": QUANTILES},
)
PLANS = [
    PLAIN,
    CAPPED,
    Plan(accepted={"click": AcceptedValues(0, 3 * MICRO)}, by_period=PeriodPlan("click", 2)),
    FULL,
]


@dataclass(frozen=True)
class Record:
    offset: int
    value: bytes
    timestamp: int


def receipt_of(unit: int) -> Receipt:
    variant = unit % 3
    features = b"\1\4\0" if unit % 2 else b""
    return Receipt(
        EXPERIMENT,
        variant,
        WEIGHTS[variant] << 16,
        1,
        NOW_MS + 30_000 * unit,
        unit,
        WINDOW_S,
        PACKED,
        features,
    )


def record(offset, event, timestamp):
    unit, metric, value, event_id, after_ms = event
    receipt = receipt_of(unit)
    observation = Observation(
        KEYRING.sign(receipt), metric, value, event_id, receipt.assigned_at_ms + after_ms
    )
    return Record(offset, encode_observation(observation, SINGLE_OBJECT), timestamp)


def observed(stream, plan, *, cuts=1_000, limit=10_000, vectorized=1, timestamp=NOW_MS + 500_000):
    """Return the cell of a stream of (unit, metric, value, event, delay), folded in batches.

    The state is written and restored between them.
    """
    records = [record(offset, each, timestamp) for offset, each in enumerate(stream)]
    folding = ObservationFolding(SINGLE_OBJECT, KEYRING, limit, lambda _: plan)
    fold = folding.new_fold(0)
    cells: dict[int, Cell] = {}
    segments: dict[str, WindowSegment] = {}
    refused: list[Any] = []
    with vectorized_from(vectorized):
        for start in range(0, len(records), cuts):
            refused += folding.fold(fold, records[start : start + cuts]).refused
            changes = fold.take_changes()
            cells |= {cell.experiment: cell for cell in changes.cells}
            segments |= {each.key: each for each in changes.segments}
            for key in changes.forgotten:
                segments.pop(key, None)
            fold = folding.new_fold(0)
            fold.restore(changes.progress, cells.values(), segments.values())
    return cells.get(EXPERIMENT), [found[0].error.code for _, found in refused]


def assigned(units, plan):
    """Return the cell of the units assigned."""
    receipts = [receipt_of(unit) for unit in units]
    fold = ImpressionFold(0, plan_of=lambda _: plan)
    group = ImpressionGroup(
        EXPERIMENT,
        True,
        [each.variant for each in receipts],
        [each.propensity for each in receipts],
        [each.allocation_version for each in receipts],
        [each.assigned_at_ms for each in receipts],
        [each.unit for each in receipts],
        ["{}"] * len(receipts),
        [each.features for each in receipts] if any(each.features for each in receipts) else [],
        [each.weights for each in receipts],
    )
    if receipts:
        assert not fold.fold(0, ImpressionBatch(1, 0, 0, [group]))
    return next(iter(fold.take_changes().cells), None)


def sums(tally):
    """Return what is left of tallies without what is nothing: a sum of 0 is negligible."""

    def entries(row):
        row = list(row)
        while row and not row[-1]:
            row.pop()
        return tuple(row)

    def metric(each):
        return replace(
            each,
            moment=entries(each.moment),
            positive_moment=entries(each.positive_moment),
            overlap_moment=entries(each.overlap_moment),
        )

    def named(each, nothing, change=lambda x: x):
        changed = {key: change(value) for key, value in each.items()}
        return {key: value for key, value in changed.items() if value != nothing}

    def variant(each):
        return replace(
            each,
            # The first of each counts units without features where it may.
            overlap_features=entries(each.overlap_features[1:]),
            overlap_gram=entries(each.overlap_gram[1:]),
            gram=entries(each.gram[1:]),
            metrics=named(each.metrics, MetricTally(), metric),
            products=named(each.products, ProductTally()),
            periods=named(
                each.periods,
                PeriodTally(),
                lambda period: replace(period, arrivals=entries(period.arrivals)),
            ),
            bins={name: dict(bins) for name, bins in each.bins.items() if bins},
        )

    return (
        named(tally.variants, VariantTally(), variant),
        {
            window: named(variants, VariantTally(), variant)
            for window, variants in tally.mature.items()
            if named(variants, VariantTally(), variant)
        },
        tally.full_units,
    )


def cells(*found):
    return merge([cell for cell in found if cell is not None], NOW_MS + 10**6)


units = st.integers(0, N_UNITS - 1)
values = st.sampled_from([0, MICRO, MICRO, 2 * MICRO, -MICRO, 250 * MICRO, 7])
observations = st.tuples(
    units,
    st.sampled_from(["click", "click", "pay"]),
    values,
    st.sampled_from([None, "a", "b"]),
    st.sampled_from([0, 50_000, 110_000, 121_000, 300_000]),
)
voids = st.tuples(units, st.sampled_from(["$void.ivt", "$void.bot"])).map(
    lambda pair: (*pair, MICRO, None, 900_000_000)
)


@settings(max_examples=60, deadline=None)
@given(
    stream=st.lists(st.one_of(observations, observations, voids), min_size=1, max_size=25),
    plan=st.sampled_from(PLANS),
    cuts=st.integers(1, 12),
    vectorized=st.sampled_from([1, ONE_BY_ONE]),
)
def test_tallies_are_those_of_a_log_without_the_voided_units(stream, plan, cuts, vectorized):
    """Wherever the voids are, however often they come, after their windows, and after restarts."""
    voided = {each[0] for each in stream if void_reason(each[1])}
    others = [each for each in stream if each[0] not in voided]
    everyone = range(N_UNITS)

    cell, codes = observed(stream, plan, cuts=cuts, vectorized=vectorized)
    clean, _ = observed(others, plan)

    assert "VOID_TOO_LATE" not in codes
    assert sum(() if cell is None else cell.voids.values()) == len(voided)
    assert sums(cells(cell, assigned(everyone, plan))) == sums(
        cells(clean, assigned([each for each in everyone if each not in voided], plan))
    )


@settings(max_examples=30, deadline=None)
@given(
    stream=st.lists(st.one_of(observations, voids), min_size=1, max_size=20),
    plan=st.sampled_from(PLANS),
    order=st.randoms(use_true_random=False),
)
def test_voids_and_observations_may_come_in_any_order(stream, plan, order):
    last_first = [*stream]
    order.shuffle(last_first)
    # The events of a unit have ids, so that the same ones count in any order.
    named = [(*each[:3], f"{place}", each[4]) for place, each in enumerate(stream)]
    shuffled = [
        (*stream[place][:3], f"{place}", stream[place][4])
        for place in (order.sample(range(len(stream)), len(stream)))
    ]

    one, _ = observed(named, plan)
    other, _ = observed(shuffled, plan)

    assert sums(cells(one)) == sums(cells(other))


def observed_after_a_crash(stream, plan, crash_at):
    """Return the cell of a stream whose first batch was written without its progress."""
    records = [record(offset, each, NOW_MS + 500_000) for offset, each in enumerate(stream)]
    folding = ObservationFolding(SINGLE_OBJECT, KEYRING, 10_000, lambda _: plan)
    fold = folding.new_fold(0)
    folding.fold(fold, records[:crash_at])
    written = fold.take_changes()
    found = {cell.experiment: cell for cell in written.cells}
    fold = folding.new_fold(0)
    fold.restore(None, found.values(), written.segments)
    folding.fold(fold, records)
    found |= {cell.experiment: cell for cell in fold.take_changes().cells}
    return found.get(EXPERIMENT)


@settings(max_examples=60, deadline=None)
@given(
    stream=st.lists(st.one_of(observations, observations, voids), min_size=1, max_size=20),
    plan=st.sampled_from(PLANS),
    crash_at=st.integers(1, 20),
)
@example(
    stream=[
        *((0, "pay", MICRO, event, delay) for event, delay in (("a", 50_000), ("b", 110_000))),
        (0, "$void.ivt", MICRO, None, 0),
    ],
    plan=FULL,
    crash_at=2,
)
def test_voids_are_exact_after_a_crash_between_cell_and_progress(stream, plan, crash_at):
    """Records that are in the cell already are read again, and a later void needs all of them."""
    cell, _ = observed(stream, plan)

    assert sums(cells(observed_after_a_crash(stream, plan, crash_at))) == sums(cells(cell))


def test_a_bot_is_taken_out_by_hand():
    """Unit 0 clicked once; unit 3, of the same variant, 200 times before and after its void."""
    clicks = [(3, "click", MICRO, f"{n}", 0) for n in range(200)]
    void = (3, void_metric("bot"), MICRO, None, 0)
    stream = [(0, "click", MICRO, "e", 0), *clicks[:100], void, *clicks[100:], void]

    cell, codes = observed(stream, PLAIN)

    assert not codes
    assert cell.voids == {"bot": 1}
    assert cell.duplicates == 1  # the second void
    tally = cell.variants[0]
    assert tally.units == -1
    assert cells(cell, assigned([0, 3], PLAIN)).variants[0].units == 1
    click = tally.metrics["click"]
    assert (click.units, click.observations, click.total) == (1, 1, MICRO)
    assert (click.positive_units, click.binary_observations) == (1, 1)


def test_a_bot_of_20_000_requests_is_taken_out():
    """Every request of it is a unit, and every one of them clicks."""
    n_bot, n_people = 20_000, 300
    receipts = [receipt_of(1)._replace(unit=unit) for unit in range(n_bot + n_people)]
    ids = [KEYRING.sign(each) for each in receipts]
    clicks = [Observation(each, "click", MICRO, "c", NOW_MS + 60_000) for each in ids]
    voids = [Observation(each, void_metric("ivt"), MICRO) for each in ids[:n_bot]]
    records = [
        Record(offset, encode_observation(each, SINGLE_OBJECT), NOW_MS + 90_000)
        for offset, each in enumerate([*clicks, *voids])
    ]
    folding = ObservationFolding(SINGLE_OBJECT, KEYRING, 100_000, lambda _: PLAIN)
    fold = folding.new_fold(0)

    assert not folding.fold(fold, records).refused

    [cell] = fold.take_changes().cells
    assert cell.voids == {"ivt": n_bot}
    [tally] = cell.variants.values()
    assert tally.units == -n_bot  # the assignments are in the cells of impressions
    click = tally.metrics["click"]
    assert (click.units, click.observations, click.total) == (n_people, n_people, n_people * MICRO)


def test_what_is_remembered_no_longer_cannot_be_voided():
    window_ms = WINDOW_S * 1000
    stream = [(0, "click", MICRO, "e", 0), (0, "$void.ivt", MICRO, None, 0)]
    # An assignment so much later that the bucket of unit 0 has been forgotten.
    late = 2 * window_ms // 30_000
    stream.insert(1, (late, "click", MICRO, "e", 0))
    found, codes = observed(stream, PLAIN, timestamp=NOW_MS + 10**7)

    assert codes == ["VOID_TOO_LATE"]
    assert not found.voids
    assert found.variants[0].metrics["click"].total == 2 * MICRO if late % 3 == 0 else MICRO


def test_reasons_beyond_the_most_count_as_others():
    stream = [(unit, f"$void.r{unit}", MICRO, None, 0) for unit in range(MAX_REASONS + 3)]

    cell, _ = observed(stream, PLAIN, cuts=5)

    assert len(cell.voids) == MAX_REASONS + 1
    assert cell.voids[OTHER] == 3


def test_a_void_before_all_else_is_of_the_time_of_its_assignment():
    cell, _ = observed([(2, "$void.ivt", MICRO, None, 0)], FULL)

    assert (cell.first_at_ms, cell.last_at_ms) == (receipt_of(2).assigned_at_ms,) * 2
    assert {cohort.window_s for cohort in cell.cohorts} == {120}
    assert Cohort.of(120, receipt_of(2).assigned_at_ms) in cell.cohorts


@pytest.mark.parametrize("reason", ["", "Bot", "a b", "x" * 33, "1st", "ü"])
def test_a_reason_is_a_short_word(reason):
    with pytest.raises(EventError, match="lower-case") as caught:
        void_metric(reason)
    assert caught.value.code == "INVALID_REASON"
