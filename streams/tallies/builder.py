"""A cell in the making: sums that grow with every event and become a cell once per batch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from operator import add, attrgetter
from types import MappingProxyType
from typing import Any, NamedTuple

from streams.model.dimensions import Slice
from streams.model.quantities import MICRO
from streams.model.vectors import Vector
from streams.model.voids import MAX_REASONS, OTHER
from streams.tallies.bins import Bins, bin_of
from streams.tallies.cell import (
    CELL_COUNTS,
    NO_EVENT_MS,
    VARIANT_FIELDS,
    BySlice,
    Cell,
    SliceTally,
    Source,
    VariantTally,
    add_counts,
    cohorts_at,
)
from streams.tallies.cohorts import ByCohort, Cohort
from streams.tallies.fields import Chance
from streams.tallies.freezing import (
    BINARY,
    CUBED,
    FURTHER,
    N_BIN_SUMS,
    N_PRODUCTS,
    N_SUMS,
    POSITIVE,
    SQUARED,
    TOTAL,
    UNITS,
    BinKey,
    Metric,
    MetricKey,
    ProductKey,
    bin_tallies,
    excluded_units,
    metric_tallies,
    offered_units,
    product_tallies,
    unit_sums,
)
from streams.tallies.heavy_units import MAX_HEAVY, HeavyKey, HeavyUnit, heaviest, noted
from streams.tallies.linear import add_entries
from streams.tallies.periods import PeriodSums, tick_of
from streams.tallies.plan import PLAIN, Plan
from streams.tallies.vector_sums import (
    Entries,
    gram_sums,
    grams,
    grams_by_variant,
    moment_sums,
    moments_by_metric,
    moments_of,
    overlap_covariates,
    overlap_moments,
)

_NEVER = 1 << 63
_NO_VARIANTS: Mapping[int, VariantTally] = MappingProxyType({})
_NOBODY = VariantTally()
_NO_SLICE = SliceTally()
_BINARIES = (0, MICRO)
_MERGED = [*CELL_COUNTS.values()]
_counts = attrgetter(*CELL_COUNTS)
_new_counts = attrgetter(*[f"_{name}" for name in CELL_COUNTS])
_NOTHING: Mapping[tuple[Chance, Vector], int] = MappingProxyType({})


MAX_OUTSIDE = 32
"""Reasons for which requests took no part, at most; there are fewer."""

_MOST_NOTED = 4 * MAX_HEAVY


class UnitValue(NamedTuple):
    """Contribution of a unit to a metric.

    Attributes:
        total: Its value in micro-units, between floor and cap.
        observations: Observations that it is the sum of, at least one.
        binary: Those that are 0 or 1.
    """

    total: int
    observations: int
    binary: int


class CellBuilder:
    """Sums over the events since the last cell of one experiment and partition.

    They are kept by chance, and units with features by context (`streams.tallies.freezing`).

    Args:
        experiment: The experiment as a 64-bit number.
        source, partition: Where the events come from.
        cell: The newest cell, from which to go on; None if there is none.
        plan: Says of which metrics sums by pair are kept, and among how many variants.

    Attributes:
        plan: As given; to be set before the first event is added.
        folded: Offset up to which events were in `cell` when it was handed over; -1 without one.
        cell: The newest cell; None before the first `freeze`.
    """

    __slots__ = (
        "_assigned",
        "_bins",
        "_cohorts",
        "_contexts",
        "_conversions",
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
        "_metrics",
        "_most_events",
        "_offered",
        "_ones",
        "_outside",
        "_periods",
        "_place",
        "_products",
        "_rewards",
        "_slice_plan",
        "_slices",
        "_unexposed",
        "_units",
        "_unremembered",
        "_voided",
        "_voids",
        "_weighted_contexts",
        "_weighted_rewards",
        "cell",
        "folded",
        "plan",
    )

    _last_offset: int
    _first_at_ms: int
    _last_at_ms: int
    _excluded: tuple[int, ...]
    _offered: tuple[int, ...]
    _units: dict[Chance, int]
    _metrics: dict[MetricKey, list[int]]
    _ones: dict[MetricKey, int]  # new units whose first value is 1, as most have
    _contexts: dict[tuple[int, Vector], int]
    _weighted_contexts: dict[tuple[Chance, Vector], int]
    _rewards: dict[tuple[int, str, Vector], int]
    _conversions: dict[tuple[int, str, Vector], int]
    _weighted_rewards: dict[tuple[MetricKey, Vector], int]
    _crossed_units: int
    _most_events: int
    _full_units: int
    _unremembered: int
    _products: dict[ProductKey, list[int]]
    _periods: PeriodSums
    _early: int
    _late: int
    _voids: dict[str, int]
    _heavy: dict[HeavyKey, HeavyUnit]
    _outside: dict[str, int]
    _voided: set[str]
    _bins: dict[BinKey, list[int]]
    _assigned: dict[int, int]
    _unexposed: int
    _cohorts: dict[Cohort, CellBuilder]
    _slices: dict[Slice, CellBuilder]

    def __init__(
        self,
        experiment: int,
        source: Source,
        partition: int,
        cell: Cell | None = None,
        plan: Plan = PLAIN,
    ) -> None:
        self.plan = plan
        self._place = (experiment, source, partition)
        self._slice_plan: Plan | None = None
        self.cell = cell
        self.folded = -1 if cell is None else cell.last_offset
        self._reset()

    def add_units(
        self,
        offset: int,
        units: Mapping[Chance, int],
        first_at_ms: int,
        last_at_ms: int,
        contexts: Mapping[tuple[Chance, Vector], int] = _NOTHING,
    ) -> None:
        """Add units of the record at `offset`.

        Args:
            offset: Offset of the record.
            units: How many units, by chance.
            first_at_ms, last_at_ms: Times of the oldest and the newest of their assignments.
            contexts: How many of them have features, by chance and vector.
        """
        self._last_offset = max(self._last_offset, offset)
        known = self._units
        for key, count in units.items():
            known[key] = known.get(key, 0) + count
        for context, count in contexts.items():
            self.add_contexts((context,), count)
        self._first_at_ms = min(self._first_at_ms, first_at_ms)
        self._last_at_ms = max(self._last_at_ms, last_at_ms)

    def add_contexts(self, units: Iterable[tuple[Chance, Vector]], count: int = 1) -> None:
        """Add the features of units that are added.

        Args:
            units: Chance and vector of each of those that have features.
            count: How many units each of them stands for.
        """
        if self.plan.weighted_covariates:
            weighted = self._weighted_contexts
            for unit in units:
                weighted[unit] = weighted.get(unit, 0) + count
            return
        contexts = self._contexts
        for chance, vector in units:
            context = chance[0], vector
            contexts[context] = contexts.get(context, 0) + count

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
        self._last_offset = max(
            self._last_offset, offset
        )  # units counted together may be of later records
        # For every event: a call of min or max costs several times as much.
        if at_ms < self._first_at_ms:  # noqa: PLR1730
            self._first_at_ms = at_ms
        if at_ms > self._last_at_ms:  # noqa: PLR1730
            self._last_at_ms = at_ms
        if observed is None:
            observed = value
        if before is None and value == observed == MICRO and vector is None:
            self._ones[key] = self._ones.get(key, 0) + 1
            return
        sums = self._metrics.get(key)
        if sums is None:
            sums = self._metrics[key] = [0] * N_SUMS
        if before is None:
            sums[UNITS] += 1
            square = value * value
            sums[SQUARED] += square
            sums[CUBED] += square * value
            converted = int(value > 0)
        else:
            sums[FURTHER] += 1
            after = before + value
            square, known_square = after * after, before * before
            sums[SQUARED] += square - known_square
            sums[CUBED] += square * after - known_square * before
            converted = (after > 0) - (before > 0)
        if converted:
            sums[POSITIVE] += converted
        sums[TOTAL] += value
        if observed == MICRO or not observed:
            sums[BINARY] += 1
        if vector is not None:
            variant, metric = key[0], key[-1]
            reward = variant, metric, vector
            self._conversions[reward] = self._conversions.get(reward, 0) + converted
            if self.plan.weighted_covariates:
                place = key, vector
                self._weighted_rewards[place] = self._weighted_rewards.get(place, 0) + value
            else:
                self._rewards[reward] = self._rewards.get(reward, 0) + value

    def add_product(self, key: ProductKey, changes: Sequence[int]) -> None:
        """Add to the products of a pair what the observation that was just added changes of them.

        Args:
            key: Chance and pair.
            changes: By how much x * y of the unit has changed, in micro-units squared, and x**2 * y
                and x * y**2, in micro-units cubed.
        """
        known = self._products.get(key) or [0] * N_PRODUCTS
        self._products[key] = [*map(add, known, changes)]

    def add_binned(self, key: MetricKey, before: int | None, value: int, bins: Bins) -> None:
        """Add to the bins of a metric the observation that was just added.

        Args:
            key: Chance and metric.
            before, value: As in `add_value`.
            bins: What is kept of the metric.
        """
        if before is not None:
            self.add_to_bin(key, -1, before, bins)
        self.add_to_bin(key, 1, (before or 0) + value, bins)

    def add_to_bin(self, key: MetricKey, count: int, value: int, bins: Bins) -> None:
        """Add units of a value to the bins of a metric; of a negative count, take them out.

        Args:
            key: Chance and metric.
            count: How many units.
            value: The value of each, in micro-units.
            bins: What is kept of the metric.
        """
        place = (*key, bin_of(value, bins.precision))
        sums = self._bins.get(place)
        if sums is None:
            sums = self._bins[place] = [0] * N_BIN_SUMS
        sums[0] += count
        if bins.has_values:
            square = value * value
            sums[1] += count * value
            sums[2] += count * square
            sums[3] += count * square * value

    def add_unit_value(
        self, key: MetricKey, value: UnitValue, count: int, vector: Vector | None = None
    ) -> None:
        """Add what units count for a metric; of a negative count, take them out again.

        The offset of the record is noted by another method.

        Args:
            key: Chance and metric.
            value: The value of each of the units.
            count: How many units.
            vector: Their features; None if they have none.
        """
        total = value.total
        sums = self._metrics.get(key)
        if sums is None:
            sums = self._metrics[key] = [0] * N_SUMS
        square = total * total
        converted = count if total > 0 else 0
        sums[UNITS] += count
        sums[FURTHER] += count * (value.observations - 1)
        sums[TOTAL] += count * total
        sums[SQUARED] += count * square
        sums[CUBED] += count * square * total
        sums[POSITIVE] += converted
        sums[BINARY] += count * value.binary
        if vector is not None:
            reward = key[0], key[-1], vector
            self._conversions[reward] = self._conversions.get(reward, 0) + converted
            if self.plan.weighted_covariates:
                place = key, vector
                self._weighted_rewards[place] = self._weighted_rewards.get(place, 0) + count * total
            else:
                self._rewards[reward] = self._rewards.get(reward, 0) + count * total

    def add_metric(self, key: MetricKey) -> None:
        """Have a metric in the cell, also while no observation of it counts."""
        self._metrics.setdefault(key, [0] * N_SUMS)

    def add_assigned(self, counts: Mapping[tuple[int, int], int]) -> None:
        """Add to the periods the units that were just added.

        Args:
            counts: How many units, by variant and `tick_of` their assignment.
        """
        self._periods.add_units(counts)

    def add_period_value(
        self, variant: int, before: int | None, value: int, assigned_at_ms: int, at_ms: int
    ) -> None:
        """Add to the periods the observation that was just added.

        Args:
            variant: Index of the variant.
            before, value, at_ms: As in `add_value`.
            assigned_at_ms: Time of the assignment.
        """
        key = variant, tick_of(assigned_at_ms)
        self._periods.add_value(key, before, value, at_ms - assigned_at_ms)

    def add_period_unit(
        self, variant: int, total: int, count: int, begun_at_ms: int, arrivals: Sequence[int]
    ) -> None:
        """Add what units count to the periods; of a negative count, take them out again.

        Args:
            variant: Index of the variant.
            total: The value of each of the units, in micro-units.
            count: How many units.
            begun_at_ms: Time from which they count.
            arrivals: Observations of each, by `delay_bucket`.
        """
        self._periods.add_unit_value((variant, tick_of(begun_at_ms)), total, count, arrivals)

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
        # All of it before any of it is added: what fails must leave nothing behind.
        first_at_ms, last_at_ms = min(times_ms), max(times_ms)
        ones: dict[MetricKey, int] = {}
        added: dict[MetricKey, list[int]] = {}
        for key, value in zip(keys, values, strict=True):
            if value == MICRO:  # most are: one number stands for all sums
                ones[key] = ones.get(key, 0) + 1
                continue
            sums = added.get(key)
            if sums is None:
                sums = added[key] = [0] * N_SUMS
            sums[UNITS] += 1
            sums[TOTAL] += value
            square = value * value
            sums[SQUARED] += square
            sums[CUBED] += square * value
            if value > 0:
                sums[POSITIVE] += 1
            elif not value:
                sums[BINARY] += 1
        for key, value, each in zip(keys, values, observed or (), strict=False):
            if each != value and (differs := (each in _BINARIES) - (value in _BINARIES)):
                added.setdefault(key, [0] * N_SUMS)[BINARY] += differs
        self._last_offset = max(self._last_offset, offset)
        if self._ones:
            for key, count in ones.items():
                self._ones[key] = self._ones.get(key, 0) + count
        else:
            self._ones = ones
        known = self._metrics
        for key, sums in added.items():
            before = known.get(key)
            known[key] = sums if before is None else [*map(add, before, sums)]
        self._first_at_ms = min(self._first_at_ms, first_at_ms)
        self._last_at_ms = max(self._last_at_ms, last_at_ms)

    def remove_unit(
        self, offset: int, chance: Chance, assigned_at_ms: int, vector: Vector | None = None
    ) -> None:
        """Take out a unit that was assigned, for the record at `offset`.

        Args:
            offset: Offset of the record.
            chance: Chance of the unit.
            assigned_at_ms: Time of its assignment.
            vector: Features of it, where they were counted; None if it has none.
        """
        contexts = {} if vector is None else {(chance, vector): -1}
        self.add_units(
            max(offset, self._last_offset), {chance: -1}, assigned_at_ms, assigned_at_ms, contexts
        )

    def add_void(self, reason: str, *, n_full: int) -> None:
        """Count a unit that was voided.

        Args:
            reason: Why.
            n_full: In how many metrics no further observations of it would have counted.
        """
        known = self._voids.keys() | (set() if self.cell is None else self.cell.voids.keys())
        if reason not in known and len(known) >= MAX_REASONS:
            reason = OTHER
        self._voids[reason] = self._voids.get(reason, 0) + 1
        self._full_units -= n_full

    def add_outside(self, offset: int, reason: str, requests: int) -> None:
        """Count requests that took no part, of the record at `offset`; they move no clock."""
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
        """Take note of an event of the record at `offset`; it moves the time of the cell."""
        self._last_offset = max(self._last_offset, offset)
        self._first_at_ms = min(self._first_at_ms, at_ms)
        self._last_at_ms = max(self._last_at_ms, at_ms)

    def add_late_values(self, count: int) -> None:
        """Count observations after the window of their unit; of a negative count, take them out."""
        self._late += count

    def add_early_values(self, count: int) -> None:
        """Count observations before the delay of their unit; of a negative count, take them out."""
        self._early += count

    def add_unexposed(self, count: int) -> None:
        """Count observations before any exposure; of a negative count, take them out again."""
        self._unexposed += count

    def add_assigned_units(self, offset: int, units: Mapping[int, int]) -> None:
        """Add units that were assigned, and count once they are exposed.

        Args:
            offset: Offset of the record.
            units: How many units, by variant; of a negative number, they are taken out.
        """
        self._last_offset = max(self._last_offset, offset)
        for variant, count in units.items():
            self._assigned[variant] = self._assigned.get(variant, 0) + count

    def cohort(self, cohort: Cohort) -> CellBuilder:
        """Return the sums of a cohort; units and values are added to them as to those of all."""
        sums = self._cohorts.get(cohort)
        if sums is None:
            sums = self._cohorts[cohort] = CellBuilder(*self._place, plan=self.plan)
        return sums

    def slices(self, packed: bytes) -> list[CellBuilder]:
        """Return the sums of the slices of a unit; it is added to them as to those of all.

        Args:
            packed: Values of the unit, as in its receipt.
        """
        plan = self.plan.slices
        if plan is None:
            return []
        return [self._slice(each) for each in plan.slices(packed)]

    def _slice(self, key: Slice) -> CellBuilder:
        sums = self._slices.get(key)
        if sums is None:
            if self._slice_plan is None:
                self._slice_plan = self.plan.of_slices()
            sums = self._slices[key] = CellBuilder(*self._place, plan=self._slice_plan)
        return sums

    def add_crossed(self, offset: int, count: int) -> None:
        """Count units that the record at `offset` has in a second variant."""
        self._last_offset = max(self._last_offset, offset)
        self._crossed_units += count

    def add_events(self, events: int, *, is_full: bool) -> None:
        """Take note of how many observations of a metric the unit just observed again has.

        Args:
            events: So many.
            is_full: Whether no further ones count.
        """
        self._most_events = max(self._most_events, events)
        self._full_units += is_full

    def note_heavy(self, unit: HeavyUnit) -> None:
        """Take note of how many observations of a metric a unit has that has many."""
        self._heavy[unit.key] = unit
        if len(self._heavy) > _MOST_NOTED:
            self._heavy = {each.key: each for each in heaviest(self._heavy.values())}

    def void_heavy(self, assignment_id: str) -> None:
        """Take note that a unit was voided, if it is one of those with many observations."""
        known = () if self.cell is None else self.cell.heavy
        if any(each.assignment_id == assignment_id for each in (*known, *self._heavy.values())):
            self._voided.add(assignment_id)

    def freeze(self) -> Cell | None:
        """Return the cell with all that was added; None if nothing was added since the last one."""
        if self._last_offset < 0:
            return None
        experiment, source, partition = self._place
        variants = self._variants(_NO_VARIANTS if self.cell is None else self.cell.variants)
        self._excluded = excluded_units(self._units, self.plan.n_variants)
        self._offered = offered_units(self._units, self.plan.n_variants)
        counts: Sequence[int] = _new_counts(self)
        if self.cell is not None:
            counts = [
                merged(before, new)
                for merged, before, new in zip(_MERGED, _counts(self.cell), counts, strict=True)
            ]
        named: dict[str, Any] = dict(zip(CELL_COUNTS, counts, strict=True))
        # What has no time of its own may come before the first event.
        named["first_at_ms"] = min(named["first_at_ms"], NO_EVENT_MS)
        named["last_at_ms"] = max(named["last_at_ms"], 0)
        cohorts = self._frozen_cohorts(named["last_at_ms"])
        heavy = () if self.cell is None else self.cell.heavy
        if self._heavy or self._voided:
            heavy = noted(heavy, self._heavy, self._voided)
        self.cell = Cell(
            experiment,
            source,
            partition,
            self._last_offset,
            variants=variants,
            cohorts=cohorts,
            voids=add_counts({} if self.cell is None else self.cell.voids, self._voids),
            heavy=heavy,
            outside=add_counts({} if self.cell is None else self.cell.outside, self._outside),
            slices=self._frozen_slices(),
            **named,
        )
        self._reset()
        return self.cell

    def _reset(self) -> None:
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
        self._units = {}
        self._metrics = {}
        self._ones = {}
        self._contexts = {}
        self._weighted_contexts = {}
        self._rewards = {}
        self._conversions = {}
        self._weighted_rewards = {}
        self._products = {}
        self._periods = PeriodSums()
        self._early = 0
        self._late = 0
        self._voids = {}
        self._heavy = {}
        self._outside = {}
        self._voided = set()
        self._bins = {}
        self._assigned = {}
        self._unexposed = 0
        self._cohorts = {}
        self._slices = {}

    def _frozen_slices(self) -> BySlice:
        """Return the slices of the newest cell with all that was added to them."""
        known: BySlice = {} if self.cell is None else self.cell.slices
        if not self._slices:
            return known
        new = {
            key: sums._frozen_slice(known.get(key, _NO_SLICE))  # noqa: SLF001 - of its own class
            for key, sums in self._slices.items()
        }
        return dict(sorted({**known, **new}.items()))

    def _frozen_slice(self, known: SliceTally) -> SliceTally:
        n_variants = self.plan.n_variants
        return SliceTally(
            self._variants(known.variants),
            add_entries(known.excluded, excluded_units(self._units, n_variants)),
            add_entries(known.offered, offered_units(self._units, n_variants)),
        )

    def _frozen_cohorts(self, now_ms: int) -> ByCohort[Mapping[int, VariantTally]]:
        """Return the cohorts of the newest cell with all that was added to them."""
        known = {} if self.cell is None else self.cell.cohorts
        if not known and not self._cohorts:
            return known
        new = {
            cohort: sums._variants(known.get(cohort, _NO_VARIANTS))  # noqa: SLF001 - of its own class
            for cohort, sums in self._cohorts.items()
        }
        return cohorts_at(now_ms, {**known, **new}.items())

    def _variants(self, known: Mapping[int, VariantTally]) -> dict[int, VariantTally]:
        """Return tallies of variants with all that was added to them."""
        plan = self.plan
        units = unit_sums(self._units, known, plan)
        covariates: Mapping[int, tuple[Entries, Entries]] = {}
        by_pair: Mapping[Metric, Entries] = {}
        if plan.weighted_covariates:
            by_chance = gram_sums(self._weighted_contexts)
            by_key = moment_sums(self._weighted_rewards)
            matrices = grams(grams_by_variant(by_chance), known)
            covariates = overlap_covariates(by_chance, known, plan)
            rewards, by_pair = moments_by_metric(by_key), overlap_moments(by_key, plan)
        else:
            matrices, rewards = grams(gram_sums(self._contexts), known), moments_of(self._rewards)
        moments = rewards, moments_of(self._conversions)
        metrics = metric_tallies(self._metrics, self._ones, *moments, by_pair, known, plan)
        products = product_tallies(self._products, known, plan)
        bins = bin_tallies(self._bins, known, plan)
        periods = self._periods.freeze({variant: old.periods for variant, old in known.items()})
        moved = {
            variant
            for variant, old in known.items()
            if old.periods and periods[variant] != old.periods
        }
        variants = dict(known)
        for variant in units.keys() | metrics.keys() | moved | self._assigned.keys():
            old = known.get(variant, _NOBODY)
            variants[variant] = VARIANT_FIELDS.new(
                *(units.get(variant) or VARIANT_FIELDS.values(old)),
                matrices.get(variant, old.gram),
                *covariates.get(variant, (old.overlap_features, old.overlap_gram)),
                dict(sorted({**old.metrics, **metrics.get(variant, {})}.items())),
                products.get(variant, old.products),
                periods.get(variant, old.periods),
                bins.get(variant, old.bins),
                old.assigned + self._assigned.get(variant, 0),
            )
        return dict(sorted(variants.items()))
