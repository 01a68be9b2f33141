"""Sums by pair of covariates: against the units themselves, however they come, and what fits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.fold.writable import MAX_ENTRY_BYTES
from streams.model.quantities import PROPENSITY_ONE, VALUE_LIMIT
from streams.model.variant_weights import MAX_WEIGHED, overlap_weights, pack_weights
from streams.model.vectors import FEATURE_ONE
from streams.tallies.builder import CellBuilder
from streams.tallies.cell import METRIC_FIELDS, Cell, MetricTally, Source, VariantTally
from streams.tallies.chosen_variants import among
from streams.tallies.cohorts import Cohort
from streams.tallies.linear import triangle
from streams.tallies.merging import merge
from streams.tallies.pair_sums import pack_pairs, unpack_pairs
from streams.tallies.plan import MAX_DECLARED, Plan
from streams.tallies.variant_sums import UnitValue
from streams.tallies.weights import weighted
from streams.wire.cells import decode_cell, encode_cell

PLAN = Plan(declared=frozenset({"spend"}), n_variants=3, weighted_covariates=3)
WEIGHTS = (30_000, 20_000, 15_536), (60_000, 5_000, 536), (1, 65_534, 1)


@st.composite
def units(draw):
    """A unit: variant, weights, vector, value in micro-units, and whether it is voided."""
    entry = st.integers(-FEATURE_ONE, FEATURE_ONE)
    given_entries = draw(st.one_of(st.tuples(entry), st.just((0, FEATURE_ONE))))
    vector = ((0, FEATURE_ONE), *((n, each) for n, each in enumerate(given_entries, 1) if each))
    variant, weights = draw(st.integers(0, 2)), draw(st.sampled_from(WEIGHTS))
    value = draw(st.integers(-(10**12), 10**12))
    return variant, weights, vector, value, draw(st.booleans())


def chance_of(variant, weights):
    return variant, weights[variant] << 16, pack_weights(weights)


def expected(kept):
    """Return the sums over units by variant: features, gram and moment, by place and other one."""
    found: dict[int, Any] = {}
    for variant, weights, vector, value, _ in kept:
        features, gram, moment = found.setdefault(
            variant,
            ([[0] * 3 for _ in range(3)], [[0] * 3 for _ in range(6)], [[0] * 3 for _ in range(3)]),
        )
        dense = dict(vector)
        for other, v in enumerate(overlap_weights(*chance_of(variant, weights), 3)):
            for column in range(3):
                features[column][other] += v * dense.get(column, 0)
                moment[column][other] += v * v * dense.get(column, 0) * value
                for row in range(column + 1):
                    product = dense.get(row, 0) * dense.get(column, 0)
                    gram[triangle(column) + row][other] += v * v * product
    return {
        variant: tuple([pack_pairs(each) for each in part] for part in parts)
        for variant, parts in found.items()
    }


def padded(entries, length):
    return [*entries, *[0] * (length - len(entries))]


@given(st.lists(units(), min_size=1, max_size=8), st.integers(1, 4))
@settings(max_examples=60)
def test_the_sums_are_those_over_the_units_that_are_left(rows, batch):
    builders = [CellBuilder(7, source, 0, plan=PLAN) for source in Source]
    offset = 0
    for count in (1, -1):
        for variant, weights, vector, value, is_void in rows:
            if count < 0 and not is_void:
                continue
            offset += 1
            chance = chance_of(variant, weights)
            builders[0].add_units(offset, {chance: count}, 1, 1, {(chance, vector): count})
            builders[1].add_event(offset, 1)
            if count > 0:
                builders[1].add_value(offset, (*chance, "spend"), None, value, 1, vector)
            else:
                key = (*chance, "spend")
                builders[1].sums.add_unit_value(key, UnitValue(value, 1, 0), count, vector)
            if offset % batch == 0:
                for each in builders:
                    each.freeze()
    tally = merge([cell for each in builders if (cell := each.freeze()) is not None])
    wanted = expected([row for row in rows if not row[-1]])
    for variant, found in tally.variants.items():
        features, gram, moment = wanted.get(variant, ([], [], []))
        assert padded(found.overlap_features, 3) == padded(features, 3)
        assert padded(found.overlap_gram, 6) == padded(gram, 6)
        assert padded(found.metrics["spend"].overlap_moment, 3) == padded(moment, 3)


def test_units_that_were_assigned_alike_have_the_sums_of_single_ones():
    variant, weights, vector = 1, WEIGHTS[1], ((0, 1024), (1, -300))
    chance = chance_of(variant, weights)
    builders = [CellBuilder(7, source, 0, plan=PLAN) for source in Source]
    builders[0].add_units(1, {chance: 4}, 1, 1, {(chance, vector): 4})
    for offset in range(4):
        builders[1].add_value(offset, (*chance, "spend"), None, 5, 1, vector)
    counted = merge([cell for each in builders if (cell := each.freeze()) is not None]).variants[1]
    metric = replace(counted.metrics["spend"], overlap_moment=())
    found = weighted(
        4,
        {"spend": metric},
        chance[1],
        variant=variant,
        weights=chance[2],
        n_variants=3,
        gram=counted.gram,
    )
    assert found == counted


def test_nothing_is_kept_of_undeclared_metrics_and_without_a_plan():
    for plan in (replace(PLAN, weighted_covariates=0), replace(PLAN, declared=frozenset())):
        builder = CellBuilder(7, Source.OBSERVATIONS, 0, plan=plan)
        key = (*chance_of(0, WEIGHTS[0]), "spend")
        builder.add_value(1, key, None, 5, 1, ((0, 1024), (1, 7)))
        cell = builder.freeze()
        assert cell is not None
        assert cell.variants[0].metrics["spend"].overlap_moment == ()


def test_the_largest_sums_of_covariates_fit_their_digits():
    units = 1 << 60
    most = units * PROPENSITY_ONE**2 * FEATURE_ONE * VALUE_LIMIT * 10**6
    assert unpack_pairs(pack_pairs((most, -most))) == (most, -most)


@pytest.mark.parametrize("n_variants", [2, 5, 16])
@pytest.mark.parametrize("n_covariates", [1, 2, 8])
@pytest.mark.parametrize("window_s", [0, 60])
def test_the_largest_cell_with_covariates_fits(n_variants, n_covariates, window_s):
    """With as many metrics as have room for covariates, and cohorts of all of them."""
    length = 1 + 2 * n_covariates
    plans = [
        Plan(
            declared=(names := frozenset(f"{'m' * 60}{n:04}" for n in range(n_metrics))),
            n_variants=n_variants,
            windows=dict.fromkeys(names, window_s) if window_s else {},
            weighted_covariates=length,
        )
        for n_metrics in range(1, MAX_DECLARED + 1)
    ]
    fitting = [plan for plan in plans if plan.n_adjusted]
    if not fitting:
        assert n_variants * n_covariates > 30
        return
    plan = fitting[-1]
    assert plan.n_adjusted == plan.n_compared == n_variants
    full = pack_pairs([1 << 200] * n_variants)
    by_pair: Any = {each.name: full for each in METRIC_FIELDS.sums if each.is_by_pair}
    metric = MetricTally(
        units=1 << 40,
        **by_pair,
        overlap_moment=(full,) * length,
    )
    of_all = VariantTally(
        overlap=full,
        overlap_squared=full,
        overlap_features=(full,) * length,
        overlap_gram=(full,) * triangle(length),
        metrics=dict.fromkeys(sorted(plan.declared), metric),
    )
    variants = dict.fromkeys(range(n_variants), of_all)
    numbers = range(1 << 30, (1 << 30) + 11) if window_s else ()
    cohorts = {Cohort(window_s, number): variants for number in (-1, *numbers)} if window_s else {}
    cell = Cell(1, Source.OBSERVATIONS, 0, 1 << 40, 1, 1 << 41, 0, variants, cohorts=cohorts)
    encoded = encode_cell(cell)
    assert len(encoded) <= MAX_ENTRY_BYTES * 3 // 4
    assert decode_cell(encoded) == cell


def test_covariates_have_room_beside_what_is_compared_or_none():
    names = frozenset(map(str, range(MAX_DECLARED)))
    few = Plan(declared=frozenset({"0"}), n_variants=MAX_WEIGHED, weighted_covariates=5)
    assert few.n_adjusted == MAX_WEIGHED
    assert replace(few, n_variants=17).n_adjusted == 0
    crowded = replace(few, declared=names)
    assert (crowded.n_compared, crowded.n_adjusted) == (MAX_WEIGHED, 0)
    assert replace(few, weighted_covariates=0).n_adjusted == 0


def test_of_some_variants_the_digits_are_in_their_order():
    tally = VariantTally(
        overlap_features=(pack_pairs((1, 2, 3)),),
        overlap_gram=(pack_pairs((4, 5, 6)), pack_pairs((7, 8))),
        metrics={"spend": MetricTally(overlap_moment=(pack_pairs((9, 0, 10)),))},
    )
    found = among(tally, (2, 0))
    assert found.overlap_features == (pack_pairs((3, 1)),)
    assert found.overlap_gram == (pack_pairs((6, 4)), pack_pairs((0, 7)))
    assert found.metrics["spend"].overlap_moment == (pack_pairs((10, 9)),)
