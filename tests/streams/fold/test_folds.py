"""Folds against a naive oracle, in any batching, and through crashes at any point."""

from collections import Counter, defaultdict
from dataclasses import replace
from enum import Enum
from itertools import zip_longest
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.fold import counting, metric_slots, segments
from streams.fold import deduplication as window
from streams.fold.hashing import hash_of
from streams.fold.impressions import MAX_VARIANT, ImpressionFold
from streams.fold.metric_slots import MAX_OPENED
from streams.fold.observations import ObservationFold
from streams.model.errors import EventError
from streams.model.events import (
    EXPOSED,
    EXPOSURE,
    ImpressionBatch,
    ImpressionGroup,
    Observation,
    ObservationBatch,
    OutsideRequests,
)
from streams.model.quantities import MICRO, PROPENSITY_ONE, inverse_propensity
from streams.model.receipts import CLOCK_SKEW_MS, Keyring, Receipt
from streams.model.variant_weights import NOT_ELIGIBLE, overlap_weights, pack_weights
from streams.model.vectors import pack, unpack
from streams.tallies.cell import Cell, MetricTally, Source, VariantTally, merge
from streams.tallies.pair_sums import pack_pairs
from streams.tallies.plan import MAX_EVENTS, MAX_METRICS, Accepted, Plan
from streams.wire.cells import decode_cell, encode_cell
from tests.streams.fold.batches import fold_batch

KEYRING = Keyring({1: bytes(32)})
HALF, QUARTER = PROPENSITY_ONE // 2, PROPENSITY_ONE // 4
NOW_MS = 1_000_000


def receipt(experiment=1, variant=0, propensity=HALF, assigned_at_ms=NOW_MS, unit=1, window_s=0):
    return Receipt(experiment, variant, propensity, 3, assigned_at_ms, unit, window_s)


def observation(value, event_id=None, metric="click", at_ms=None, **fields):
    return Observation(KEYRING.sign(receipt(**fields)), metric, value, event_id, at_ms)


def group(*rows, experiment=1, repeatable=False):
    """Make a group of rows (variant, propensity, time, unit), and what all or none has besides.

    That are features, and the weights of all variants.
    """
    variants, propensities, times, units, *rest = ([*column] for column in zip(*rows, strict=True))
    features, weights = (*rest, [], [])[:2]
    versions = [3] * len(rows)
    return ImpressionGroup(
        experiment,
        repeatable,
        variants,
        propensities,
        versions,
        times,
        units,
        (),
        features,
        weights,
    )


PACKED = pack_weights((32_768, 16_384, 16_384))
OF_TWO = Plan(declared=frozenset({"click"}), n_variants=2)
OF_THREE = Plan(declared=frozenset({"click"}), n_variants=3, weighted_covariates=3)


def plan_of(experiment):
    """Return the plan of an experiment: the first has two variants, all others three."""
    return OF_TWO if experiment == 1 else OF_THREE


def by_pair(rows):
    """Return the sums by pair of rows (factor, weights); 0 where no weights are known."""
    known = [[factor * weight for weight in weights] for factor, weights in rows if weights]
    return pack_pairs(map(sum, zip_longest(*known, fillvalue=0)))  # some of added variants


def codes(refusals):
    return [(refusal.index, refusal.error.code) for refusal in refusals]


# Hand-worked examples


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


def test_a_user_counts_once_for_every_variant_whatever_the_times_of_the_receipts():
    fold = ImpressionFold(0)
    twice = group((0, HALF, 50, 1), (0, HALF, 50, 1), (1, HALF, 50, 2), repeatable=True)
    later = group((0, HALF, 60, 1), (1, HALF, 70, 1), repeatable=True)

    fold_batch(fold, 0, ImpressionBatch(9, 0, 0, [twice]))
    fold_batch(fold, 1, ImpressionBatch(9, 0, 1, [later]))
    fold_batch(fold, 2, ImpressionBatch(9, 0, 2, [later]))

    (cell,) = fold.take_changes().cells
    assert {index: tally.units for index, tally in cell.variants.items()} == {0: 1, 1: 2}
    assert cell.last_offset == 1


