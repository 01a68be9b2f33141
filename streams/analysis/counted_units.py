"""Units that an evaluation counts: the tallies of the variants that it reads, made complete.

Everything that depends on one variant alone is done here, once for each, before variants are
grouped for comparison.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from streams.tallies.cell import Tally, VariantTally
from streams.tallies.declared_weights import with_declared_weights
from streams.tallies.plan import Plan


@dataclass(frozen=True, slots=True)
class StartWeights:
    """Weights of the units whose receipts carry none: those at the start of a fixed allocation.

    Attributes:
        weights: Integer weights of the variants at the start.
        plan: Measurement plan, by which sums by pair are kept.
    """

    weights: tuple[int, ...]
    plan: Plan

    def complete(self, variants: Mapping[int, VariantTally]) -> dict[int, VariantTally]:
        """Return tallies, by index, with the sums by pair of all units."""
        if not self.plan.n_compared:
            return dict(variants)
        weights, metrics = self.weights, self.plan.declared
        return {
            index: _consistent(with_declared_weights(variant, index, weights, metrics))
            if index < len(weights) and weights[index]
            else variant
            for index, variant in variants.items()
        }


@dataclass(frozen=True, slots=True, eq=False)
class CountedUnits:
    """Units of all variants that an evaluation reads.

    Attributes:
        by_window: Tallies by index, by the conversion window, in seconds, that is over for their
            units; 0 for all units.
        last_at_ms: Time of the newest event.
    """

    by_window: Mapping[int, Mapping[int, VariantTally]]
    last_at_ms: int

    @classmethod
    def read(
        cls,
        tally: Tally,
        indices: Collection[int],
        windows: Collection[int],
        start: StartWeights | None,
    ) -> CountedUnits:
        """Read the units of variants.

        Args:
            tally: The sum of the newest cells.
            indices: Indices of the variants in the tally.
            windows: Conversion windows of the metrics, in seconds; 0 for none.
            start: Weights of units whose receipts carry none; None if all weights are known.
        """
        by_window = {
            window_s: counted(
                tally.mature.get(window_s, {}) if window_s else tally.variants, indices, start
            )
            for window_s in {0}.union(windows)
        }
        return cls(by_window, tally.last_at_ms)


def counted(
    variants: Mapping[int, VariantTally], indices: Iterable[int], start: StartWeights | None
) -> dict[int, VariantTally]:
    """Return the complete tallies of some variants, by index.

    Args:
        variants: Tallies by index; a variant without one has no units.
        indices: Indices of the variants.
        start: As in `CountedUnits.read`.
    """
    found = {index: _known(variants.get(index)) for index in indices}
    return found if start is None else start.complete(found)


def _known(variant: VariantTally | None) -> VariantTally:
    if variant is None:
        return VariantTally()
    return _consistent(replace(variant, assigned=0) if variant.assigned < 0 else variant)


def _consistent(variant: VariantTally) -> VariantTally:
    """Return a tally; without units if the sums over them are inconsistent."""
    if variant.is_consistent:
        return variant
    return replace(
        variant,
        units=0,
        weight=0,
        weight_squared=0,
        overlap=0,
        overlap_squared=0,
        gram=(),
        overlap_features=(),
        overlap_gram=(),
    )
