"""Sums by pair of a fixed allocation: as if every receipt had said its weights."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from streams.model.quantities import MICRO
from streams.model.variant_weights import pack_weights
from streams.policies.draw_tables import draw_table
from streams.tallies.bins import WINSORIZED
from streams.tallies.builder import CellBuilder
from streams.tallies.cell import Source, VariantTally
from streams.tallies.declared_weights import with_declared_weights
from streams.tallies.merging import merge
from streams.tallies.plan import Plan

WEIGHTS = (32_768, 16_384, 16_384)
PLAN = Plan(
    declared=frozenset({"amount", "click"}),
    pairs=(("amount", "click"),),
    n_variants=3,
    bins={"amount": WINSORIZED},
)
UNITS = st.lists(
    st.tuples(
        st.integers(1, 7),  # eligible variants
        st.integers(0, 2**64 - 1),
        st.booleans(),  # whether it converts once or twice
        st.integers(0, 5 * MICRO),
        st.booleans(),
    ),
    max_size=12,
)


def tally_of(units, *, says_all):
    """Return the tally of units whose receipts say the weights where they must, or always."""
    assigned, observed = (CellBuilder(1, source, 0, plan=PLAN) for source in Source)
    for offset, (eligible, draw, is_twice, amount, is_undeclared) in enumerate(units):
        table = draw_table(WEIGHTS, eligible)
        variant = table.choose(draw)
        packed = table.packed if eligible != 7 or says_all else b""
        chance = variant, table.propensities[variant], packed
        assigned.add_units(offset, {chance: 1}, 1, 1)
        observed.add_value(offset, (*chance, "click"), None, MICRO, 1)
        if is_twice:
            observed.add_value(offset, (*chance, "click"), MICRO, MICRO, 1)
        observed.add_value(offset, (*chance, "amount"), None, amount, 1)
        observed.sums.add_binned((*chance, "amount"), None, amount, WINSORIZED)
        observed.sums.add_product((*chance, ("amount", "click")), (amount, amount, amount))
        if is_undeclared:
            observed.add_value(offset, (*chance, "other"), None, amount, 1)
    cells = [each.freeze() for each in (assigned, observed)]
    return merge([cell for cell in cells if cell is not None])


@given(UNITS)
def test_completed_sums_are_those_of_receipts_that_say_all(units):
    short, full = tally_of(units, says_all=False), tally_of(units, says_all=True)

    for variant in range(3):
        found = short.variants.get(variant, VariantTally())
        expected = full.variants.get(variant, VariantTally())
        assert with_declared_weights(found, variant, WEIGHTS, PLAN.declared) == expected
        assert with_declared_weights(expected, variant, WEIGHTS, PLAN.declared) == expected


def test_units_that_a_variant_could_not_have_are_counted():
    units = [(0b011, 0, False, 0, False)] * 3 + [(0b100, 0, False, 0, False)] * 2
    found = tally_of([*units, (0b111, 0, False, 0, False)], says_all=False)

    assert found.excluded == (2, 2, 3)


def test_units_of_a_promoted_winner_are_not_among_them():
    builder = CellBuilder(1, Source.IMPRESSIONS, 0, plan=PLAN)
    builder.add_units(0, {(4, 1 << 32, b""): 5}, 1, 1)
    cell = builder.freeze()

    assert cell is not None
    assert cell.excluded == ()
    assert merge([replace(cell, excluded=(0, 2)), replace(cell, partition=1, excluded=(1,))]) == (
        replace(
            merge([cell, replace(cell, partition=1)]),
            excluded=(1, 2),
            cells=(replace(cell, excluded=(0, 2)), replace(cell, partition=1, excluded=(1,))),
        )
    )


def test_weights_of_the_example_are_those_of_the_receipt():
    assert draw_table(WEIGHTS).packed == pack_weights(WEIGHTS)