def test_without_event_ids_every_record_counts_and_a_repeated_batch_does_not():
    fold = ObservationFold(0, KEYRING)
    single = ObservationBatch([observation(1)])
    numbered = ObservationBatch([observation(1), observation(1)], incarnation=4, sequence=0)

    for offset, batch in enumerate([single, single, numbered, numbered]):
        assert not fold_batch(fold, offset, batch, NOW_MS)

    (cell,) = fold.take_changes().cells
    assert cell.variants[0].metrics["click"].observations == 4
    assert cell.last_offset == 2
    assert fold.last_offset == 3


def test_what_cannot_be_counted_is_refused_in_its_place_and_the_rest_counts():
    fold = ObservationFold(0, KEYRING)
    batch = ObservationBatch(
        [
            EventError("VALUE_NOT_FINITE", "value == nan", "value"),
            observation(1, unit=1),
            Observation("junk", "click", 1),
            observation(1, unit=2, window_s=1, at_ms=NOW_MS + 1001),
            observation(1, unit=3, at_ms=NOW_MS - 300_001),
            observation(1, unit=4),
        ]
    )

    refusals = fold_batch(fold, 0, batch, NOW_MS)

    assert codes(refusals) == [
        (0, "VALUE_NOT_FINITE"),
        (2, "MALFORMED_RECEIPT"),
        (3, "EXPIRED_RECEIPT"),
        (4, "OBSERVED_BEFORE_ASSIGNMENT"),
    ]
    (cell,) = fold.take_changes().cells
    assert cell.variants[0].metrics["click"].units == 2


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


def test_a_value_that_is_declared_impossible_is_refused_and_the_rest_counts():
    plan = Plan(
        {"click": MICRO},
        floors={"click": 0},
        accepted={
            "click": Accepted(0, MICRO, is_whole=True),
            "visits": Accepted(is_whole=True),
            "spent": Accepted(least=-10 * MICRO, most=200 * MICRO),
        },
    )
    fold = ObservationFold(0, KEYRING, plan_of=lambda _: plan)
    bad = [("click", 2 * MICRO), ("click", -1), ("click", 1), ("visits", 1), ("spent", 201 * MICRO)]
    good = [("click", 0), ("click", MICRO), ("visits", 3 * MICRO), ("spent", -10 * MICRO)]
    batch = [observation(value, metric=metric, unit=1) for metric, value in [*bad, *good]]

    refusals = fold_batch(fold, 0, ObservationBatch(batch), NOW_MS)

    assert codes(refusals) == [
        (0, "VALUE_OUT_OF_BOUNDS"),
        (1, "VALUE_OUT_OF_BOUNDS"),
        (2, "VALUE_NOT_WHOLE"),
        (3, "VALUE_NOT_WHOLE"),
        (4, "VALUE_OUT_OF_BOUNDS"),
    ]
    (cell,) = fold.take_changes().cells
    totals = {name: metric.total for name, metric in cell.variants[0].metrics.items()}
    assert totals == {"click": MICRO, "visits": 3 * MICRO, "spent": -10 * MICRO}


def test_weights_that_are_not_of_the_assignment_are_refused():
    """PACKED says that variant 0 had one half, and variant 1 one quarter."""
    fold = ImpressionFold(0, plan_of=plan_of)
    good, bad = (0, HALF, 5, 1, b"", PACKED), (1, HALF, 5, 2, b"", PACKED)

    refusals = fold_batch(
        fold,
        0,
        ImpressionBatch(
            9, 0, 0, [group(bad, experiment=2), group(good, experiment=2), group(good)]
        ),
    )

    assert codes(refusals) == [(0, "INVALID_WEIGHTS")]
    of_two, of_three = fold.take_changes().cells
    assert of_three.variants[0].overlap == pack_pairs(overlap_weights(0, HALF, PACKED, 3))
    # A third variant may have been added since.
    assert of_two.variants[0].overlap == of_three.variants[0].overlap


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


