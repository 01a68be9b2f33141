"""Draws among eligible variants: exact probabilities, and a variant that stays."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.model.errors import InvalidParameterError
from streams.model.variant_weights import (
    MAX_WEIGHED,
    NOT_ELIGIBLE,
    are_bits,
    are_weights,
    excluded_variants,
)
from streams.policies.draw_tables import MAX_TABLES, DrawTables, draw_table

ALL = 1 << 32


@st.composite
def sets(draw):
    """Weights with zeros among them, and at least one eligible variant."""
    cuts = sorted(draw(st.lists(st.integers(0, 65_536), min_size=1, max_size=19)))
    weights = tuple(b - a for a, b in itertools.pairwise([0, *cuts, 65_536]))
    return weights, draw(st.integers(1, (1 << len(weights)) - 1))


def sizes(table):
    """Return how many numbers below 2**32 each variant has."""
    found = [0] * len(table.propensities)
    for start, end, owner in zip((0, *table.ends), table.ends, table.owners, strict=False):
        found[owner] += end - start
    return tuple(found)


def test_a_worked_example():
    """Of 1/2, 3/8 and 1/8 without the first: 3/4 and 1/4, the half of the first being dealt out."""
    table = draw_table((32_768, 24_576, 8_192), 0b110)

    assert table.propensities == (0, 3 * ALL // 4, ALL // 4)
    assert list(table.packed) == [NOT_ELIGIBLE, 7, 32]
    # 3/8 of the numbers go to the second, 1/8 to the third; then come their own.
    parts = [(end / ALL, owner) for end, owner in zip(table.ends, table.owners, strict=True)]
    assert parts == [(0.375, 1), (0.5, 2), (0.875, 1), (1.0, 2)]


@given(sets())
def test_propensities_are_how_many_draws_choose_a_variant(case):
    weights, eligible = case
    table = draw_table(weights, eligible)

    assert sum(table.propensities) == table.ends[-1] == ALL
    assert sizes(table) == table.propensities


@given(sets())
def test_propensities_are_weights_over_those_of_the_eligible(case):
    weights, eligible = case
    table = draw_table(weights, eligible)
    chosen = [w if eligible >> k & 1 else 0 for k, w in enumerate(weights)]
    if not any(chosen):
        chosen = [eligible >> k & 1 for k in range(len(weights))]

    for propensity, weight in zip(table.propensities, chosen, strict=True):
        assert abs(propensity - ALL * weight / sum(chosen)) < 1
        assert bool(propensity) == bool(weight)


@given(sets(), st.integers(0, 2**64 - 1))
def test_a_variant_is_kept_as_long_as_it_is_eligible(case, draw):
    weights, eligible = case
    own = draw_table(weights).choose(draw)
    found = draw_table(weights, eligible).choose(draw)

    assert eligible >> found & 1
    assert found == own or not eligible >> own & 1


@given(sets())
def test_receipts_say_who_was_not_eligible(case):
    weights, eligible = case
    n_variants = len(weights)
    table = draw_table(weights, eligible)

    for variant, propensity in enumerate(table.propensities):
        if not propensity:
            continue
        packed = table.packed
        if n_variants > 2 and packed:
            assert (
                are_weights(packed, variant, propensity, n_variants)
                if n_variants <= MAX_WEIGHED
                else are_bits(packed, variant, n_variants)
            )
        found = excluded_variants(variant, propensity, packed, n_variants)
        assert found == tuple(k for k, each in enumerate(table.propensities) if not each)


def test_no_eligible_variant_is_an_error_of_the_caller():
    with pytest.raises(InvalidParameterError):
        draw_table((32_768, 32_768), 0b100)


def test_the_second_draw_is_of_the_lower_bits():
    table = draw_table((32_768, 32_768))

    assert [table.choose_again(draw) for draw in (0, 2**31 - 1, 2**31, 2**64 - 2**32)] == [
        0,
        0,
        1,
        0,
    ]


def test_receipts_are_no_longer_than_they_must_be():
    """A fixed allocation says its weights where some are not eligible; a promoted one never."""
    weights = (32_768, 16_384, 16_384)
    fixed = DrawTables(weights, has_moved=False, is_compared=True)
    promoted = DrawTables(weights, has_moved=False, is_compared=False)

    assert (fixed.of(None).packed, fixed.of(0b111).packed) == (b"", b"")
    assert list(fixed.of(0b110).packed) == [NOT_ELIGIBLE, 16, 16]
    assert promoted.of(0b110).packed == b""


def test_sets_that_never_come_again_do_not_pile_up():
    tables = DrawTables((4_096,) * 16, has_moved=True, is_compared=True)

    for eligible in range(1, MAX_TABLES + 50):
        tables.of(eligible)

    assert 0 < len(tables._tables) <= MAX_TABLES
