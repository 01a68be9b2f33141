from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from streams.tallies.cell import Cell, MetricTally, ProductTally, Source, VariantTally
from streams.wire import decode_cell, encode_cell

counts = st.integers(0, 2**40)
sums = st.integers(-(2**300), 2**300)
entries = st.lists(sums, max_size=4).map(tuple)
metrics = st.builds(
    MetricTally,
    units=counts,
    observations=counts,
    total=sums,
    total_squared=sums,
    weighted_total=sums,
    weighted_total_squared=sums,
    moment=entries,
    overlap_total=sums,
    overlap_cross=sums,
    overlap_total_squared=sums,
    weighted_cross=sums,
)
variants = st.builds(
    VariantTally,
    units=counts,
    weight=sums,
    weight_squared=sums,
    metrics=st.dictionaries(st.text(max_size=8), metrics, max_size=3),
    gram=entries,
    overlap=sums,
    overlap_squared=sums,
    products=st.dictionaries(
        st.tuples(st.text(max_size=8), st.text(max_size=8)),
        st.builds(ProductTally, sums, sums, sums),
        max_size=3,
    ),
)
cells = st.builds(
    Cell,
    experiment=st.integers(0, 2**64 - 1),
    source=st.sampled_from(Source),
    partition=st.integers(0, 2**31 - 1),
    hw=st.integers(0, 2**63 - 1),
    first_at_ms=counts,
    last_at_ms=counts,
    duplicates=counts,
    variants=st.dictionaries(st.integers(0, 2**16 - 1), variants, max_size=3),
)


def reordered(cell):
    """Return an equal cell whose mappings were filled in the opposite order."""
    variants = {
        index: replace(
            tally,
            metrics=dict(reversed(list(tally.metrics.items()))),
            products=dict(reversed(list(tally.products.items()))),
        )
        for index, tally in reversed(list(cell.variants.items()))
    }
    return replace(cell, variants=variants)


@given(cell=cells)
def test_a_cell_returns(cell):
    assert decode_cell(encode_cell(cell)) == cell


@given(cell=cells)
def test_equal_cells_give_equal_bytes(cell):
    assert reordered(cell) == cell
    assert encode_cell(reordered(cell)) == encode_cell(cell)


@given(cell=cells)
def test_a_decoded_cell_is_in_order(cell):
    decoded = decode_cell(encode_cell(cell))

    assert list(decoded.variants) == sorted(cell.variants)
    assert all(list(t.metrics) == sorted(t.metrics) for t in decoded.variants.values())
    assert all(list(t.products) == sorted(t.products) for t in decoded.variants.values())