def test_an_assignment_of_a_time_that_has_not_come_moves_no_clock():
    fold = ImpressionFold(0)
    ahead = NOW_MS + 10**10

    fold_batch(fold, 0, ImpressionBatch(9, 0, 0, [group((0, HALF, ahead, 1))]), NOW_MS)

    (cell,) = fold.take_changes().cells
    assert cell.first_at_ms == cell.last_at_ms == NOW_MS + CLOCK_SKEW_MS


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (group((MAX_VARIANT + 1, HALF, 5, 1)), "VARIANT_OUT_OF_RANGE"),
        (group((-1, HALF, 5, 1)), "VARIANT_OUT_OF_RANGE"),
        (group((0, 0, 5, 1)), "PROPENSITY_OUT_OF_RANGE"),
        (group((0, PROPENSITY_ONE + 1, 5, 1)), "PROPENSITY_OUT_OF_RANGE"),
        (ImpressionGroup(1, False, [0, 0], [HALF, HALF], [3], [5], [1]), "COLUMNS_DIFFER"),
    ],
)
def test_a_group_that_cannot_be_used_leaves_the_others(bad, code):
    fold = ImpressionFold(0)
    good = group((0, HALF, 5, 1), (0, HALF, 5, 2), experiment=2)

    refusals = fold_batch(fold, 0, ImpressionBatch(9, 0, 0, [good, bad, good]))

    assert codes(refusals) == [(2, code)]
    (cell,) = fold.take_changes().cells
    assert cell.experiment == 2
    assert cell.variants[0].units == 4


def test_units_that_cannot_be_remembered_are_refused_and_not_counted():
    fold = ImpressionFold(0, limit=2)
    rows = [(0, HALF, 5, unit) for unit in (1, 2, 3, 4)]

    refusals = fold_batch(fold, 0, ImpressionBatch(9, 0, 0, [group(*rows, repeatable=True)]))

    assert codes(refusals) == [(0, "DEDUPLICATION_WINDOW_FULL")]
    assert fold.take_changes().cells[0].variants[0].units == 2


def test_a_sequence_that_cannot_be_used_is_refused():
    impressions, observations = ImpressionFold(0), ObservationFold(0, KEYRING)

    assert codes(fold_batch(impressions, 0, ImpressionBatch(9, 0, -1, []))) == [
        (0, "INVALID_SEQUENCE")
    ]
    assert codes(
        fold_batch(observations, 0, ObservationBatch([], incarnation=9, sequence=-1), NOW_MS)
    ) == [(0, "INVALID_SEQUENCE")]


def test_a_record_that_was_folded_or_skipped_is_passed_by():
    impressions, observations = ImpressionFold(0), ObservationFold(0, KEYRING)
    impressions.skip(5)
    observations.skip(5)
    impressions.skip(3)

    for offset in (4, 5):
        fold_batch(impressions, offset, ImpressionBatch(9, 0, offset, [group((0, HALF, 5, 1))]))
        fold_batch(observations, offset, ObservationBatch([observation(1)]), NOW_MS)

    assert impressions.last_offset == 5
    for fold in (impressions, observations):
        changes = fold.take_changes()
        assert not changes.cells
        assert changes.progress.last_offset == 5


# The oracle: lists of everything, counted at the end


