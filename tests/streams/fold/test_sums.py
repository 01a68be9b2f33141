"""Sums, weights and times of a few events, worked by hand."""

from dataclasses import replace

from streams.fold.impressions import ImpressionFold
from streams.fold.observations import ObservationFold
from streams.model.attribution import CLOCK_SKEW_MS
from streams.model.events import ImpressionBatch, ObservationBatch, OutsideRequests
from streams.model.quantities import MICRO
from streams.tallies.cell import Cell, MetricTally, Source, VariantTally
from streams.tallies.merging import merge
from streams.tallies.pair_sums import pack_pairs
from streams.wire.cells import decode_cell, encode_cell
from tests.streams.fold.batches import fold_batch
from tests.streams.fold.builders import HALF, KEYRING, NOW_MS, QUARTER, group, observation, plan_of


def test_impressions_count_units_and_weights():
    fold = ImpressionFold(2, plan_of=plan_of)

    assert not fold_batch(
        fold,
        7,
        ImpressionBatch(9, 2, 0, [group((0, HALF, 50, 1), (0, QUARTER, 40, 2), (1, HALF, 60, 1))]),
    )

    (cell,) = fold.take_changes().cells
    assert cell == Cell(
        experiment=1,
        source=Source.IMPRESSIONS,
        partition=2,
        last_offset=7,
        first_at_ms=40,
        last_at_ms=60,
        duplicates=0,
        variants={
            0: VariantTally(
                units=2,
                weight=6_000_000,
                weight_squared=20_000_000_000_000,
                overlap=pack_pairs((2 * HALF, 5 * QUARTER)),
                overlap_squared=pack_pairs((2 * HALF**2, 13 * QUARTER**2)),
            ),
            1: VariantTally(
                units=1,
                weight=2_000_000,
                weight_squared=4_000_000_000_000,
                overlap=pack_pairs((HALF, HALF)),
                overlap_squared=pack_pairs((HALF**2, HALF**2)),
            ),
        },
    )
    assert list(fold.cells) == [cell]


def test_observations_are_summed_by_unit_before_they_are_squared():
    fold = ObservationFold(0, KEYRING, plan_of=plan_of)

    fold_batch(
        fold,
        5,
        ObservationBatch(
            [
                observation(3, "a", unit=1),
                observation(4, "b", unit=1),
                observation(5, "a", unit=2, propensity=QUARTER, at_ms=NOW_MS + 9),
                observation(3, "a", unit=1),
            ]
        ),
        NOW_MS + 1,
    )

    (cell,) = fold.take_changes().cells
    # Units 7 and 5, with weights 2 and 4 in micro-units: 14 + 20 and 14**2 + 20**2; with overlap
    # weights of 2 and 3 quarters: 14 + 15, 4 * 7 + 9 * 5 and 14**2 + 15**2.
    clicks = MetricTally(
        units=2,
        observations=3,
        total=12,
        total_squared=74,
        weighted_total=34 * 10**6,
        weighted_total_squared=596 * 10**12,
        weighted_cross=(4 * 7 + 16 * 5) * 10**12,
        overlap_total=pack_pairs((12 * HALF, 29 * QUARTER)),
        overlap_cross=pack_pairs((12 * HALF**2, 73 * QUARTER**2)),
        overlap_total_squared=pack_pairs((74 * HALF**2, 421 * QUARTER**2)),
        positive_units=2,
        # The same of 7 and 5 micro-units less 1 each.
        surplus_weighted_total=34 * 10**6 - 6 * 10**12,
        surplus_weighted_cross=(4 * 7 + 16 * 5) * 10**12 - 20 * 10**18,
        surplus_overlap_total=pack_pairs(((12 - 2 * MICRO) * HALF, (29 - 5 * MICRO) * QUARTER)),
        surplus_overlap_cross=pack_pairs(
            ((12 - 2 * MICRO) * HALF**2, (73 - 13 * MICRO) * QUARTER**2)
        ),
        total_cubed=7**3 + 5**3,
    )
    assert cell == Cell(
        experiment=1,
        source=Source.OBSERVATIONS,
        partition=0,
        last_offset=5,
        first_at_ms=NOW_MS + 1,
        last_at_ms=NOW_MS + 9,
        duplicates=1,
        variants={0: VariantTally(metrics={"click": clicks})},
        most_events=2,
    )


