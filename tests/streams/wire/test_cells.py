from dataclasses import replace

from hypothesis import given

from streams.tallies.cell import Cell
from streams.wire.cells import decode_cell, encode_cell
from tests.strategies import records

cells = records(Cell)


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
