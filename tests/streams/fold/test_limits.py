"""Bounds of metrics, events, values and memory: who reaches one, and what is left to the others."""

import pytest

from streams.fold.impressions import ImpressionFold
from streams.fold.metric_slots import MAX_OPENED
from streams.fold.observations import ObservationFold
from streams.model.events import ImpressionBatch, ObservationBatch
from streams.model.quantities import MICRO
from streams.tallies.merging import merge
from streams.tallies.plan import MAX_EVENTS, MAX_METRICS, Plan
from tests.streams.fold.batches import fold_batch
from tests.streams.fold.builders import HALF, KEYRING, NOW_MS, codes, group, observation


def test_only_so_many_metrics_are_taken_also_after_a_restart():
    fold = ObservationFold(0, KEYRING)
    names = [(f"m{n}", n // MAX_OPENED) for n in range(MAX_METRICS)]
    fold_batch(
        fold,
        0,
        ObservationBatch([observation(1, metric=name, unit=unit) for name, unit in names]),
        NOW_MS,
    )
    changes = fold.take_changes()
    again = ObservationFold(0, KEYRING)
    again.restore(changes.progress, changes.cells, changes.segments)

    for each in (fold, again):
        refusals = fold_batch(
            each,
            1,
            ObservationBatch([observation(1, metric="more"), observation(1, metric="m0")]),
            NOW_MS,
        )
        assert codes(refusals) == [(0, "TOO_MANY_METRICS")]


def test_no_invented_metric_takes_the_place_of_a_declared_one():
    """One receipt with 64 invented names before the declared ones; others still have places."""
    declared = Plan(declared=frozenset({"click", "revenue"}))
    fold = ObservationFold(0, KEYRING, plan_of=lambda _: declared)
    invented = [observation(1, metric=f"x{n}", unit=1) for n in range(64)]

    refusals = fold_batch(fold, 0, ObservationBatch(invented), NOW_MS)
    others = [observation(MICRO, metric=name, unit=2) for name in ("click", "revenue", "y")]

    assert codes(refusals) == [(n, "TOO_MANY_METRICS") for n in range(MAX_OPENED, 64)]
    assert not fold_batch(fold, 1, ObservationBatch(others), NOW_MS)
    (cell,) = fold.take_changes().cells
    assert set(cell.variants[0].metrics) >= {"click", "revenue", "y", "x0"}
    assert len(cell.variants[0].metrics) == MAX_OPENED + 3


def test_many_receipts_cannot_take_the_place_of_a_declared_metric_either():
    declared = Plan(declared=frozenset({"click"}))
    fold = ObservationFold(0, KEYRING, plan_of=lambda _: declared)
    batch = [observation(1, metric=f"x{n}", unit=n) for n in range(200)]

    refusals = fold_batch(fold, 0, ObservationBatch([*batch, observation(1, unit=1)]), NOW_MS)

    assert codes(refusals) == [(n, "TOO_MANY_METRICS") for n in range(MAX_METRICS - 1, 200)]


def test_a_unit_has_so_many_events_and_the_others_all_of_theirs():
    """A receipt with more distinct event ids than the memory of the partition has room for."""
    fold = ObservationFold(0, KEYRING, limit=3 * MAX_EVENTS)
    batch = [observation(1, f"e{n}", unit=1) for n in range(4 * MAX_EVENTS)]

    refusals = fold_batch(fold, 0, ObservationBatch(batch), NOW_MS)
    others = [observation(1, f"e{unit}", unit=unit) for unit in range(2, MAX_EVENTS)]

    assert codes(refusals) == [(n, "TOO_MANY_EVENTS") for n in range(MAX_EVENTS, 4 * MAX_EVENTS)]
    assert not fold_batch(fold, 1, ObservationBatch(others), NOW_MS)
    (cell,) = fold.take_changes().cells
    assert (cell.most_events, cell.full_units, cell.unremembered) == (MAX_EVENTS, 1, 0)
    assert cell.variants[0].metrics["click"].units == MAX_EVENTS - 1


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([-(10**9)], 0),
        ([30, -(10**9)], 0),
        ([-(10**9), 10**9, 30], 30),  # what cancels leaves what is left
        ([700, -50], 500),
        ([700, -250], 450),
        ([120, -120], 0),  # a refund brings the total back, and no further
        ([120, -200], 0),
    ],
)
def test_no_single_unit_leaves_its_floor_and_its_cap(values, expected):
    plan = Plan({"spent": 500 * MICRO}, floors={"spent": 0})
    for order in (values, values[::-1]):
        fold = ObservationFold(0, KEYRING, plan_of=lambda _: plan)
        batch = [observation(value * MICRO, metric="spent", unit=1) for value in order]
        batch.append(observation(20 * MICRO, metric="spent", unit=2))

        assert not fold_batch(fold, 0, ObservationBatch(batch), NOW_MS)
        (cell,) = fold.take_changes().cells
        spent = cell.variants[0].metrics["spent"]
        assert spent.total == (expected + 20) * MICRO
        assert spent.total_squared == (expected**2 + 20**2) * MICRO**2
        assert spent.positive_units == (expected > 0) + 1


def test_what_the_memory_had_no_room_for_is_counted_on_either_side():
    impressions, observations = ImpressionFold(0, limit=2), ObservationFold(0, KEYRING, limit=2)
    rows = [(0, HALF, 5, unit) for unit in (1, 2, 3, 4, 1)]

    fold_batch(impressions, 0, ImpressionBatch(9, 0, 0, [group(*rows, repeatable=True)]))
    fold_batch(
        observations,
        0,
        ObservationBatch([observation(1, "e", unit=unit) for unit in (1, 2, 3, 4, 1)]),
        NOW_MS,
    )

    cells = [*impressions.take_changes().cells, *observations.take_changes().cells]
    assert [cell.unremembered for cell in cells] == [2, 2]
    tally = merge(cells)
    assert (tally.unremembered_units, tally.unremembered) == (2, 2)


def test_units_that_cannot_be_remembered_are_refused_and_not_counted():
    fold = ImpressionFold(0, limit=2)
    rows = [(0, HALF, 5, unit) for unit in (1, 2, 3, 4)]

    refusals = fold_batch(fold, 0, ImpressionBatch(9, 0, 0, [group(*rows, repeatable=True)]))

    assert codes(refusals) == [(0, "DEDUPLICATION_WINDOW_FULL")]
    assert fold.take_changes().cells[0].variants[0].units == 2