def naive_observations(records):
    """Return the cells of observations that nothing forgets."""
    seen, batches, values = set(), set(), defaultdict(list)
    last_offset: dict[int, int] = {}
    times: defaultdict[int, list[int]] = defaultdict(list)
    duplicates: defaultdict[int, int] = defaultdict(int)
    for offset, (batch, timestamp_ms) in enumerate(records):
        if batch.sequence is not None:
            if (batch.incarnation, batch.sequence) in batches:
                continue
            batches.add((batch.incarnation, batch.sequence))
        for each in batch.observations:
            text, metric = each.assignment_id, each.metric
            experiment = KEYRING.verify(text).experiment
            event = (text, metric, each.event_id)
            last_offset[experiment] = offset
            if each.event_id is not None and event in seen:
                duplicates[experiment] += 1
                continue
            seen.add(event)
            values[text, metric].append(each.value)
            times[experiment].append(each.observed_at_ms or timestamp_ms)
    variants: Any = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for (text, metric), unit_values in values.items():
        told = KEYRING.verify(text)
        of_pairs = (
            () if metric != "click" else overlaps_of(told.experiment, *told[1:3], told.weights)
        )
        weights = inverse_propensity(told.propensity), of_pairs
        variants[told.experiment][told.variant][metric].append((*weights, unit_values))
    return [
        Cell(
            experiment,
            Source.OBSERVATIONS,
            0,
            last_offset[experiment],
            min(times[experiment]),
            max(times[experiment]),
            duplicates[experiment],
            {
                variant: VariantTally(
                    metrics={
                        metric: MetricTally(
                            units=len(units),
                            observations=sum(len(unit) for _, _, unit in units),
                            total=sum(sum(unit) for _, _, unit in units),
                            total_squared=sum(sum(unit) ** 2 for _, _, unit in units),
                            weighted_total=sum(w * sum(unit) for w, _, unit in units),
                            weighted_total_squared=sum(
                                (w * sum(unit)) ** 2 for w, _, unit in units
                            ),
                            overlap_total=by_pair((sum(unit), v) for _, v, unit in units),
                            overlap_cross=by_pair(
                                (sum(unit), squares_of(v)) for _, v, unit in units
                            ),
                            overlap_total_squared=by_pair(
                                (sum(unit) ** 2, squares_of(v)) for _, v, unit in units
                            ),
                            weighted_cross=sum(w * w * sum(unit) for w, _, unit in units),
                            total_cubed=sum(sum(unit) ** 3 for _, _, unit in units),
                            moment=naive_moment(values, experiment, variant, metric),
                            **naive_positive(units),
                            positive_moment=naive_moment(
                                values, experiment, variant, metric, worth=lambda x: x > 0
                            ),
                            overlap_moment=naive_overlap_moment(
                                values, experiment, variant, metric
                            ),
                        )
                        for metric, units in sorted(metrics.items())
                    }
                )
                for variant, metrics in sorted(variants[experiment].items())
            },
            most_events=max(
                (
                    len(unit)
                    for metrics in variants[experiment].values()
                    for units in metrics.values()
                    for _, _, unit in units
                    if len(unit) > 1
                ),
                default=0,
            ),
        )
        for experiment in sorted(variants)
    ]


def naive_positive(units):
    """Return what is kept of units above 0, and of what their values are beyond 1."""
    surplus = [(w, v, sum(unit) - MICRO * (sum(unit) > 0)) for w, v, unit in units]
    return {
        "binary_observations": sum(value in (0, MICRO) for _, _, unit in units for value in unit),
        "positive_units": sum(sum(unit) > 0 for _, _, unit in units),
        "surplus_weighted_total": sum(w * x for w, _, x in surplus),
        "surplus_weighted_cross": sum(w * w * x for w, _, x in surplus),
        "surplus_overlap_total": by_pair((x, v) for _, v, x in surplus),
        "surplus_overlap_cross": by_pair((x, squares_of(v)) for _, v, x in surplus),
    }


def overlaps_of(experiment, variant, propensity, weights):
    return overlap_weights(variant, propensity, weights, plan_of(experiment).n_variants)


def squares_of(weights):
    return tuple(weight**2 for weight in weights)


def naive_moment(values, experiment, variant, metric, worth=lambda value: value):
    """Return the sum of vector times value over the receipts with features."""
    rows = [
        (dict(unpack(KEYRING.verify(text).features)), worth(sum(unit_values)))
        for (text, name), unit_values in values.items()
        if KEYRING.verify(text).features
        and KEYRING.verify(text)[:2] == (experiment, variant)
        and name == metric
    ]
    length = max((1 + max(x) for x, _ in rows), default=0)
    return tuple(sum(x.get(i, 0) * value for x, value in rows) for i in range(length))


