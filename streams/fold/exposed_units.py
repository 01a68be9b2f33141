"""Units that count from their first exposure, independent of the order of their events.

A unit counts from its earliest exposure, and an observation counts if it is not earlier and within
the window from there. Both depend only on the events of the unit, not on their order in the log:
each observation is stored with its time, even before an exposure. An event that changes the
contribution of the unit removes the old one from the cell and adds the new one. The attribution
window bounds both steps: from the assignment to an exposure, and from the first exposure to an
observation. So the entries of a unit are kept for twice as long.

The key of the receipt and `$exposure` holds the time of the first exposure plus 1, or 0 before it;
the key of the receipt and a metric holds the entry of `DeduplicationWindow.observe`; and keys
derived from that one hold the time and value of each observation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from streams.experiments.exposure import WINDOWS_BY_EXPOSURE
from streams.fold.deduplication import SEEN
from streams.fold.hashing import KEY_MASK, hash_of
from streams.fold.measuring import Measurement
from streams.fold.metric_slots import check_slot, take_slot
from streams.fold.partition import Ledger
from streams.fold.slices import add_assigned_to_slices, add_to_slices
from streams.model.events import EXPOSURE
from streams.model.vectors import Vector
from streams.tallies.builder import CellBuilder
from streams.tallies.cohorts import Cohort
from streams.tallies.fields import Chance
from streams.tallies.heavy_units import HEAVY_FROM, HeavyUnit
from streams.tallies.periods import tick_of
from streams.tallies.plan import ALWAYS, MAX_EVENTS
from streams.tallies.variant_sums import UnitValue

ENTRIES = 4
"""Entries of an observation at most: unit, value, event, and that the unit is known."""

_EXPOSURE_HASH = hash_of(EXPOSURE)
_SPREAD = 0xD1342543DE82EF95  # odd, so that the keys of a unit's observations are distinct
_TIME_SHIFT = 64
_VALUE_OFFSET = 1 << 63
_VALUE_MASK = (1 << _TIME_SHIFT) - 1


class ReceiptOfUnit(NamedTuple):
    """Content of the receipt of an event, and the position of the event in the log.

    Attributes:
        offset: Offset of its record.
        now_ms: Lower bound of the broker's clock.
        chance: Chance of the unit.
        identity: Key of the receipt.
        assigned_at_ms, window_s: Of the receipt.
        vector: Features of the unit; None if it has none.
        unit: Unit hash.
        assignment_id: Its text.
        dimensions: Its values in the dimensions.
    """

    offset: int
    now_ms: int
    chance: Chance
    identity: int
    assigned_at_ms: int
    window_s: int
    vector: Vector | None
    unit: int = 0
    assignment_id: Callable[[], str] = str
    dimensions: bytes = b""

    @property
    def kept_s(self) -> int:
        """Seconds for which its entries are kept; 0 for no limit."""
        return WINDOWS_BY_EXPOSURE * self.window_s

    def heavy(self, metric: str, events: int) -> HeavyUnit:
        """Return it as a unit with many observations of a metric."""
        return HeavyUnit(self.assignment_id(), metric, self.unit, events)

    def key(self, metric_hash: int) -> int:
        """Return the key of the unit and a metric."""
        return (self.identity ^ metric_hash) & KEY_MASK


class _Reading(NamedTuple):
    """Contribution of the observations of one metric of a unit.

    Attributes:
        value: The value of the unit; None if no observation counts.
        delays_ms: Time since the first exposure of each observation that counts.
        late: Number of observations after their window.
        unexposed: Number of observations without an earlier exposure.
        early: Number of observations before their delay.
    """

    value: UnitValue | None
    delays_ms: tuple[int, ...] = ()
    late: int = 0
    unexposed: int = 0
    early: int = 0


@dataclass(frozen=True, slots=True)
class ExposedUnit:
    """A unit of an experiment that counts by exposure.

    Attributes:
        ledger: Of the experiment, to be changed.
        receipt: Of the unit, and of the event.
    """

    ledger: Ledger
    receipt: ReceiptOfUnit

    def expose(self, at_ms: int) -> bool:
        """Add an exposure; return whether it is the earliest so far: others have no effect.

        Raises:
            EventError: it cannot be stored, as in `DeduplicationWindow.observe`.
        """
        builder, offset = self.ledger.builder, self.receipt.offset
        known = self._kept(self._exposure_key)
        before = _exposed_at(known)
        is_first = before is None or at_ms < before
        readings: list[tuple[str, _Reading, _Reading]] = []
        if is_first:
            self._keep(self._exposure_key, exposed(at_ms))
        if offset <= builder.folded:
            return is_first
        builder.add_event(offset, at_ms)
        if not is_first:
            return False
        if known is not None:
            for name, metric_hash in self.ledger.metric_hashes.items():
                observed = self._observations(metric_hash)
                if observed:
                    readings.append(
                        (
                            name,
                            self._read(name, observed, before),
                            self._read(name, observed, at_ms),
                        )
                    )
        if before is not None:
            self._add_unit(-1, before)
        self._add_unit(1, at_ms)
        for name, old, new in readings:
            self._put(name, old, -1, before)
            self._put(name, new, 1, at_ms)
        self._put_products({name: old for name, old, _ in readings}, -1, before)
        self._put_products({name: new for name, _, new in readings}, 1, at_ms)
        return True

    def observe(self, name: str, value: int, event: int, at_ms: int) -> bool:
        """Add an observation; return whether it is new.

        Args:
            name: The metric.
            value: Micro-units.
            event: Hash of the event id; 0 for none.
            at_ms: Time of the observation.

        Raises:
            EventError: it is refused, as in `metric_slots.check_slot`, `Measurement.check` and
                `DeduplicationWindow.observe`.
        """
        ledger, receipt = self.ledger, self.receipt
        builder, window, offset = ledger.builder, ledger.window, receipt.offset
        is_new_metric = name not in ledger.metric_hashes
        if is_new_metric:
            check_slot(ledger, name, receipt.identity)
        self._measurement.check(name, value)
        metric_hash = hash_of(name) if is_new_metric else ledger.metric_hashes[name]
        key = receipt.key(metric_hash)
        window.reserve(receipt.assigned_at_ms, receipt.kept_s, ENTRIES)
        known = window.observe(
            receipt.assigned_at_ms, receipt.kept_s, key, event, value, receipt.now_ms
        )
        if known is SEEN:
            if offset > builder.folded:
                builder.add_duplicate(offset)
            return False
        if is_new_metric:
            take_slot(ledger, name, receipt.identity)
        place = 0 if known is None else window.events - 1
        self._keep(_place_of(key, place), at_ms << _TIME_SHIFT | value + _VALUE_OFFSET)
        exposed_at_ms = self._exposed_or_noted()
        if offset <= builder.folded:
            return True
        builder.add_event(offset, at_ms)
        # The metric has a slot from now on; a restart derives it from the cell.
        builder.sums.add_metric((*receipt.chance, name))
        if known is not None:
            builder.add_events(place + 1, is_full=place + 1 == MAX_EVENTS)
            if place + 1 >= HEAVY_FROM:
                builder.note_heavy(receipt.heavy(name, place + 1))
        observed = self._observations(metric_hash)
        old = self._read(name, observed[:-1], exposed_at_ms)
        new = self._read(name, observed, exposed_at_ms)
        self._put(name, old, -1, exposed_at_ms)
        self._put(name, new, 1, exposed_at_ms)
        others = {
            partner: self._read(partner, found, exposed_at_ms)
            for partner, partner_hash in self._measurement.partners_of(name)
            if (found := self._observations(partner_hash))
        }
        if others:
            self._put_products({**others, name: old}, -1, exposed_at_ms, name)
            self._put_products({**others, name: new}, 1, exposed_at_ms, name)
        return True

    def take_out(self) -> int:
        """Remove the unit and its assignment from all counts.

        Returns:
            Number of metrics for which it had reached the limit of observations.
        """
        builder, receipt = self.ledger.builder, self.receipt
        exposed_at_ms = _exposed_at(self._kept(self._exposure_key))
        variant = receipt.chance[0]
        builder.add_assigned_units(receipt.offset, {variant: -1})
        if self._measurement.has_slices:
            add_assigned_to_slices(builder, [(variant, receipt.dimensions)], -1)
        if exposed_at_ms is not None:
            self._add_unit(-1, exposed_at_ms)
        readings: dict[str, _Reading] = {}
        n_full = 0
        for name, metric_hash in self.ledger.metric_hashes.items():
            observed = self._observations(metric_hash)
            if observed:
                readings[name] = self._read(name, observed, exposed_at_ms)
                self._put(name, readings[name], -1, exposed_at_ms)
                n_full += len(observed) == MAX_EVENTS
        self._put_products(readings, -1, exposed_at_ms)
        return n_full

    @property
    def _measurement(self) -> Measurement:
        measurement = self.ledger.measurement
        assert measurement is not None  # noqa: S101 - a plan that counts by exposure is not plain
        return measurement

    @property
    def _exposure_key(self) -> int:
        return self.receipt.key(_EXPOSURE_HASH)

    def _exposed_or_noted(self) -> int | None:
        """Return when the unit was first exposed; add the unit if it is new."""
        known = self._kept(self._exposure_key)
        if known is None:
            self._keep(self._exposure_key, 0)
        return _exposed_at(known)

    def _kept(self, key: int) -> int | None:
        found = self.receipt
        return self.ledger.window.kept(found.assigned_at_ms, found.kept_s, key)

    def _keep(self, key: int, value: int) -> None:
        found = self.receipt
        self.ledger.window.keep(found.assigned_at_ms, found.kept_s, key, value, found.now_ms)

    def _observations(self, metric_hash: int) -> list[tuple[int, int]]:
        """Return time and value of the observations of a metric, in the order of the log."""
        found = self.receipt
        key = found.key(metric_hash)
        count = self.ledger.window.count(found.assigned_at_ms, found.kept_s, key)
        kept = (self._kept(_place_of(key, place)) for place in range(count))
        return [
            (each >> _TIME_SHIFT, (each & _VALUE_MASK) - _VALUE_OFFSET)
            for each in kept
            if each is not None
        ]

    def _read(
        self, name: str, observed: Sequence[tuple[int, int]], exposed_at_ms: int | None
    ) -> _Reading:
        """Return the contribution of observations of a unit first exposed at a given time."""
        if exposed_at_ms is None:
            return _Reading(None, unexposed=len(observed))
        first_ms, last_ms = self._measurement.spans.get(name, ALWAYS)
        last_ms = min(last_ms, 1000 * self.receipt.window_s or last_ms)
        ages = [(at_ms - exposed_at_ms, value) for at_ms, value in observed]
        unexposed = sum(age_ms < 0 for age_ms, _ in ages)
        early = sum(0 <= age_ms < first_ms for age_ms, _ in ages)
        inside = [each for each in ages if first_ms <= each[0] <= last_ms]
        late = len(observed) - unexposed - early - len(inside)
        value = self._measurement.unit_value(name, [value for _, value in inside])
        return _Reading(value, tuple(age_ms for age_ms, _ in inside), late, unexposed, early)

    def _add_unit(self, count: int, at_ms: int) -> None:
        """Add the unit as exposed at a time; remove it for a negative count."""
        builder, plan = self.ledger.builder, self.ledger.plan
        assert plan is not None  # noqa: S101 - as above
        offset, chance, vector = (
            self.receipt.offset,
            self.receipt.chance,
            self.receipt.vector,
        )
        variant = chance[0]
        contexts = {} if vector is None else {(chance, vector): count}
        builder.add_units(offset, {chance: count}, at_ms, at_ms, contexts)
        if plan.slices is not None:
            add_to_slices(builder, [(chance, self.receipt.dimensions)], count)
        if plan.by_period is not None and variant < plan.by_period.n_variants:
            builder.sums.add_assigned({(variant, tick_of(at_ms)): count})
        contexts = contexts if plan.has_covariates else {}
        for window_s in set(plan.windows.values()):
            cohort = builder.cohort(Cohort.of(window_s, at_ms))
            cohort.add_units({chance: count}, contexts)

    def _put(self, name: str, reading: _Reading, count: int, exposed_at_ms: int | None) -> None:
        """Add the contribution of the unit to a metric; remove it for a negative count."""
        builder, receipt = self.ledger.builder, self.receipt
        builder.add_late_values(count * reading.late)
        builder.add_early_values(count * reading.early)
        builder.add_unexposed(count * reading.unexposed)
        if reading.value is None or exposed_at_ms is None:
            return
        self._measurement.put(
            builder,
            (*receipt.chance, name),
            reading.value,
            count,
            exposed_at_ms,
            reading.delays_ms,
            receipt.vector,
            receipt.dimensions,
        )

    def _put_products(
        self,
        readings: Mapping[str, _Reading],
        count: int,
        exposed_at_ms: int | None,
        name: str | None = None,
    ) -> None:
        """Add the products of its contributions to pairs of metrics, like `_put`.

        Args:
            readings: By metric.
            count, exposed_at_ms: As in `_put`.
            name: Only pairs with this metric; None for all.
        """
        values = {
            metric: reading.value.total
            for metric, reading in readings.items()
            if reading.value is not None
        }
        if exposed_at_ms is not None and len(values) > 1:
            builder: CellBuilder = self.ledger.builder
            chance, dimensions = self.receipt.chance, self.receipt.dimensions
            self._measurement.put_products(
                builder, chance, values, count, exposed_at_ms, name, dimensions
            )


def exposed(at_ms: int) -> int:
    """Return the `$exposure` entry of a unit that was exposed at a given time."""
    return at_ms + 1


def _exposed_at(kept: int | None) -> int | None:
    """Return the first exposure of a unit from its entry; None without one."""
    return kept - 1 if kept else None


def _place_of(key: int, place: int) -> int:
    """Return the key of an observation from that of its unit and metric and its index."""
    return (key ^ (place + 1) * _SPREAD) & KEY_MASK
