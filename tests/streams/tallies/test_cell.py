from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.model.errors import InvalidParameterError
from streams.model.quantities import PROPENSITY_ONE
from streams.tallies.builder import CellBuilder
from streams.tallies.cell import Cell, MetricTally, ProductTally, Source, Tally, VariantTally
from streams.tallies.merging import join, merge
from streams.tallies.pair_sums import pack_pairs
from streams.tallies.plan import Plan
from streams.tallies.weights import weighted
from tests.strategies import records, sums

counts = st.integers(1, 10**6)
entries = st.just(()) | st.tuples(sums, sums)
metric_tallies = records(
    MetricTally, moment=entries, positive_moment=entries, overlap_moment=entries
)
variant_tallies = records(
    VariantTally,
    metrics=st.dictionaries(st.sampled_from(["click", "order", "revenue"]), metric_tallies),
    gram=entries,
    overlap_features=entries,
    overlap_gram=entries,
    products=st.dictionaries(
        st.sampled_from([("click", "order"), ("click", "revenue")]), records(ProductTally)
    ),
    periods=st.just({}),  # added in `test_periods`
)


@st.composite
def cells(draw):
    """Cells of one experiment. Those of one place and offset are equal, as in a real log."""
    source = draw(st.sampled_from(Source))
    partition, last_offset = draw(st.integers(0, 2)), draw(st.integers(0, 5))
    seed = last_offset * 10 + partition + (100 if source is Source.IMPRESSIONS else 0)
    tally = VariantTally(seed, 2 * seed, 3 * seed, metrics={"click": MetricTally(seed, seed, seed)})
    return Cell(
        1, source, partition, last_offset, 1000 - seed, 1000 + seed, seed, {seed % 3: tally}
    )


def test_two_partitions_add_up():
    impressions = Cell(7, Source.IMPRESSIONS, 0, 4, 10, 20, 0, {0: VariantTally(3, 6, 12)})
    clicked = VariantTally(metrics={"click": MetricTally(1, 2, 2, 4, 4, 16)})
    observations = Cell(7, Source.OBSERVATIONS, 0, 9, 12, 30, 1, {0: clicked, 2: clicked})

    assert merge([observations, impressions]) == Tally(
        first_at_ms=10,
        last_at_ms=30,
        duplicates=1,
        variants={
            0: VariantTally(3, 6, 12, metrics={"click": MetricTally(1, 2, 2, 4, 4, 16)}),
            2: clicked,
        },
        cells=(impressions, observations),
    )


def test_a_surplus_remains_beside_values_other_than_0_and_1():
    """By hand: a unit that clicked twice, and in the other partition one with the value 2.5.

    Once that one is taken out again, every observation is 0 or 1, and the surplus is needed.
    """
    binary = MetricTally(
        units=1,
        observations=2,
        binary_observations=2,
        surplus_weighted_total=4,
        surplus_weighted_cross=8,
        surplus_overlap_total=pack_pairs((1, 2)),
        surplus_overlap_cross=pack_pairs((1, 1)),
    )
    other = MetricTally(units=1, observations=1, surplus_weighted_total=3)
    voided = MetricTally(units=-1, observations=-1, surplus_weighted_total=-3)

    for total in (binary + other, other + binary):
        assert not total.is_binary
        assert (total.surplus_weighted_total, total.surplus_weighted_cross) == (7, 8)
        assert total + voided == voided + total == binary


@given(st.lists(st.tuples(st.integers(1, PROPENSITY_ONE), counts), max_size=5))
def test_weighted_is_what_a_builder_counts(parts):
    """Units of some propensities, each with as many values of 1 and then of 2."""
    plan = Plan(declared=frozenset({"click"}), n_variants=2)
    builder = CellBuilder(7, Source.IMPRESSIONS, 0, plan=plan)
    expected = VariantTally()
    for offset, (propensity, units) in enumerate(parts):
        builder.add_units(offset, {(0, propensity, b""): units}, 5, 6)
        for value in (1, 2):
            builder.add_value(offset, (0, propensity, b"", "click"), None, value, 5)
        builder.freeze()
        expected += weighted(
            units,
            {"click": MetricTally(2, 2, 3, 5, positive_units=2, total_cubed=9)},
            propensity,
        )

    assert (builder.cell.variants if builder.cell else {}) == ({0: expected} if parts else {})


def test_no_cells_are_an_empty_tally():
    assert merge([]) == Tally()


@given(variant_tallies, variant_tallies, variant_tallies)
def test_tallies_are_a_commutative_monoid(one, two, three):
    assert one + two == two + one
    assert (one + two) + three == one + (two + three)
    assert one + VariantTally() == one
    assert list((one + two).metrics) == sorted({*one.metrics, *two.metrics})


@given(st.lists(cells(), max_size=8), st.randoms())
def test_order_and_repetition_of_cells_do_not_matter(some, random):
    shuffled = some + [cell for cell in some if random.random() < 0.5]
    random.shuffle(shuffled)

    assert repr(merge(shuffled)) == repr(merge(some))


@given(st.lists(cells(), min_size=1, max_size=6), st.randoms())
def test_join_is_a_semilattice(some, random):
    here = [cell for cell in some if (cell.source, cell.partition) == _place(some[0])]
    shuffled = random.sample(here, len(here))

    assert (
        reduce(join, shuffled) == reduce(join, here) == max(here, key=lambda cell: cell.last_offset)
    )
    assert join(here[0], here[0]) == here[0]


def test_cells_of_different_places_do_not_join():
    cell = Cell(7, Source.IMPRESSIONS, 0, 4, 10, 20, 0, {})
    elsewhere = Cell(7, Source.IMPRESSIONS, 1, 4, 10, 20, 0, {})

    with pytest.raises(InvalidParameterError):
        join(cell, elsewhere)


def test_cells_of_different_experiments_do_not_merge():
    cell = Cell(7, Source.IMPRESSIONS, 0, 4, 10, 20, 0, {})
    other = Cell(8, Source.IMPRESSIONS, 0, 4, 10, 20, 0, {})

    with pytest.raises(InvalidParameterError):
        merge([cell, other])


def _place(cell):
    return cell.source, cell.partition