def naive_overlap_moment(values, experiment, variant, metric):
    """Return the sum by pair of v^2 times vector times value, likewise."""
    if metric != "click" or not plan_of(experiment).weighted_covariates:
        return ()
    rows = [
        (dict(unpack(told.features)), sum(unit_values), squares_of(overlaps_of(*told[:3], weights)))
        for (text, name), unit_values in values.items()
        for told in (KEYRING.verify(text),)
        for weights in (told.weights,)
        if told.features and told[:2] == (experiment, variant) and name == metric
    ]
    length = max((1 + max(x) for x, _, _ in rows), default=0)
    return tuple(by_pair((x.get(i, 0) * value, v) for x, value, v in rows) for i in range(length))


def naive_overlap_covariates(rows, experiment):
    """Return the sums by pair of v times vector, and of v^2 times x x^T, of packed vectors."""
    if not plan_of(experiment).weighted_covariates:
        return (), ()
    known = [(dict(unpack(packed)), v) for packed, v in rows if packed is not None]
    length = max((1 + max(x) for x, _ in known), default=0)
    return (
        tuple(by_pair((x.get(i, 0), v) for x, v in known) for i in range(length)),
        tuple(
            by_pair((x.get(i, 0) * x.get(j, 0), squares_of(v)) for x, v in known)
            for j in range(length)
            for i in range(j + 1)
        ),
    )


def naive_gram(features):
    """Return the upper triangle of the sum of x x^T, by columns."""
    rows = [dict(unpack(packed)) for packed in features]
    length = max((1 + max(x) for x in rows), default=0)
    return tuple(
        sum(x.get(i, 0) * x.get(j, 0) for x in rows) for j in range(length) for i in range(j + 1)
    )


def naive_impressions(records):
    """Return the cells of impressions that nothing forgets."""
    seen, batches, rows, last_offset = set(), set(), defaultdict(list), {}
    naive_repeatable = defaultdict(list)
    for offset, batch in enumerate(records):
        if (batch.incarnation, batch.sequence) in batches:
            continue
        batches.add((batch.incarnation, batch.sequence))
        for each in batch.groups:
            features = each.features or [None] * len(each.units)
            weights = each.weights or [b""] * len(each.units)
            columns = (
                each.variants,
                each.propensities,
                each.assigned_at_ms,
                each.units,
                features,
                weights,
            )
            for row in zip(*columns, strict=True):
                assignment = (each.experiment, row[0], row[3])
                if each.repeatable and assignment in seen:
                    continue
                if each.repeatable:
                    seen.add(assignment)
                    naive_repeatable[each.experiment].append(row)
                rows[each.experiment].append(row)
                last_offset[each.experiment] = offset
    cells = []
    for experiment, mine in sorted(rows.items()):
        variants = {}
        for variant in sorted({row[0] for row in mine}):
            weights = [inverse_propensity(row[1]) for row in mine if row[0] == variant]
            squares = sum(weight**2 for weight in weights)
            features = [row[4] for row in mine if row[0] == variant and row[4] is not None]
            gram = naive_gram(features)
            of_variant = [row for row in mine if row[0] == variant]
            overlaps = [overlaps_of(experiment, variant, row[1], row[5]) for row in of_variant]
            seen_with = zip((row[4] for row in of_variant), overlaps, strict=True)
            variants[variant] = VariantTally(
                len(weights),
                sum(weights),
                squares,
                by_pair((1, each) for each in overlaps),
                by_pair((1, squares_of(each)) for each in overlaps),
                gram,
                *naive_overlap_covariates(seen_with, experiment),
            )
        times = [row[2] for row in mine]
        variants_of = defaultdict(set)
        for row in naive_repeatable[experiment]:
            variants_of[row[3]].add(row[0])
        cells.append(
            Cell(
                experiment,
                Source.IMPRESSIONS,
                0,
                last_offset[experiment],
                min(times),
                max(times),
                0,
                variants,
                crossed_units=sum(len(found) > 1 for found in variants_of.values()),
                offered=naive_offered(experiment, mine),
            )
        )
    return cells


