"""Builder of a cell: the sums since the last one, frozen into a cell once per batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import attrgetter
from types import MappingProxyType
from typing import Any

from streams.model.dimensions import Slice
from streams.model.vectors import Vector
from streams.model.voids import MAX_REASONS, OTHER
from streams.tallies.cell import (
    CELL_COUNTS,
    NO_EVENT_MS,
    BySlice,
    Cell,
    SliceTally,
    Source,
    VariantTally,
    add_counts,
)
from streams.tallies.cohorts import ByCohort, Cohort
from streams.tallies.fields import Chance, maker_of
from streams.tallies.freezing import MetricKey
from streams.tallies.heavy_units import HeavyNotes, HeavyUnit
from streams.tallies.linear import add_entries
from streams.tallies.merging import cohorts_at
from streams.tallies.plan import PLAIN, Plan
from streams.tallies.variant_sums import NO_CONTEXTS, VariantSums

_NEVER = 1 << 63
_NO_VARIANTS: Mapping[int, VariantTally] = MappingProxyType({})
_NO_SLICE = SliceTally()
_MERGED = [*CELL_COUNTS.values()]
_new_cell = maker_of(Cell)
_counts = attrgetter(*CELL_COUNTS)
_new_counts = attrgetter(*[f"_{name}" for name in CELL_COUNTS])

MAX_OUTSIDE = 32
"""Reasons for which requests did not take part, at most; there are fewer."""


class CellBuilder:
    """Sums over the events since the last cell of one experiment and partition.

    Sums of variants are added to `sums`, and to those of cohorts and slices; methods that change
    the offset or time of the cell belong to the builder.

    Args:
        experiment: The experiment as a 64-bit number.
        source, partition: Where the events come from.
        cell: The newest cell, from which to continue; None before the first.
        plan: Defines for which metrics sums by pair are kept, and among how many variants.

    Attributes:
        sums: Sums over all events.
        folded: Offset up to which events were in `cell` when it was handed over; -1 without one.
        cell: The newest cell; None before the first `freeze`.
    """

    __slots__ = (
        "_cohorts",
        "_crossed_units",
        "_duplicates",
        "_early",
        "_excluded",
        "_first_at_ms",
        "_full_units",
        "_heavy",
        "_last_at_ms",
        "_last_offset",
        "_late",
        "_most_events",
        "_offered",
        "_outside",
        "_place",
        "_slice_plan",
        "_slices",
        "_unexposed",
        "_unremembered",
        "_voids",
        "cell",
        "folded",
        "sums",
    )

    sums: VariantSums
    _last_offset: int
    _first_at_ms: int
    _last_at_ms: int
    _excluded: tuple[int, ...]
    _offered: tuple[int, ...]
    _crossed_units: int
    _duplicates: int
    _most_events: int
    _full_units: int
    _unremembered: int
    _early: int
    _late: int
    _unexposed: int
    _voids: dict[str, int]
    _outside: dict[str, int]
    _heavy: HeavyNotes
    _cohorts: dict[Cohort, VariantSums]
    _slices: dict[Slice, VariantSums]

    def __init__(
        self,
        experiment: int,
        source: Source,
        partition: int,
        cell: Cell | None = None,
        plan: Plan = PLAIN,
    ) -> None:
        self._place = (experiment, source, partition)
        self._slice_plan: Plan | None = None
        self.cell = cell
        self.folded = -1 if cell is None else cell.last_offset
        self._reset(plan)

    @property
    def plan(self) -> Plan:
        """The plan; to be set before the first event is added."""
        return self.sums.plan

    @plan.setter
    def plan(self, plan: Plan) -> None:
        self.sums.plan = plan

    def add_units(
        self,
        offset: int,
        units: Mapping[Chance, int],
        first_at_ms: int,
        last_at_ms: int,
        contexts: Mapping[tuple[Chance, Vector], int] = NO_CONTEXTS,
    ) -> None:
        """Add units of the record at `offset`.

        Args:
            offset: Offset of the record.
            units: How many units, by chance.
            first_at_ms, last_at_ms: Times of the oldest and the newest of their assignments.
            contexts: How many of them have features, by chance and vector.
        """
        self._last_offset = max(self._last_offset, offset)
        self.sums.add_units(units, contexts)
        self._first_at_ms = min(self._first_at_ms, first_at_ms)
        self._last_at_ms = max(self._last_at_ms, last_at_ms)

    def add_chances(
        self, offset: int, chances: Sequence[Chance], first_at_ms: int, last_at_ms: int
    ) -> None:
        """Add units of the record at `offset`, one for each chance.

        Args:
            offset: Offset of the record.
            chances: Chance of each.
            first_at_ms, last_at_ms: As in `add_units`.
        """
        self._last_offset = max(self._last_offset, offset)
        self.sums.add_chances(chances)
        self._first_at_ms = min(self._first_at_ms, first_at_ms)
        self._last_at_ms = max(self._last_at_ms, last_at_ms)

    def add_value(
        self,
        offset: int,
        key: MetricKey,
        before: int | None,
        value: int,
        at_ms: int,
        vector: Vector | None = None,
        observed: int | None = None,
    ) -> None:
        """Add an observation of the record at `offset`.

        Args:
            offset: Offset of the record.
            key: Chance and metric.
            before: What the unit's value was before it, in micro-units; None if it had none.
            value: What the observation adds to it, in micro-units.
            at_ms: Time of the observation.
            vector: Features of the unit; None if it has none.
            observed: The observation, where it adds something else.
        """
        # Units that were counted together may belong to later records.
        self._last_offset = max(self._last_offset, offset)
        # For every event: a call of min or max costs several times as much.
        if at_ms < self._first_at_ms:  # noqa: PLR1730
            self._first_at_ms = at_ms
        if at_ms > self._last_at_ms:  # noqa: PLR1730
            self._last_at_ms = at_ms
        self.sums.add_value(key, before, value, vector, observed)

    def add_first_values(
        self,
        offset: int,
        keys: Sequence[MetricKey],
        values: Sequence[int],
        times_ms: Sequence[int],
        observed: Sequence[int] | None = None,
    ) -> None:
        """Add the first observations of units, of records up to the one at `offset`.

        Args:
            offset: Offset of the last record.
            keys: Chance and metric of each.
            values: What the observations add, in micro-units.
            times_ms: Times of the observations.
            observed: The observations, where they add something else.
        """
        first_at_ms, last_at_ms = min(times_ms), max(times_ms)
        self.sums.add_first_values(keys, values, observed)
        self._last_offset = max(self._last_offset, offset)
        self._first_at_ms = min(self._first_at_ms, first_at_ms)
        self._last_at_ms = max(self._last_at_ms, last_at_ms)

    def remove_unit(
        self, offset: int, chance: Chance, assigned_at_ms: int, vector: Vector | None = None
    ) -> None:
        """Remove an assigned unit, for the record at `offset`.

        Args:
            offset: Offset of the record.
            chance: Chance of the unit.
            assigned_at_ms: Time of its assignment.
            vector: Its features, if they were counted; None without features.
        """
        self.add_event(offset, assigned_at_ms)
        self.sums.remove_unit(chance, vector)

    def add_void(self, reason: str, *, n_full: int) -> None:
        """Count a unit that was voided.

        Args:
            reason: Reason of the void.
            n_full: Number of metrics for which it had reached the limit of observations.
        """
        known = self._voids.keys() | (set() if self.cell is None else self.cell.voids.keys())
        if reason not in known and len(known) >= MAX_REASONS:
            reason = OTHER
        self._voids[reason] = self._voids.get(reason, 0) + 1
        self._full_units -= n_full

    def add_outside(self, offset: int, reason: str, requests: int) -> None:
        """Count excluded requests of the record at `offset`; they do not advance the clock."""
        known = self._outside.keys() | (set() if self.cell is None else self.cell.outside.keys())
        if reason in known or len(known) < MAX_OUTSIDE:
            self._last_offset = max(self._last_offset, offset)
            self._outside[reason] = self._outside.get(reason, 0) + requests

    def add_duplicate(self, offset: int) -> None:
        """Count an observation of the record at `offset` that had been counted before."""
        self._last_offset = max(self._last_offset, offset)
        self._duplicates += 1

    def add_unremembered(self, offset: int, count: int = 1) -> None:
        """Count events of the record at `offset` for which the memory was too small."""
        self._last_offset = max(self._last_offset, offset)
        self._unremembered += count

    def add_late(self, offset: int, at_ms: int) -> None:
        """Count an observation of the record at `offset` that came after its conversion window.

        Args:
            offset: Offset of the record.
            at_ms: Time of the observation; it is an event, and moves the time of the cell.
        """
        self.add_event(offset, at_ms)
        self._late += 1

    def add_early(self, offset: int, at_ms: int) -> None:
        """Count an observation of the record at `offset` that came before its conversion delay.

        Args:
            offset: Offset of the record.
            at_ms: Time of the observation; it is an event, and moves the time of the cell.
        """
        self.add_event(offset, at_ms)
        self._early += 1

    def add_event(self, offset: int, at_ms: int) -> None:
        """Record an event of the record at `offset`; it advances the time of the cell."""
        self._last_offset = max(self._last_offset, offset)
        self._first_at_ms = min(self._first_at_ms, at_ms)
        self._last_at_ms = max(self._last_at_ms, at_ms)

    def add_late_values(self, count: int) -> None:
        """Count observations after the window of their unit; remove them for a negative count."""
        self._late += count

    def add_early_values(self, count: int) -> None:
        """Count observations before the delay of their unit; remove them for a negative count."""
        self._early += count

    def add_unexposed(self, count: int) -> None:
        """Count observations before any exposure; remove them for a negative count."""
        self._unexposed += count

    def add_assigned_units(self, offset: int, units: Mapping[int, int]) -> None:
        """Add units that were assigned, and count once they are exposed.

        Args:
            offset: Offset of the record.
            units: Number of units by variant; negative to remove them.
        """
        self._last_offset = max(self._last_offset, offset)
        self.sums.add_assigned_units(units)

    def cohort(self, cohort: Cohort) -> VariantSums:
        """Return the sums of a cohort, to which its units and values are also added."""
        sums = self._cohorts.get(cohort)
        if sums is None:
            sums = self._cohorts[cohort] = VariantSums(self.plan)
        return sums

    def slices(self, packed: bytes) -> list[VariantSums]:
        """Return the sums of the slices of a unit, to which it is also added.

        Args:
            packed: Values of the unit, as in its receipt.
        """
        plan = self.plan.slices
        if plan is None:
            return []
        return [self._slice(each) for each in plan.slices(packed)]

    def _slice(self, key: Slice) -> VariantSums:
        sums = self._slices.get(key)
        if sums is None:
            if self._slice_plan is None:
                self._slice_plan = self.plan.of_slices()
            sums = self._slices[key] = VariantSums(self._slice_plan)
        return sums

    def add_crossed(self, offset: int, count: int) -> None:
        """Count units that the record at `offset` puts into a second variant."""
        self._last_offset = max(self._last_offset, offset)
        self._crossed_units += count

    def add_events(self, events: int, *, is_full: bool) -> None:
        """Record the number of observations of a metric by a repeatedly observed unit.

        Args:
            events: That number.
            is_full: Whether further observations do not count.
        """
        self._most_events = max(self._most_events, events)
        self._full_units += is_full

    def note_heavy(self, unit: HeavyUnit) -> None:
        """Record the number of observations of a metric by a heavy unit."""
        self._heavy.note(unit)

    def void_heavy(self, assignment_id: str) -> None:
        """Record that a unit was voided, if it is a heavy one."""
        self._heavy.void(assignment_id, () if self.cell is None else self.cell.heavy)

    def freeze(self) -> Cell | None:
        """Return the cell with all additions; None without additions since the last one."""
        if self._last_offset < 0:
            return None
        experiment, source, partition = self._place
        variants = self.sums.freeze(_NO_VARIANTS if self.cell is None else self.cell.variants)
        self._excluded, self._offered = self.sums.excluded(), self.sums.offered()
        counts: Sequence[Any] = _new_counts(self)
        if self.cell is not None:
            counts = [
                merged(before, new)
                for merged, before, new in zip(_MERGED, _counts(self.cell), counts, strict=True)
            ]
        first_at_ms, last_at_ms, duplicates, *others = counts
        # Records without a time may come before the first event.
        last_at_ms = max(last_at_ms, 0)
        self.cell = _new_cell(
            experiment,
            source,
            partition,
            self._last_offset,
            min(first_at_ms, NO_EVENT_MS),
            last_at_ms,
            duplicates,
            variants,
            *others,
            self._frozen_cohorts(last_at_ms),
            add_counts({} if self.cell is None else self.cell.voids, self._voids),
            self._heavy.freeze(() if self.cell is None else self.cell.heavy),
            add_counts({} if self.cell is None else self.cell.outside, self._outside),
            self._frozen_slices(),
        )
        self._reset(self.plan)
        return self.cell

    def _reset(self, plan: Plan) -> None:
        self.sums = VariantSums(plan)
        self._last_offset = -1
        self._first_at_ms = _NEVER
        self._last_at_ms = -_NEVER
        self._duplicates = 0
        self._excluded = ()
        self._offered = ()
        self._unremembered = 0
        self._crossed_units = 0
        self._most_events = 0
        self._full_units = 0
        self._early = 0
        self._late = 0
        self._unexposed = 0
        self._voids = {}
        self._outside = {}
        self._heavy = HeavyNotes()
        self._cohorts = {}
        self._slices = {}

    def _frozen_slices(self) -> BySlice:
        """Return the slices of the newest cell with all that was added to them."""
        known: BySlice = {} if self.cell is None else self.cell.slices
        if not self._slices:
            return known
        new = {
            key: _frozen_slice(sums, known.get(key, _NO_SLICE))
            for key, sums in self._slices.items()
        }
        return dict(sorted({**known, **new}.items()))

    def _frozen_cohorts(self, now_ms: int) -> ByCohort[Mapping[int, VariantTally]]:
        """Return the cohorts of the newest cell with all that was added to them."""
        known = {} if self.cell is None else self.cell.cohorts
        if not known and not self._cohorts:
            return known
        new = {
            cohort: sums.freeze(known.get(cohort, _NO_VARIANTS))
            for cohort, sums in self._cohorts.items()
        }
        return cohorts_at(now_ms, {**known, **new}.items())


def _frozen_slice(sums: VariantSums, known: SliceTally) -> SliceTally:
    """Return a slice with all that was added to it."""
    return SliceTally(
        sums.freeze(known.variants),
        add_entries(known.excluded, sums.excluded()),
        add_entries(known.offered, sums.offered()),
    )
