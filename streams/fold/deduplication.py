"""Deduplication: which events have been counted, and the current value of every unit.

One dictionary entry suffices for a unit that was observed once, as most are: its key is derived
from (assignment, metric), its value holds the unit's total, the number of events after the first,
and the id of the first. A further event of the same unit gets a separate entry, and at most
`MAX_EVENTS` of them count, so no unit can fill the memory of the others. A unit with several events
of which some are neither 0 nor 1 has one more entry with their number: so its contribution is known
and can be removed again. A separate entry marks a unit as voided. The entry of a unit that was
assigned holds the variant of its first assignment; each further variant gets its own.

The entries are kept in a bounded memory that evicts the oldest ones: `streams.fold.window_memory`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum, IntEnum
from typing import Final, NamedTuple

from streams.fold.buckets import NO_DEADLINE, Bucket, deadline_of
from streams.fold.hashing import KEY_MASK
from streams.fold.window_memory import WindowMemory
from streams.model.errors import EventError
from streams.model.quantities import MICRO
from streams.tallies.plan import MAX_EVENTS

UNIT_TOTAL_LIMIT = 1 << 56
"""Bound of the absolute value of a unit, in micro-units: 7.2e10 units of its metric."""

MOST_ENTRIES = 2
"""Entries that an observation takes at most: a further non-binary one has an entry for its event,
and the unit one for their number."""

MAX_DELAY = 63
"""Largest delay class of an observation after its assignment."""

_EVENT_BITS = 60
_COUNT_BITS = 10
_COUNT_MASK = (1 << _COUNT_BITS) - 1
_TOTAL_SHIFT = _EVENT_BITS + _COUNT_BITS
_ONE_MORE = 1 << _EVENT_BITS
# 2**64 over the golden ratio: odd, so distinct assignments of one unit stay distinct.
_SPREAD = 0x9E3779B97F4A7C15
_HAS_VOIDS = 2  # flag that units were voided; the flag of the memory is 1
_VOIDED = 0x5B0F1DE7A3C1D91  # of the keys of the entries that say so, by assignment
_OTHERS = 0x3C6EF372FE94F82  # of those with the number of observations that are neither 0 nor 1
_ARRIVED = 0xA54FF53A5F1D36F  # of those with the number of observations by delay
_BINARIES = (0, MICRO)


def entry(value: int, event: int) -> int:
    """Return the entry of a unit with a single observation."""
    return value << _TOTAL_SHIFT | event


def entries_of(values: Iterable[int], events: Iterable[int]) -> list[int]:
    """Return the `entry` of each of many units."""
    return [value << _TOTAL_SHIFT | event for value, event in zip(values, events, strict=True)]


class Duplicate(Enum):
    """Result for an event that has been counted before."""

    SEEN = "seen"


SEEN: Final = Duplicate.SEEN


class AssignmentNovelty(IntEnum):
    """Result for an assignment."""

    DUPLICATE = 0
    """The event has been counted before."""
    NEW = 1
    """The event counts."""
    CROSSED = 2
    """The event counts, and its unit is now in a second variant."""


class ObservedUnit(NamedTuple):
    """Counted observations of one metric by one assignment.

    Attributes:
        total: Sum of the observations, in micro-units.
        observations: Number of observations.
        binary: Number of those that are 0 or 1.
    """

    total: int
    observations: int
    binary: int


class DeduplicationWindow(WindowMemory):
    """Memory of the counted events of one experiment in one partition.

    Args:
        experiment: The experiment as a 64-bit number.
        limit: Entries kept at most.

    Attributes:
        events: Number of observations of the unit and metric that `observe` last found to be
            repeated.
    """

    __slots__ = ("events",)

    def __init__(self, experiment: int, limit: int) -> None:
        super().__init__(experiment, limit)
        self.events = 0

    def observe(
        self, assigned_at_ms: int, window_s: int, unit: int, event: int, value: int, now_ms: int
    ) -> int | Duplicate | None:
        """Remember an observation of a unit, unless it is a duplicate.

        Args:
            assigned_at_ms: Time of the unit's assignment.
            window_s: Attribution window of the assignment; 0 for no limit.
            unit: Key of the unit and the metric.
            event: Id of the event; 0 for none, and then it cannot be a duplicate.
            value: The observation, in micro-units.
            now_ms: Lower bound of the broker's clock. An assignment with a later time evicts
                nothing.

        Returns:
            The unit's value before; None if it had none; `SEEN` for a duplicate.

        Raises:
            EventError: the bucket was evicted (`DEDUPLICATION_WINDOW_PASSED`), nothing older is
                left to evict (`DEDUPLICATION_WINDOW_FULL`), the unit has the maximum number of
                events (`TOO_MANY_EVENTS`), or its value would leave its bounds
                (`UNIT_TOTAL_OUT_OF_RANGE`). A `WindowFullError` if more memory would have helped.
        """
        deadline = deadline_of(assigned_at_ms, window_s)
        bucket = self._buckets.get(deadline)
        if bucket is None:
            bucket = self._open(deadline, min(assigned_at_ms, now_ms))
        entries = bucket.entries
        known = entries.get(unit)
        if known is None:
            if self._size >= self._limit:
                self._make_room(deadline)
            entries[unit] = bucket.changed[unit] = entry(value, event)
            self._size += 1
            return None
        further = unit ^ event
        if event and (known & KEY_MASK == event or further in entries):
            return SEEN
        events = (known >> _EVENT_BITS & _COUNT_MASK) + 2
        if events > MAX_EVENTS:
            raise EventError(
                "TOO_MANY_EVENTS",
                f"{MAX_EVENTS:,} observations of the metric count for one assignment, "
                "and this one has them",
                "assignmentId",
            )
        before = known >> _TOTAL_SHIFT
        if abs(before + value) > UNIT_TOTAL_LIMIT:
            raise EventError(
                "UNIT_TOTAL_OUT_OF_RANGE",
                f"the unit's total would be {before + value}, must be within +-2**56 micro-units",
                "value",
            )
        if event:
            if self._size >= self._limit:
                self._make_room(deadline)
            entries[further] = bucket.changed[further] = 0
            self._size += 1
        others = unit ^ _OTHERS
        # Before its second observation, the value of a unit is that of the first.
        is_second = not known >> _EVENT_BITS & _COUNT_MASK
        count = (is_second and before not in _BINARIES) + (value not in _BINARIES)
        if count:
            self._add(bucket, others, count)
        entries[unit] = bucket.changed[unit] = known + (value << _TOTAL_SHIFT) + _ONE_MORE
        self.events = events
        return before

    def add_arrival(self, assigned_at_ms: int, window_s: int, unit: int, delay: int) -> None:
        """Record the delay of an observation that `observe` has accepted.

        Args:
            assigned_at_ms, window_s, unit: As in `observe`.
            delay: Delay class, in 0..`MAX_DELAY`.
        """
        bucket = self._buckets[deadline_of(assigned_at_ms, window_s)]
        self._add(bucket, _arrived(unit, delay), 1)

    def void(self, assigned_at_ms: int, window_s: int, identity: int, now_ms: int) -> bool:
        """Record that an assignment was voided; return False if it was already.

        Args:
            assigned_at_ms, window_s, now_ms: As in `observe`.
            identity: Key of the assignment, as in the keys of units and metrics.

        Raises:
            EventError: as `observe`, except for its conditions on values.
        """
        deadline = deadline_of(assigned_at_ms, window_s)
        bucket = self._buckets.get(deadline)
        if bucket is None:
            bucket = self._open(deadline, min(assigned_at_ms, now_ms))
        key = (identity ^ _VOIDED) & KEY_MASK
        if key in bucket.entries:
            return False
        if self._size >= self._limit:
            self._make_room(deadline)
        bucket.entries[key] = bucket.changed[key] = 0
        self._size += 1
        if not self.has_voids:
            self.mark(_HAS_VOIDS, 1)
        return True

    @property
    def has_voids(self) -> bool:
        """Whether any assignment was voided."""
        return _HAS_VOIDS in self._marks.entries

    def is_void(self, deadline: int, identity: int) -> bool:
        """Return whether an assignment of the bucket with this deadline was voided."""
        bucket = self._buckets.get(deadline)
        return bucket is not None and (identity ^ _VOIDED) & KEY_MASK in bucket.entries

    def observed(self, assigned_at_ms: int, window_s: int, unit: int) -> ObservedUnit | None:
        """Return the counted observations of a unit; None if it has none.

        Args:
            assigned_at_ms, window_s, unit: As in `total`.
        """
        bucket = self._buckets.get(deadline_of(assigned_at_ms, window_s))
        known = None if bucket is None else bucket.entries.get(unit)
        if bucket is None or known is None:
            return None
        entries = bucket.entries
        total, observations = known >> _TOTAL_SHIFT, (known >> _EVENT_BITS & _COUNT_MASK) + 1
        others = (
            int(total not in _BINARIES) if observations == 1 else entries.get(unit ^ _OTHERS, 0)
        )
        return ObservedUnit(total, observations, observations - others)

    def arrivals(self, assigned_at_ms: int, window_s: int, unit: int) -> list[int]:
        """Return the number of observations of a unit by delay class.

        Args:
            assigned_at_ms, window_s, unit: As in `total`.
        """
        bucket = self._buckets.get(deadline_of(assigned_at_ms, window_s))
        entries = {} if bucket is None else bucket.entries
        return [entries.get(_arrived(unit, delay), 0) for delay in range(MAX_DELAY + 1)]

    def _add(self, bucket: Bucket, key: int, count: int) -> None:
        """Add to a count kept beside the entry of a unit, even if the memory is full."""
        known = bucket.entries.get(key)
        if known is None:
            self._size += 1
        bucket.entries[key] = bucket.changed[key] = (known or 0) + count

    def count(self, assigned_at_ms: int, window_s: int, unit: int) -> int:
        """Return the number of observations of a unit; the arguments are those of `total`."""
        bucket = self._buckets.get(deadline_of(assigned_at_ms, window_s))
        known = None if bucket is None else bucket.entries.get(unit)
        return 0 if known is None else (known >> _EVENT_BITS & _COUNT_MASK) + 1

    def total(self, assigned_at_ms: int, window_s: int, unit: int) -> int | None:
        """Return the current value of a unit, in micro-units; None without one.

        Args:
            assigned_at_ms: Time of the unit's assignment.
            window_s: Attribution window of the assignment; 0 for no limit.
            unit: Key of the unit and the metric.
        """
        bucket = self._buckets.get(deadline_of(assigned_at_ms, window_s))
        known = None if bucket is None else bucket.entries.get(unit)
        return None if known is None else known >> _TOTAL_SHIFT

    def known(self, deadline: int, units: Sequence[int]) -> Sequence[int]:
        """Return the places of units that are in an open bucket, or occur earlier in `units`."""
        entries = self._buckets[deadline].entries
        if len(set(units)) == len(units) and entries.keys().isdisjoint(units):
            return ()
        places: list[int] = []
        new: set[int] = set()
        for place, unit in enumerate(units):
            if unit in entries or unit in new:
                places.append(place)
            else:
                new.add(unit)
        return places

    def add(self, deadline: int, units: Sequence[int], entries: Sequence[int]) -> None:
        """Add the first observations of new units to a bucket with room."""
        bucket = self._buckets[deadline]
        new = dict(zip(units, entries, strict=True))
        bucket.entries.update(new)
        bucket.changed.update(new)
        self._size += len(new)

    def admit(self, unit: int, variant: int, n_variants: int) -> AssignmentNovelty:
        """Add an assignment without deadline, unless it is a duplicate.

        A unit counts once for every variant it was assigned to, regardless of the times of its
        receipts: it has a second receipt of the same variant only if the first could not be looked
        up, and then observations by either belong to the same unit.

        Args:
            unit: Key of the unit.
            variant: Index of the variant, in [0, 2**16).
            n_variants: Indices of one phase of the experiment. Larger ones are of another phase,
                and a unit may be in one of each phase.

        Raises:
            WindowFullError: no room is left (`DEDUPLICATION_WINDOW_FULL`).
        """
        bucket = self._buckets.get(NO_DEADLINE)
        if bucket is None:
            bucket = self._open(NO_DEADLINE, self.horizon)
        entries = bucket.entries
        further = (unit ^ (variant + 1) * _SPREAD) & KEY_MASK
        known = entries.get(unit)
        if (known is not None and known >> 1 == variant) or further in entries:
            return AssignmentNovelty.DUPLICATE
        if self._size >= self._limit:
            self._make_room(NO_DEADLINE)
        self._size += 1
        if known is None:
            entries[unit] = bucket.changed[unit] = variant << 1
            return AssignmentNovelty.NEW
        entries[further] = bucket.changed[further] = 0
        if known & 1 or max(known >> 1, variant) >= n_variants:
            return AssignmentNovelty.NEW
        entries[unit] = bucket.changed[unit] = known | 1
        return AssignmentNovelty.CROSSED


def _arrived(unit: int, delay: int) -> int:
    """Return the key of the number of observations of a unit with a delay class."""
    return (unit ^ _ARRIVED ^ (delay + 1) * _SPREAD) & KEY_MASK