def naive_offered(experiment, rows):
    """Return how many units could be assigned each variant that was added, by its index."""
    n_started = plan_of(experiment).n_variants
    counts = Counter(
        other
        for variant, propensity, _, _, _, packed in rows
        if overlaps_of(experiment, variant, propensity, packed)
        for other in range(n_started, len(packed))
        if packed[other] != NOT_ELIGIBLE
    )
    return tuple(counts[other] for other in range(max(counts, default=-1) + 1))


# Anything that may come, from a small world in which much of it comes twice

NOW = st.just(NOW_MS)
HOURS = st.integers(0, 40).map(lambda hour: NOW_MS + hour * 3_600_000)


FEATURES = st.sampled_from(
    [pack(vector) for vector in (((0, 1024),), ((0, 1024), (2, -512)), ((0, 1024), (1, 3)))]
)


EXCHANGED = pack_weights((16_384, 32_768, 16_384))
CHANCES = st.sampled_from(
    [
        (0, HALF, b""),
        (0, HALF, PACKED),
        (0, QUARTER, EXCHANGED),
        (1, HALF, EXCHANGED),
        (1, QUARTER, b""),
        (1, QUARTER, PACKED),
    ]
)


def texts(window_s, hours):
    receipts = st.builds(
        lambda chance, experiment, at_ms, unit, features: Receipt(
            experiment, chance[0], chance[1], 3, at_ms, unit, window_s, chance[2], features
        ),
        CHANCES,
        st.integers(1, 2),
        hours,
        st.integers(1, 2),
        st.just(b"") | FEATURES,
    )
    return receipts.map(KEYRING.sign)


def observation_records(window_s=0, hours=NOW):
    some = st.builds(
        Observation,
        texts(window_s, hours),
        st.sampled_from(["click", "revenue"]),
        st.integers(-3, 3) | st.sampled_from([MICRO, -MICRO]),
        st.none() | st.sampled_from("ab"),
        st.none() if window_s else st.none() | st.integers(NOW_MS, NOW_MS + 9),
    )
    batches = st.builds(ObservationBatch, st.lists(some, max_size=4)) | st.builds(
        ObservationBatch, st.lists(some, max_size=4), st.integers(1, 2), st.integers(0, 4)
    )
    return st.lists(st.tuples(batches, hours), max_size=16)


def exposure_records():
    """Return exposures and voids of a few units, and observations before and after them."""
    times = st.sampled_from([NOW_MS + second * 1_000 for second in (0, 10, 70, 86_400)])
    exposed = st.builds(
        Observation,
        texts(86_400, NOW),
        st.sampled_from([EXPOSURE] * 5 + ["$void.bot"]),
        st.just(EXPOSED),
        st.none(),
        times,
    )
    observed = st.builds(
        Observation,
        texts(86_400, NOW),
        st.sampled_from(["click", "revenue", "any"]),
        st.sampled_from([0, MICRO, 3 * MICRO]),
        st.none() | st.sampled_from("ab"),
        times,
    )
    batches = st.builds(ObservationBatch, st.lists(exposed | observed, max_size=4))
    return st.lists(st.tuples(batches, NOW), max_size=16)


def impression_records():
    rows = st.builds(
        lambda chance, at_ms, unit: (*chance[:2], at_ms, unit, b"", chance[2]),
        CHANCES,
        st.integers(NOW_MS, NOW_MS + 2),
        st.integers(1, 2),
    )
    with_features = st.tuples(rows, FEATURES).map(lambda row: (*row[0][:4], row[1], row[0][5]))
    groups = st.builds(
        lambda some, experiment, repeatable: group(
            *some, experiment=experiment, repeatable=repeatable
        ),
        st.lists(rows, min_size=1, max_size=4) | st.lists(with_features, min_size=1, max_size=4),
        st.integers(1, 2),
        st.booleans(),
    )
    batches = st.builds(
        ImpressionBatch,
        st.integers(1, 2),
        st.just(0),
        st.integers(0, 6),
        st.lists(groups, max_size=2),
    )
    return st.lists(batches.map(lambda batch: (batch,)), max_size=16)


