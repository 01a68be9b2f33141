"""Tallies of a subset of the variants of an experiment.

A sum by pair has a digit for every variant of the experiment. For a subset, its digits are
extracted and reordered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from streams.tallies.bins import BIN_FIELDS
from streams.tallies.cell import METRIC_FIELDS, PRODUCT_FIELDS, VARIANT_FIELDS, VariantTally
from streams.tallies.fields import FieldTable
from streams.tallies.pair_sums import pack_pairs, unpack_pairs

TallyT = TypeVar("TallyT")


def among(tally: VariantTally, indices: Sequence[int]) -> VariantTally:
    """Return the tally of a variant with sums by pair for a subset of variants only.

    Args:
        tally: The tally.
        indices: Indices of these variants, in the order of the resulting sums.
    """
    return replace(
        _among(VARIANT_FIELDS, tally, indices),
        metrics={
            name: _among(METRIC_FIELDS, metric, indices) for name, metric in tally.metrics.items()
        },
        products={
            pair: _among(PRODUCT_FIELDS, product, indices)
            for pair, product in tally.products.items()
        },
        bins={
            name: {place: _among(BIN_FIELDS, each, indices) for place, each in of_name.items()}
            for name, of_name in tally.bins.items()
        },
    )


def _among(table: FieldTable[TallyT], tally: TallyT, indices: Sequence[int]) -> TallyT:
    chosen: dict[str, int | tuple[int, ...]] = {}
    for each in table.sums:
        if each.is_by_pair:
            chosen[each.name] = _digits(getattr(tally, each.name), indices)
    for entries in table.entries:
        if entries.are_by_pair:
            sums = getattr(tally, entries.name)
            chosen[entries.name] = tuple(_digits(each, indices) for each in sums)
    changed: TallyT = replace(tally, **chosen)  # type: ignore[type-var]  # a dataclass
    return changed


def _digits(packed: int, indices: Sequence[int]) -> int:
    digits = unpack_pairs(packed)
    return pack_pairs(digits[index] if index < len(digits) else 0 for index in indices)