def test_both_readings_of_a_second_click_are_there():
    """Unit 1 clicks twice and unit 2 once; unit 3 is observed and does not click."""
    fold = ObservationFold(0, KEYRING, plan_of=plan_of)
    clicks = [(1, 1), (1, 1), (2, 1), (3, 0), (3, 0)]
    batch = [
        observation(value * MICRO, f"e{n}", unit=unit) for n, (unit, value) in enumerate(clicks)
    ]

    fold_batch(fold, 0, ObservationBatch(batch), NOW_MS)

    (cell,) = fold.take_changes().cells
    click = cell.variants[0].metrics["click"]
    once = click.once()
    assert (click.total, click.total_squared) == (3 * MICRO, 5 * MICRO**2)
    assert click.is_binary
    assert (once.units, once.observations) == (3, 5)
    assert (once.total, once.total_squared) == (2 * MICRO, 2 * MICRO**2)
    assert (once.weighted_total, once.weighted_cross) == (4 * MICRO**2, 8 * MICRO**3)
    assert once.overlap_total == pack_pairs([2 * HALF * MICRO] * 2)
    assert once.overlap_cross == pack_pairs([2 * HALF**2 * MICRO] * 2)
    assert once.overlap_total_squared == pack_pairs([2 * (HALF * MICRO) ** 2] * 2)


def test_requests_that_took_no_part_are_counted_by_reason_once():
    fold = ImpressionFold(2, plan_of=plan_of)
    outside = (
        OutsideRequests(1, "NOT_ENROLLED", 30),
        OutsideRequests(1, "INVALID_UNIT", 2),
        OutsideRequests(5, "INVALID_UNIT", 1),
    )
    first = ImpressionBatch(9, 2, 0, [], outside)

    assert not fold_batch(fold, 4, first)
    assert not fold_batch(fold, 5, first)  # sent again
    assert fold.duplicate_batches == 1
    cells = {cell.experiment: decode_cell(encode_cell(cell)) for cell in fold.take_changes().cells}
    assert cells[5].outside == {"INVALID_UNIT": 1}
    assert list(cells[1].outside.items()) == [("INVALID_UNIT", 2), ("NOT_ENROLLED", 30)]
    assert merge([cells[1]]).outside == cells[1].outside
    assert (merge([cells[1]]).first_at_ms, merge([cells[1]]).last_at_ms) == (0, 0)

    fold.end(6, 5)
    batch = ImpressionBatch(9, 2, 1, [group((0, HALF, 50, 1))], outside[1:])
    assert not fold_batch(fold, 7, batch)
    (cell,) = fold.take_changes().cells
    assert (cell.outside["INVALID_UNIT"], cell.outside["NOT_ENROLLED"]) == (4, 30)
    assert (cell.first_at_ms, cell.last_at_ms, cell.variants[0].units) == (50, 50, 1)
    elsewhere = replace(cells[1], partition=3)
    tally = merge([elsewhere, cell])
    assert tally.outside == {"INVALID_UNIT": 6, "NOT_ENROLLED": 60}
    assert (tally.first_at_ms, tally.last_at_ms) == (50, 50)


def test_an_assignment_of_a_time_that_has_not_come_moves_no_clock():
    fold = ImpressionFold(0)
    ahead = NOW_MS + 10**10

    fold_batch(fold, 0, ImpressionBatch(9, 0, 0, [group((0, HALF, ahead, 1))]), NOW_MS)

    (cell,) = fold.take_changes().cells
    assert cell.first_at_ms == cell.last_at_ms == NOW_MS + CLOCK_SKEW_MS
