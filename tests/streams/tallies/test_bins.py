"""Bins of values: their ends, sums over them against single units, and any order of events."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.fold.observations import ObservationFold
from streams.model.events import ObservationBatch
from streams.model.quantities import MICRO
from streams.tallies.bins import QUANTILES, WINSORIZED, bin_of, end_of
from streams.tallies.cell import Cell
from streams.tallies.plan import Plan
from streams.wire.cells import decode_cell, encode_cell
from tests.streams.fold.batches import ONE_BY_ONE, fold_batch, vectorized_from
from tests.streams.fold.builders import HALF, KEYRING, NOW_MS, QUARTER, observation

PLAN = Plan(
    floors={"spent": 0, "delay": 0},
    bins={"spent": WINSORIZED, "delay": QUANTILES},
    declared=frozenset({"spent", "delay"}),
    windows={"spent": 86_400},
    n_variants=2,
)


@given(st.integers(1, 10**18), st.integers(0, 6))
def test_a_value_is_in_its_bin_and_the_bin_is_narrow(value, precision):
    number = bin_of(value, precision)

    begin, end = end_of(number - 1, precision), end_of(number, precision)
    assert begin <= value < end
    assert end - 1 <= begin * (1 + 2**-precision)
    assert bin_of(end, precision) > number


@pytest.mark.parametrize("precision", [0, 2, 5])
def test_bins_are_in_the_order_of_their_values(precision):
    numbers = [bin_of(value, precision) for value in range(-2, 3_000)]

    assert numbers == sorted(numbers)
    assert numbers[:4] == [0, 0, 0, 1]


events = st.lists(
    st.tuples(
        st.sampled_from(["spent", "delay"]),
        st.integers(-5, 4_000),
        st.integers(1, 5),
    ),
    max_size=14,
)


def folded(rows, batches):
    """Return the cell of observations (metric, value, unit, event), in so many batches."""
    cells: tuple[Cell, ...] = ()
    fold = ObservationFold(0, KEYRING, plan_of=lambda _: PLAN)
    size = max(1, -(-len(rows) // batches))
    for offset in range(batches):
        batch = [
            observation(
                value * MICRO,
                f"e{event}",
                metric=metric,
                unit=unit,
                variant=unit % 2,
                propensity=HALF if unit < 4 else QUARTER,
            )
            for metric, value, unit, event in rows[offset * size : (offset + 1) * size]
        ]
        if batch:
            fold_batch(fold, offset, ObservationBatch(batch), NOW_MS)
        cells = fold.take_changes().cells or cells
    return cells[0]


@given(
    events, st.randoms(use_true_random=False), st.integers(1, 4), st.sampled_from([1, ONE_BY_ONE])
)
def test_bins_hold_the_final_value_of_every_unit_in_any_order(rows, random, batches, together):
    if not rows:
        return
    numbered = [(*row, place) for place, row in enumerate(rows)]
    shuffled = random.sample(numbered, len(numbered))
    with vectorized_from(together):
        cells = folded(numbered, 1), folded(shuffled, batches)

    assert cells[0].variants == cells[1].variants
    assert cells[0].cohorts == cells[1].cohorts
    values: dict[tuple[str, int], int] = {}
    for metric, value, unit in rows:
        values[metric, unit] = values.get((metric, unit), 0) + value * MICRO
    for metric, bins in (("spent", WINSORIZED), ("delay", QUANTILES)):
        for variant in (0, 1):
            mine = [
                (unit, max(value, 0))
                for (name, unit), value in values.items()
                if name == metric and unit % 2 == variant
            ]
            known = cells[0].variants.get(variant)
            found = {} if known is None else known.bins.get(metric, {})
            assert {k: tally.units for k, tally in found.items()} == _counts(
                bin_of(value, bins.precision) for _, value in mine
            )
            total = sum(value for _, value in mine) if bins.has_values else 0
            assert sum(tally.total for tally in found.values()) == total
            weights = sum(2 * MICRO if unit < 4 else 4 * MICRO for unit, _ in mine)
            assert sum(tally.weight for tally in found.values()) == weights
    assert decode_cell(encode_cell(cells[1])) == cells[1]


def _counts(numbers):
    found: dict[int, int] = {}
    for number in numbers:
        found[number] = found.get(number, 0) + 1
    return found
