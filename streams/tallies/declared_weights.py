"""Sums by pair of units whose receipts do not carry the weights of a fixed allocation.

Where some variants were not eligible, the units of a fixed allocation are compared by pairs, like
those of a moving one. Their receipts carry the weights; receipts of units with all variants
eligible need not, as the definition has them, and so their sums by pair are added here. Their
number and sums follow from the diagonal sum of a variant, which counts only units with known
weights, by half (`OWN_WEIGHT`).
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import replace
from typing import TypeVar

from streams.model.quantities import MICRO, PROPENSITY_PER_WEIGHT
from streams.model.variant_weights import OWN_WEIGHT, pack_weights
from streams.tallies.bins import BIN_FIELDS
from streams.tallies.cell import METRIC_FIELDS, PRODUCT_FIELDS, VARIANT_FIELDS, VariantTally
from streams.tallies.fields import (
    PAIR_WEIGHTS,
    FieldTable,
    Statistic,
    UnitWeights,
    Weight,
    unit_weights,
)
from streams.tallies.pair_sums import unpack_pairs

TallyT = TypeVar("TallyT")

_OWN = {Weight.OVERLAP: OWN_WEIGHT, Weight.OVERLAP_SQUARED: OWN_WEIGHT * OWN_WEIGHT}


def with_declared_weights(
    tally: VariantTally, variant: int, weights: Sequence[int], metrics: Container[str]
) -> VariantTally:
    """Return the tally of a variant with the sums by pair of all of its units.

    Args:
        tally: The tally.
        variant: Index of the variant.
        weights: The integer weights of all units whose receipts do not carry any.
        metrics: Metrics of which sums by pair are kept.
    """
    propensity = weights[variant] * PROPENSITY_PER_WEIGHT
    one, inverse, inverse_squared, *by_pair = unit_weights(
        variant, propensity, pack_weights(weights), len(weights)
    )
    of_pairs = (0 * one, 0 * inverse, 0 * inverse_squared, *by_pair)  # the others have their sums
    metrics_of = {
        name: _with_sums(METRIC_FIELDS, metric, variant, of_pairs) if name in metrics else metric
        for name, metric in tally.metrics.items()
    }
    products = {
        pair: _with_sums(PRODUCT_FIELDS, product, variant, of_pairs)
        for pair, product in tally.products.items()
    }
    bins = {
        name: {
            place: _with_sums(BIN_FIELDS, each, variant, of_pairs)
            for place, each in of_name.items()
        }
        for name, of_name in tally.bins.items()
    }
    completed = _with_sums(VARIANT_FIELDS, tally, variant, of_pairs)
    return replace(completed, metrics=metrics_of, products=products, bins=bins)


def _with_sums(
    table: FieldTable[TallyT], tally: TallyT, variant: int, of_pairs: UnitWeights
) -> TallyT:
    sums = _completed(table, tally, variant, of_pairs)
    named = {each.name: total for each, total in zip(table.sums, sums, strict=True)}
    changed: TallyT = replace(tally, **named)  # type: ignore[type-var]  # a dataclass
    return changed


def _completed(
    table: FieldTable[TallyT], tally: TallyT, variant: int, of_pairs: UnitWeights
) -> list[int]:
    """Return the sums of a tally, with those by pair of the units whose weights are not known."""
    sums = table.by_use(tally)
    plain = {statistic: total for (statistic, weight), total in sums.items() if not weight}
    if Statistic.POSITIVE in plain:
        plain[Statistic.SURPLUS] = plain[Statistic.VALUE] - MICRO * plain[Statistic.POSITIVE]
    missing = dict.fromkeys(Statistic, 0)
    for (statistic, weight), packed in sums.items():
        if weight in PAIR_WEIGHTS:
            digits = unpack_pairs(packed)
            known = digits[variant] // _OWN[weight] if variant < len(digits) else 0
            missing[statistic] = plain.get(statistic, 0) - known
    return table.plus(table.values(tally), tuple(missing.values()), of_pairs)
