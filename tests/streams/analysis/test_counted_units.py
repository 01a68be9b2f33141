"""Tallies as an evaluation counts them: complete, and without what cannot be."""

from __future__ import annotations

from dataclasses import replace

from streams.analysis.counted_units import CountedUnits, StartWeights, counted
from streams.model.quantities import ALLOCATION_TOTAL, MICRO
from streams.model.variant_weights import OWN_WEIGHT
from streams.tallies.cell import MetricTally, Tally, VariantTally
from streams.tallies.pair_sums import pack_pairs, unpack_pairs
from streams.tallies.plan import Plan

CLICK = MetricTally(1, 1, MICRO, MICRO**2)
FEW = VariantTally(3, 6 * MICRO, 12 * MICRO**2, metrics={"click": CLICK})
MORE = VariantTally(8, 16 * MICRO, 32 * MICRO**2, assigned=9)


def test_variants_without_a_tally_have_no_units_and_others_are_left_out():
    assert counted({0: FEW, 7: MORE}, [0, 1], None) == {0: FEW, 1: VariantTally()}


def test_sums_that_contradict_each_other_leave_the_metrics_alone():
    """More was voided than counted so far, of units or of a sum for a pair."""
    few = replace(FEW, gram=(1,))
    for wrong in (
        replace(few, units=-1),
        replace(few, weight_squared=-1),
        replace(few, overlap=pack_pairs((5, -1))),
    ):
        assert counted({0: wrong}, [0], None) == {0: VariantTally(metrics={"click": CLICK})}
    assert counted({0: replace(MORE, assigned=-1)}, [0], None)[0] == replace(MORE, assigned=0)


def test_units_of_each_window_are_read():
    tally = Tally(last_at_ms=5, variants={0: MORE}, mature={60: {0: FEW}, 90: {0: MORE}})

    found = CountedUnits.read(tally, [0], [60, 30], None)

    assert found.last_at_ms == 5
    assert found.by_window == {0: {0: MORE}, 60: {0: FEW}, 30: {0: VariantTally()}}


def test_units_without_weights_have_those_of_the_start():
    """By hand: each of 3 units of variant 0 counts half for itself, and not for variant 2."""
    half = ALLOCATION_TOTAL // 2
    start = StartWeights((half, half, 0), Plan(declared=frozenset({"click"}), n_variants=3))

    found = counted({0: FEW, 2: FEW, 3: FEW}, [0, 2, 3], start)

    assert unpack_pairs(found[0].overlap)[0] == 3 * OWN_WEIGHT
    assert (found[2], found[3]) == (FEW, FEW)