def observation_fold(limit=1_000_000):
    return lambda: ObservationFold(0, KEYRING, limit=limit, plan_of=plan_of)


def exposure_fold(limit):
    plan = Plan(
        pairs=(("click", "revenue"),),
        declared=frozenset({"click", "revenue"}),
        windows={"click": 60, "revenue": 60},
        by_exposure=True,
    )
    return lambda: ObservationFold(0, KEYRING, limit=limit, plan_of=lambda _: plan)


def impression_fold(limit=1_000_000):
    return lambda: ImpressionFold(0, limit=limit, plan_of=plan_of)


@pytest.fixture(autouse=True, scope="module")
def _small_bounds():
    """Make what happens once in a million events happen within a few."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segments, "MAX_ENTRIES", 2)
        patch.setattr(window, "_SLACK", 4)
        patch.setattr(window, "_SEGMENT_COST", 1)
        yield


class End(Enum):
    """Ending of a batch."""

    WELL = 0
    BEFORE_PROGRESS = 1  # any part of the changes survives
    AFTER_PROGRESS = 2


PLANS = st.lists(
    st.tuples(st.integers(1, 4), st.sampled_from(End), st.integers(0, 1 << 32)), max_size=12
)


class Store:
    """Content of a changelog: as the engine, it removes what is forgotten one batch later."""

    def __init__(self):
        self.progress = None
        self.cells = {}
        self.segments = {}
        self.forgotten: tuple[str, ...] = ()

    def write(self, changes, survives=lambda: True):
        for key in self.forgotten:
            if survives():
                self.segments.pop(key, None)
        for cell in changes.cells:
            known = self.cells.get(cell.experiment)
            if survives() and (known is None or known.last_offset <= cell.last_offset):
                self.cells[cell.experiment] = cell
        for segment in changes.segments:
            if survives():
                self.segments[segment.key] = segment

    def finish(self, changes):
        self.progress = changes.progress
        self.forgotten = changes.forgotten

    def start(self, make):
        self.forgotten = ()
        fold = make()
        fold.restore(self.progress, self.cells.values(), self.segments.values())
        return fold


def run(make, records):
    fold, refused = make(), []
    for offset, record in enumerate(records):
        refused.append(codes(fold_batch(fold, offset, *record)))
    return fold, refused


def state(fold):
    """Return all that decides what a fold will answer from here on."""
    changes = fold.take_changes()
    return (
        changes.progress,
        [repr(cell) for cell in sorted(fold.cells, key=lambda cell: cell.experiment)],
        {
            experiment: (ledger.window.horizon, ledger.window.buckets)
            for experiment, ledger in fold._ledgers.items()
            if ledger.builder.cell is not None
        },
        {
            experiment: ledger.openers
            for experiment, ledger in fold._ledgers.items()
            if ledger.builder.cell is not None
        },
    )


def run_through_crashes(make, records, plan):
    """Run in batches, each of which ends as its step of the plan says; later ones end well.

    Returns the fold, what is in the store, and the refusals by offset.
    """
    store, steps = Store(), iter(plan)
    refused: dict[int, list[tuple[int, str]]] = {}
    fold = store.start(make)
    while fold.last_offset < len(records) - 1:
        size, end, seed = next(steps, (3, End.WELL, 0))
        for offset in range(fold.last_offset + 1, min(fold.last_offset + 1 + size, len(records))):
            answer = codes(fold_batch(fold, offset, *records[offset]))
            assert refused.setdefault(offset, answer) == answer
        changes = fold.take_changes()
        if end is End.BEFORE_PROGRESS:
            chance = Random(seed)
            store.write(changes, lambda chance=chance: chance.random() < 0.5)
        else:
            store.write(changes)
            store.finish(changes)
        if end is not End.WELL:
            fold = store.start(make)
    return fold, store, refused


KINDS = {
    "impressions": (impression_records(), impression_fold()),
    "few impressions remembered": (impression_records(), impression_fold(3)),
    "observations": (observation_records(), observation_fold()),
    "observations of a day": (observation_records(86_400, HOURS), observation_fold()),
    "few observations remembered": (observation_records(86_400, HOURS), observation_fold(6)),
    "few observations without a limit": (observation_records(), observation_fold(4)),
    "exposures": (exposure_records(), exposure_fold(9)),
}


@given(observation_records())
def test_observations_are_what_the_oracle_counts(records):
    fold, _ = run(observation_fold(), records)

    assert [repr(cell) for cell in fold.take_changes().cells] == [
        repr(cell) for cell in naive_observations(records)
    ]


@given(impression_records())
def test_impressions_are_what_the_oracle_counts(records):
    fold, _ = run(impression_fold(), records)

    assert [repr(cell) for cell in fold.take_changes().cells] == [
        repr(cell) for cell in naive_impressions([batch for (batch,) in records])
    ]


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data(), taken_after=st.sets(st.integers(0, 15)))
@settings(max_examples=40)
def test_batching_does_not_change_the_result(kind, data, taken_after):
    strategy, make = KINDS[kind]
    records = data.draw(strategy)
    whole, _ = run(make, records)
    fold = make()

    for offset, record in enumerate(records):
        fold_batch(fold, offset, *record)
        if offset in taken_after:
            fold.take_changes()

    assert state(fold) == state(whole)


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data(), plan=PLANS)
@settings(max_examples=200)
def test_crashes_do_not_change_the_result(kind, data, plan):
    strategy, make = KINDS[kind]
    records = data.draw(strategy)
    whole, refused = run(make, records)

    fold, store, answers = run_through_crashes(make, records, plan)

    expected = state(whole)
    assert state(fold) == expected
    assert [answers[offset] for offset in range(len(records))] == refused
    if records:
        assert state(store.start(make)) == expected


@given(
    records=st.lists(
        st.builds(
            lambda unit, metric, value, event: (
                ObservationBatch([observation(value, event, metric, unit=unit)]),
                NOW_MS,
            ),
            st.integers(1, 3),
            st.sampled_from(["a", "b", "c", "d", "e", "f"]),
            st.integers(0, 2).map(lambda value: value * MICRO),
            st.none() | st.sampled_from("uvwxyz"),
        ),
        max_size=24,
    ),
    plan=PLANS,
)
@settings(max_examples=200)
def test_crashes_do_not_change_what_a_sender_is_refused(records, plan):
    """Places for metrics and events of a unit, where cells are ahead of what is remembered."""

    def make():
        declared = Plan(declared=frozenset({"a"}), accepted={"a": Accepted(0, MICRO)})
        return ObservationFold(0, KEYRING, plan_of=lambda _: declared)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metric_slots, "MAX_METRICS", 4)
        patch.setattr(metric_slots, "MAX_OPENED", 2)
        patch.setattr(counting, "MAX_EVENTS", 2)
        patch.setattr(window, "MAX_EVENTS", 2)
        whole, refused = run(make, records)

        fold, store, answers = run_through_crashes(make, records, plan)

        expected = state(whole)
        assert state(fold) == expected
        assert [answers[offset] for offset in range(len(records))] == refused
        if records:
            assert state(store.start(make)) == expected


@given(observation_records(86_400, HOURS))
def test_what_is_forgotten_is_refused_and_never_counted_twice(records):
    """Every observation is counted, a duplicate, refused, or in a repeated batch: never more."""
    tight, _ = run(observation_fold(6), records)
    wide = {
        cell.experiment: cell for cell in run(observation_fold(), records)[0].take_changes().cells
    }

    for cell in tight.take_changes().cells:
        for variant, tally in cell.variants.items():
            for name, metric in tally.metrics.items():
                most = wide[cell.experiment].variants[variant].metrics[name]
                assert metric.observations <= most.observations


def test_the_hash_of_an_event_id_is_never_that_of_none():
    assert hash_of("") > 0
