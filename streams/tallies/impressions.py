"""Folding impressions: units assigned, by variant and propensity."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from itertools import compress
from typing import TypeVar

from streams.domain.errors import EventError
from streams.domain.events import ImpressionBatch, ImpressionGroup
from streams.domain.quantities import PROPENSITY_ONE
from streams.domain.vectors import Vector, unpack
from streams.tallies.cell import Source
from streams.tallies.partition import PartitionFold, Refusal
from streams.tallies.periods import tick_of
from streams.tallies.refusals import refusal
from streams.tallies.window import KEY_MASK, Window

MAX_VARIANT = (1 << 16) - 1
"""Largest index of a variant that a receipt can carry."""

# 2**64 over the golden ratio: odd, so distinct assignments of one unit stay distinct.
_SPREAD = 0x9E3779B97F4A7C15
_VARIANT_BITS = 16

H = TypeVar("H", bound=Hashable)


class ImpressionFold(PartitionFold):
    """State of one partition of impressions."""

    source = Source.IMPRESSIONS

    def fold(self, offset: int, batch: ImpressionBatch) -> Sequence[Refusal]:
        """Count the impressions of the record at `offset`; a repeated batch changes nothing.

        Args:
            offset: Offset of the record; at or below `hw` it is passed by.
            batch: The record.

        Returns:
            What could not be counted: a sequence or a group that cannot be used, or units for which
            there is no room left to remember them (one refusal for all of a group).

        Raises:
            PlanMissingError: the plan of an experiment is not known; nothing has been counted.
        """
        if offset <= self.hw:
            return ()
        for group in batch.groups:
            if group.experiment not in self._ended:
                self._ledger(group.experiment)
        self.hw = offset
        try:
            if not self._guard.admit(batch.incarnation, batch.partition, batch.sequence):
                self.duplicate_batches += 1
                return ()
        except EventError as error:
            return (Refusal(0, error),)
        refusals = []
        index = 0
        for group in batch.groups:
            try:
                self._fold_group(offset, group)
            except Exception as error:  # noqa: BLE001 - one group's must not cost the others
                refusals.append(refusal(index, error))
            index += len(group.variants)
        return refusals

    def _fold_group(self, offset: int, group: ImpressionGroup) -> None:
        self._check_going_on(group.experiment)
        units = _counted(zip(group.variants, group.propensities, strict=False))
        _check(group, units)
        vectors = _vectors(group)
        ledger = self._ledger(group.experiment)
        times: Sequence[int] = group.assigned_at_ms
        refused: EventError | None = None
        variants: Sequence[int] = group.variants
        seen: Iterable[tuple[int, Vector]] = zip(group.variants, vectors, strict=False)
        if group.repeatable:
            is_new, refused = _admit(ledger.window, group)
            units = _counted(compress(zip(group.variants, group.propensities, strict=True), is_new))
            times = list(compress(group.assigned_at_ms, is_new))
            variants = list(compress(variants, is_new))
            seen = compress(seen, is_new)
        if units and offset > ledger.builder.folded:
            contexts = _counted(seen)
            ledger.builder.add_units(offset, units, min(times), max(times), contexts)
            periods = None if ledger.plan is None else ledger.plan.by_period
            if periods is not None:
                counts = _counted(zip(variants, map(tick_of, times), strict=True))
                ledger.builder.add_assigned(
                    {key: n for key, n in counts.items() if key[0] < periods.n_variants}
                )
        if refused is not None:
            raise refused


def _counted(units: Iterable[H]) -> dict[H, int]:
    """Return how often each is there. Making a Counter takes longer than counting a small group."""
    counts: dict[H, int] = {}
    for unit in units:
        counts[unit] = counts.get(unit, 0) + 1
    return counts


def _check(group: ImpressionGroup, units: Mapping[tuple[int, int], int]) -> None:
    if not (
        len(group.variants)
        == len(group.propensities)
        == len(group.assigned_at_ms)
        == len(group.units)
    ) or len(group.features) not in {0, len(group.units)}:
        raise EventError("COLUMNS_DIFFER", "the columns of a group differ in length", "groups")
    for variant, propensity in units:
        if not 0 <= variant <= MAX_VARIANT:
            raise EventError(
                "VARIANT_OUT_OF_RANGE",
                f"variant == {variant}, must be in 0..{MAX_VARIANT}",
                "groups.variants",
            )
        if not 1 <= propensity <= PROPENSITY_ONE:
            raise EventError(
                "PROPENSITY_OUT_OF_RANGE",
                f"propensity == {propensity}, must be in 1..{PROPENSITY_ONE}",
                "groups.propensities",
            )


def _vectors(group: ImpressionGroup) -> Sequence[Vector]:
    """Return what was known of each unit; of none of them where nothing was of any."""
    known = {packed: unpack(packed) for packed in set(group.features)}
    return [known[packed] for packed in group.features]


def _admit(window: Window, group: ImpressionGroup) -> tuple[list[bool], EventError | None]:
    """Return which assignments are new, and why some could not be remembered, if so.

    A unit that is assigned anew, at another time or to another variant, is another assignment; so
    it counts for the variant that its observations will count for.
    """
    refused: EventError | None = None
    is_new = []
    for unit, variant, assigned_at_ms in zip(
        group.units, group.variants, group.assigned_at_ms, strict=True
    ):
        place = (assigned_at_ms << _VARIANT_BITS | variant) * _SPREAD
        try:
            is_new.append(window.admit((unit ^ place) & KEY_MASK))
        except EventError as error:
            is_new.append(False)
            refused = error
    return is_new, refused
