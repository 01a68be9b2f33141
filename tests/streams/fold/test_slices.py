"""Units by value of a dimension, against a log that has these units alone."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.fold import counting, exposures
from streams.fold.impressions import ImpressionFolding
from streams.fold.observations import ObservationFolding
from streams.fold.partition import Progress
from streams.fold.segments import WindowSegment
from streams.model.dimensions import OTHER, Slice
from streams.model.events import EXPOSURE, ImpressionBatch, ImpressionGroup, Observation
from streams.model.quantities import MICRO
from streams.model.receipts import Keyring, Receipt
from streams.model.variant_weights import pack_weights
from streams.model.vectors import FEATURE_ONE, pack
from streams.model.voids import void_metric
from streams.tallies.bins import WINSORIZED
from streams.tallies.cell import METRIC_FIELDS, PRODUCT_FIELDS, VARIANT_FIELDS, add_slices
from streams.tallies.merging import merge
from streams.tallies.pair_sums import pack_pairs, unpack_pairs
from streams.tallies.plan import AcceptedValues, PeriodPlan, Plan, SlicePlan
from streams.wire.batch_tags import sealer
from streams.wire.cells import decode_cell, encode_cell
from streams.wire.impressions import encode_impression_batch
from streams.wire.observations import encode_observation
from streams.wire.records import SINGLE_OBJECT

KEYRING = Keyring({1: bytes(range(16))})
EXPERIMENT, NOW_MS, WINDOW_S, CONTROL = 7, 1_700_000_000_000, 600, 1
SHARES = (32_768, 16_384, 16_384)
WEIGHTS = pack_weights(SHARES)
VOID, CLICK, SPENT, LEFT = void_metric("ivt"), "click", "spent", "left"
SIZES = (3, 2)
PLAN = Plan(
    caps={CLICK: MICRO, SPENT: 40 * MICRO},
    pairs=((CLICK, SPENT),),
    by_period=PeriodPlan(CLICK, 3),
    floors={SPENT: 0},
    accepted={CLICK: AcceptedValues(0, MICRO, is_whole=True)},
    declared=frozenset({CLICK, SPENT, LEFT}),
    n_variants=3,
    windows={CLICK: 300, SPENT: 300},
    bins={LEFT: WINSORIZED},
    slices=SlicePlan(SIZES, frozenset({CLICK, SPENT}), ((CLICK, SPENT),), CONTROL),
)
# Of a declared value, of another one, of none, and of what no process writes.
VALUES = [b"\1\1", b"\2\0", b"\0\1", b"", b"\1", b"\7\1", b"\2\1\5"]


@dataclass(frozen=True)
class Record:
    offset: int
    value: bytes
    timestamp: int = NOW_MS + 10_000_000


@dataclass(frozen=True)
class Event:
    unit: int
    metric: str
    at_s: int
    value: int = MICRO
    event_id: str | None = None

    def record(self, offset: int) -> Record:
        receipt = receipt_of(self.unit)
        observation = Observation(
            KEYRING.sign(receipt),
            self.metric,
            self.value,
            self.event_id,
            NOW_MS + 1_000 * self.at_s,
        )
        return Record(offset, encode_observation(observation, SINGLE_OBJECT))


def receipt_of(unit: int) -> Receipt:
    variant = unit % 3
    return Receipt(
        EXPERIMENT,
        variant,
        SHARES[variant] << 16,
        3,
        NOW_MS + 1_000 * unit,
        unit,
        WINDOW_S,
        WEIGHTS if unit % 4 else b"",
        pack(((0, FEATURE_ONE), (1, 256))) if unit % 2 else b"",
        VALUES[unit % len(VALUES)],
    )


def value_of(unit: int, dimension: int) -> int:
    """Return what a unit counts as: a value that is not declared is the same as none."""
    packed = VALUES[unit % len(VALUES)]
    value = packed[dimension] if dimension < len(packed) else OTHER
    return value if value < SIZES[dimension] else OTHER


def observed(
    events: Sequence[Event], plan: Plan, cuts: Sequence[int] = (), *, repeat: bool = False
):
    """Return the cell of events, folded in batches that end at the cuts.

    With `repeat`, the state of each batch is written without its progress, and read again.
    """
    folding = ObservationFolding(SINGLE_OBJECT, KEYRING, 10_000, lambda _: plan)
    fold = folding.new_fold(0)
    records = [each.record(offset) for offset, each in enumerate(events)]
    progress: Progress | None = None
    segments: dict[str, WindowSegment] = {}
    for start, stop in zip((0, *cuts), (*cuts, len(records)), strict=True):
        folding.fold(fold, records[start:stop])
        changes = fold.take_changes()
        cells = [decode_cell(encode_cell(cell)) for cell in fold.cells]
        if repeat:
            fold = folding.new_fold(0)
            fold.restore(progress, cells, segments.values())
            folding.fold(fold, records[start:stop])
            changes = fold.take_changes()
        progress = changes.progress
        segments |= {each.key: each for each in changes.segments}
    return [decode_cell(encode_cell(cell)) for cell in fold.cells]


def assigned(units: Sequence[int], plan: Plan):
    """Return the cell of units that are assigned, half of them in a second batch again."""
    folding = ImpressionFolding(SINGLE_OBJECT, KEYRING, 10_000, lambda _: plan)
    fold = folding.new_fold(0)
    for sequence, some in enumerate((units, units[::2])):
        receipts = [receipt_of(unit) for unit in some]
        group = ImpressionGroup(
            EXPERIMENT,
            True,
            [each.variant for each in receipts],
            [each.propensity for each in receipts],
            [each.allocation_version for each in receipts],
            [each.assigned_at_ms for each in receipts],
            [each.unit for each in receipts],
            features=[each.features for each in receipts],
            weights=[each.weights for each in receipts],
            dimensions=[each.dimensions for each in receipts],
        )
        value = encode_impression_batch(ImpressionBatch(1, 0, sequence, [group]))
        record = Record(sequence, sealer(KEYRING)("impressions", 0, value))
        assert not folding.fold(fold, [record]).refused
        fold.take_changes()
    return [decode_cell(encode_cell(cell)) for cell in fold.cells]


def kept(variants: Any, *, metrics: frozenset[str] | None) -> dict[int, Any]:
    """Return what a slice holds of tallies, without what is 0.

    Args:
        variants: Tallies by variant.
        metrics: Metrics that are broken down; None of what is a slice already.
    """

    def restricted(variant: int, table: Any, tally: Any) -> dict[str, Any]:
        found = {}
        for each in table.sums:
            value = getattr(tally, each.name)
            if each.is_by_pair and metrics is not None:
                value = pack_pairs(
                    digit if CONTROL in {variant, other} or other == variant else 0
                    for other, digit in enumerate(unpack_pairs(value))
                )
            found[each.name] = value
        return found

    def present(found: dict[Any, Any]) -> dict[Any, Any]:
        return {key: sums for key, sums in found.items() if any(sums.values())}

    found = {
        variant: {
            **restricted(variant, VARIANT_FIELDS, tally),
            "assigned": tally.assigned,
            "metrics": present(
                {
                    name: restricted(variant, METRIC_FIELDS, metric)
                    for name, metric in tally.metrics.items()
                    if metrics is None or name in metrics
                }
            ),
            "products": present(
                {
                    pair: restricted(variant, PRODUCT_FIELDS, each)
                    for pair, each in tally.products.items()
                }
            ),
        }
        for variant, tally in variants.items()
    }
    return present(found)


units = st.integers(0, 13)
times = st.sampled_from([20, 100, 310, 330, 590])
later = times | st.integers(20, 1_180)
ids = st.sampled_from([None, "a", "b"])
events = st.one_of(
    st.builds(Event, units, st.just(EXPOSURE), times),
    st.builds(Event, units, st.just(CLICK), later, st.sampled_from([0, MICRO]), ids),
    st.builds(
        Event,
        units,
        st.sampled_from([SPENT, LEFT, "undeclared"]),
        later,
        st.integers(-20 * MICRO, 50 * MICRO),
        ids,
    ),
    st.builds(Event, units, st.just(VOID), times),
)


@settings(max_examples=40, deadline=None)
@given(
    stream=st.lists(events, max_size=24),
    cuts=st.lists(st.integers(0, 24), max_size=3),
    by_exposure=st.booleans(),
    together=st.booleans(),
    repeat=st.booleans(),
)
def test_a_slice_is_the_tally_of_its_units_alone(stream, cuts, by_exposure, together, repeat):
    """Whatever the order, duplicates, exposures, voids, batches and records that are read again."""
    plan = replace(PLAN, by_exposure=by_exposure)
    cuts = sorted(min(cut, len(stream)) for cut in cuts)
    everyone = range(14)
    with pytest.MonkeyPatch.context() as patch:
        for module in (exposures, counting):
            patch.setattr(module, "TOGETHER_FROM", 1 if together else 1 << 60)
        cells = observed(stream, plan, cuts, repeat=repeat) + assigned(everyone, plan)
    tally = merge(cells)
    metrics = frozenset({CLICK, SPENT})

    for dimension, size in enumerate(SIZES):
        for value in range(size):
            own = {unit for unit in everyone if value_of(unit, dimension) == value}
            alone = [each for each in stream if each.unit in own]
            expected = merge(observed(alone, plan) + assigned(sorted(own), plan))
            found = tally.slices[Slice(dimension, value)]
            assert kept(found.variants, metrics=None) == kept(expected.variants, metrics=metrics)
            assert found.excluded == (() if by_exposure else expected.excluded)
        of_dimension = [each for key, each in tally.slices.items() if key.dimension == dimension]
        whole = of_dimension[0]
        for each in of_dimension[1:]:
            whole += each
        assert kept(whole.variants, metrics=None) == kept(tally.variants, metrics=metrics)
    assert all(key.value < SIZES[key.dimension] for key in tally.slices)


def test_a_click_on_a_phone_by_hand():
    """A unit of a declared value in the first dimension and of another one in the second."""
    plan = Plan(
        declared=frozenset({CLICK}), n_variants=2, slices=SlicePlan((3, 2), frozenset({CLICK}))
    )
    receipt = Receipt(EXPERIMENT, 1, 1 << 31, 3, NOW_MS, 1, 0, dimensions=b"\2\0")
    observation = Observation(KEYRING.sign(receipt), CLICK, MICRO)
    folding = ObservationFolding(SINGLE_OBJECT, KEYRING, 10, lambda _: plan)
    fold = folding.new_fold(0)

    folding.fold(fold, [Record(0, encode_observation(observation, SINGLE_OBJECT))])

    (cell,) = fold.take_changes().cells
    assert {key: each.variants[1].metrics[CLICK].total for key, each in cell.slices.items()} == {
        Slice(0, 2): MICRO,
        Slice(1, OTHER): MICRO,
    }


def test_slices_are_added_by_value():
    cells = assigned(range(14), PLAN)
    [cell] = cells

    twice = add_slices(cell.slices, cell.slices)

    assert list(twice) == sorted(cell.slices)
    for key, each in twice.items():
        assert {index: tally.units for index, tally in each.variants.items()} == {
            index: 2 * tally.units for index, tally in cell.slices[key].variants.items()
        }


def test_without_dimensions_nothing_is_sliced():
    plan = replace(PLAN, slices=None)

    cells = observed([Event(1, CLICK, 30)], plan) + assigned(range(14), plan)

    assert all(not cell.slices for cell in cells)
