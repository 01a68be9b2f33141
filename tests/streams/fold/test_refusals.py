"""Refusals, each in its place, of what cannot be counted; the rest counts."""

import pytest

from streams.fold.impressions import MAX_VARIANT, ImpressionFold
from streams.fold.observations import ObservationFold
from streams.model.errors import EventError
from streams.model.events import ImpressionBatch, ImpressionGroup, Observation, ObservationBatch
from streams.model.quantities import MICRO, PROPENSITY_ONE
from streams.model.variant_weights import overlap_weights
from streams.tallies.pair_sums import pack_pairs
from streams.tallies.plan import AcceptedValues, Plan
from tests.streams.fold.batches import fold_batch
from tests.streams.fold.builders import (
    HALF,
    KEYRING,
    NOW_MS,
    PACKED,
    codes,
    group,
    observation,
    plan_of,
)


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


def test_a_value_that_is_declared_impossible_is_refused_and_the_rest_counts():
    plan = Plan(
        {"click": MICRO},
        floors={"click": 0},
        accepted={
            "click": AcceptedValues(0, MICRO, is_whole=True),
            "visits": AcceptedValues(is_whole=True),
            "spent": AcceptedValues(least=-10 * MICRO, most=200 * MICRO),
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


def test_a_sequence_that_cannot_be_used_is_refused():
    impressions, observations = ImpressionFold(0), ObservationFold(0, KEYRING)

    assert codes(fold_batch(impressions, 0, ImpressionBatch(9, 0, -1, []))) == [
        (0, "INVALID_SEQUENCE")
    ]
    assert codes(
        fold_batch(observations, 0, ObservationBatch([], incarnation=9, sequence=-1), NOW_MS)
    ) == [(0, "INVALID_SEQUENCE")]
