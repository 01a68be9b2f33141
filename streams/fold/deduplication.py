"""Which events have been counted, and what the value of every unit is so far.

One dictionary entry answers both for a unit that was observed once, as most are: its key stands
for (assignment, metric), its value holds the unit's total, how many events came after the first,
and the id of the first. A further event of the same unit gets an entry of its own, and at most
`MAX_EVENTS` of them count, so no unit can fill the memory of the others. A unit with several events
of which some are neither 0 nor 1 has one more entry, with how many: so all that it counts for is
known, and can be taken out again. An entry of its own says that a unit was voided. The entry of a
unit that was assigned holds the variant of its first assignment; each further variant gets its own.

Keys and event ids are 60 bits of uniform hashes,
which Python keeps in 32 bytes instead of the 48 that 64 bits take. Among ten million entries of one
window any two collide with a probability of 4.3e-5 (n**2 / 2**61); then two units are one, or one
event is taken for a duplicate.

Entries live in buckets of the assignment's time. A bucket has a *deadline*, after which none of its
assignments can be observed; the *horizon* is the time up to which deadlines have passed, and moves
on when a bucket is opened. What lies behind it is forgotten, and refused from then on rather than
counted twice. All of that happens at the event that causes it, so it does not depend on how events
were batched.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum, IntEnum
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streams.fold.segments import Piece, Segment, chunks
from streams.model.errors import EventError
from streams.model.ids import experiment_id
from streams.model.quantities import MICRO
from streams.tallies.plan import MAX_EVENTS

KEY_MASK = (1 << 60) - 1
"""Keys and event ids are in 0..KEY_MASK; event id 0 stands for none."""

_MARKS = (1 << 63) - 2  # stands where a segment of a bucket has its deadline
NO_DEADLINE = (1 << 63) - 1
"""Deadline of assignments that may be observed for ever."""

UNIT_TOTAL_LIMIT = 1 << 56
"""Bound of the absolute value of a unit, in micro-units: 7.2e10 units of its metric."""

MAX_DELAY = 63
"""Largest number that stands for the time between an assignment and an observation."""

BUCKETS_PER_WINDOW = 8
"""An attribution window is cut into so many buckets: an entry is kept at most by this part of the
window longer than needed, and this part goes first when the memory is full."""

_EVENT_BITS = 60
_COUNT_BITS = 10
_COUNT_MASK = (1 << _COUNT_BITS) - 1
_TOTAL_SHIFT = _EVENT_BITS + _COUNT_BITS
_ONE_MORE = 1 << _EVENT_BITS
# 2**64 over the golden ratio: odd, so distinct assignments of one unit stay distinct.
_SPREAD = 0x9E3779B97F4A7C15
_EVICTED = 1  # the mark of the last deadline that was forgotten for lack of room
_HAS_VOIDS = 2  # the mark that units were voided
_VOIDED = 0x5B0F1DE7A3C1D91  # of the keys of the entries that say so, by assignment
_OTHERS = 0x3C6EF372FE94F82  # of those with the number of observations that are neither 0 nor 1
_ARRIVED = 0xA54FF53A5F1D36F  # of those with the number of observations by delay
_BINARIES = (0, MICRO)
_SEGMENT_COST = 8  # of a segment besides its entries, in entries: key, header and record
_SLACK = 512  # entries that segments may cost beyond twice the bucket, so that small ones rest


def deadlines(assigned_at_ms: NDArray[np.int64], windows_s: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the deadlines of the buckets of many assignments, as `observe` has them."""
    spans_ms = windows_s * 1000
    widths_ms = np.maximum(spans_ms // BUCKETS_PER_WINDOW, 1)
    ends = assigned_at_ms - assigned_at_ms % widths_ms + widths_ms + spans_ms
    return np.where(windows_s > 0, ends, NO_DEADLINE)


def entry(value: int, event: int) -> int:
    """Return what stands for a unit whose only observation is this one."""
    return value << _TOTAL_SHIFT | event


class Duplicate(Enum):
    """Answer for an event that has been counted before."""

    SEEN = "seen"


SEEN: Final = Duplicate.SEEN


class Admission(IntEnum):
    """Answer for an assignment."""

    DUPLICATE = 0
    """The event has been counted before."""
    NEW = 1
    """The event counts."""
    CROSSED = 2
    """The event counts, and puts its unit into a second variant."""


class ObservedUnit(NamedTuple):
    """Counted observations of one metric by one assignment.

    Attributes:
        total: Sum of the observations, in micro-units.
        observations: How many there are.
        binary: How many of them are 0 or 1.
    """

    total: int
    observations: int
    binary: int


class WindowFullError(EventError):
    """An event cannot be counted because the memory was too small for all that must be kept."""


class DeduplicationWindow:
    """Memory of one experiment in one partition.

    Args:
        experiment: The experiment as a 64-bit number.
        limit: Entries kept at most.

    Attributes:
        horizon: Buckets with a deadline at or before it are forgotten.
        events: Observations of the unit and metric that were last observed once more.
    """

    __slots__ = (
        "_buckets",
        "_experiment",
        "_first",
        "_limit",
        "_marks",
        "_obsolete",
        "_size",
        "events",
        "horizon",
    )

    def __init__(self, experiment: int, limit: int) -> None:
        self.horizon = -1
        self.events = 0
        self._marks = _Bucket()
        self._experiment = experiment
        self._limit = limit
        self._size = 0
        self._first = NO_DEADLINE  # the first deadline of a bucket
        self._buckets: dict[int, _Bucket] = {}
        self._obsolete: list[str] = []

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
            now_ms: Time that the broker's clock has reached at least. An assignment that claims to
                be of a later time lets nothing be forgotten for that.

        Returns:
            The unit's value before; None if it had none; `SEEN` for a duplicate.

        Raises:
            EventError: the bucket has been forgotten (`DEDUPLICATION_WINDOW_PASSED`), nothing older
                is left to make room (`DEDUPLICATION_WINDOW_FULL`), the unit has as many events as
                count (`TOO_MANY_EVENTS`), or its value would leave its bound
                (`UNIT_TOTAL_OUT_OF_RANGE`). A `WindowFullError` if more memory would have helped.
        """
        deadline = _deadline(assigned_at_ms, window_s)
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
        # Before its second observation, the value of a unit is the first one.
        is_second = not known >> _EVENT_BITS & _COUNT_MASK
        count = (is_second and before not in _BINARIES) + (value not in _BINARIES)
        if count:
            self._add(bucket, others, count)
        entries[unit] = bucket.changed[unit] = known + (value << _TOTAL_SHIFT) + _ONE_MORE
        self.events = events
        return before

    def add_arrival(self, assigned_at_ms: int, window_s: int, unit: int, delay: int) -> None:
        """Remember how long after its assignment a unit was observed, which `observe` has taken.

        Args:
            assigned_at_ms, window_s, unit: As of `observe`.
            delay: In 0..`MAX_DELAY`, which stands for the time.
        """
        bucket = self._buckets[_deadline(assigned_at_ms, window_s)]
        self._add(bucket, _arrived(unit, delay), 1)

    def void(self, assigned_at_ms: int, window_s: int, identity: int, now_ms: int) -> bool:
        """Remember that an assignment was voided; return False if it was before.

        Args:
            assigned_at_ms, window_s, now_ms: As of `observe`.
            identity: Stands for the assignment, as in the keys of units and metrics.

        Raises:
            EventError: as `observe`, but for what is said there of its values.
        """
        deadline = _deadline(assigned_at_ms, window_s)
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
        """Return what was counted of a unit; None if it has no observation.

        Args:
            assigned_at_ms, window_s, unit: As of `total`.
        """
        bucket = self._buckets.get(_deadline(assigned_at_ms, window_s))
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
        """Return how many observations of a unit there are by delay, as given to `add_arrival`.

        Args:
            assigned_at_ms, window_s, unit: As of `total`.
        """
        bucket = self._buckets.get(_deadline(assigned_at_ms, window_s))
        entries = {} if bucket is None else bucket.entries
        return [entries.get(_arrived(unit, delay), 0) for delay in range(MAX_DELAY + 1)]

    def _add(self, bucket: _Bucket, key: int, count: int) -> None:
        """Add to a number that is kept beside the entry of a unit; it is kept in any case."""
        known = bucket.entries.get(key)
        if known is None:
            self._size += 1
        bucket.entries[key] = bucket.changed[key] = (known or 0) + count

    def count(self, assigned_at_ms: int, window_s: int, unit: int) -> int:
        """Return how many observations of a unit there are; the arguments are those of `total`."""
        bucket = self._buckets.get(_deadline(assigned_at_ms, window_s))
        known = None if bucket is None else bucket.entries.get(unit)
        return 0 if known is None else (known >> _EVENT_BITS & _COUNT_MASK) + 1

    def total(self, assigned_at_ms: int, window_s: int, unit: int) -> int | None:
        """Return the value of a unit so far, in micro-units; None if it has none.

        Args:
            assigned_at_ms: Time of the unit's assignment.
            window_s: Attribution window of the assignment; 0 for no limit.
            unit: Key of the unit and the metric.
        """
        bucket = self._buckets.get(_deadline(assigned_at_ms, window_s))
        known = None if bucket is None else bucket.entries.get(unit)
        return None if known is None else known >> _TOTAL_SHIFT

    def keep(self, assigned_at_ms: int, window_s: int, key: int, value: int, now_ms: int) -> None:
        """Keep a number of an assignment for as long as its observations are remembered.

        Args:
            assigned_at_ms, window_s, now_ms: As of `observe`.
            key: In 0..KEY_MASK, and of no unit.
            value: In [-2**126, 2**126].

        Raises:
            EventError: the bucket has been forgotten, or there is no room, as of `observe`.
        """
        deadline = _deadline(assigned_at_ms, window_s)
        bucket = self._buckets.get(deadline)
        if bucket is None:
            bucket = self._open(deadline, min(assigned_at_ms, now_ms))
        if key not in bucket.entries:
            if self._size >= self._limit:
                self._make_room(deadline)
            self._size += 1
        bucket.entries[key] = bucket.changed[key] = value

    def reserve(self, assigned_at_ms: int, window_s: int, entries: int) -> None:
        """Make room for so many entries of an assignment, so that all of them are kept or none.

        Raises:
            WindowFullError: nothing older is left to make room (`DEDUPLICATION_WINDOW_FULL`).
        """
        while self._size + entries > self._limit:
            self._make_room(_deadline(assigned_at_ms, window_s), entries)

    def kept(self, assigned_at_ms: int, window_s: int, key: int) -> int | None:
        """Return the number that is kept of an assignment; None if there is none."""
        bucket = self._buckets.get(_deadline(assigned_at_ms, window_s))
        return None if bucket is None else bucket.entries.get(key)

    def has_room(self, deadlines: Iterable[int], entries: int) -> bool:
        """Return whether these buckets are open and so many entries can come without forgetting."""
        return self._size + entries <= self._limit and self._buckets.keys() >= set(deadlines)

    def known(self, deadline: int, units: Sequence[int]) -> Sequence[int]:
        """Return the places of units that are in an open bucket, or come before among these."""
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
        """Remember the first observations of units that are not known, in a bucket with room."""
        bucket = self._buckets[deadline]
        new = dict(zip(units, entries, strict=True))
        bucket.entries.update(new)
        bucket.changed.update(new)
        self._size += len(new)

    def admit(self, unit: int, variant: int, n_variants: int) -> Admission:
        """Remember an assignment without deadline, unless it is a duplicate.

        A unit counts once for every variant it was assigned to, whatever the times of its receipts:
        it has a second one of the same variant only if the first could not be looked up, and then
        what is observed by either is observed of the same unit.

        Args:
            unit: Key of the unit.
            variant: Index of the variant, in [0, 2**16).
            n_variants: Indices of one phase of the experiment. Larger ones are of another phase,
                and a unit may be in one of each phase.

        Raises:
            WindowFullError: there is no room (`DEDUPLICATION_WINDOW_FULL`).
        """
        bucket = self._buckets.get(NO_DEADLINE)
        if bucket is None:
            bucket = self._open(NO_DEADLINE, self.horizon)
        entries = bucket.entries
        further = (unit ^ (variant + 1) * _SPREAD) & KEY_MASK
        known = entries.get(unit)
        if (known is not None and known >> 1 == variant) or further in entries:
            return Admission.DUPLICATE
        if self._size >= self._limit:
            self._make_room(NO_DEADLINE)
        self._size += 1
        if known is None:
            entries[unit] = bucket.changed[unit] = variant << 1
            return Admission.NEW
        entries[further] = bucket.changed[further] = 0
        if known & 1 or max(known >> 1, variant) >= n_variants:
            return Admission.NEW
        entries[unit] = bucket.changed[unit] = known | 1
        return Admission.CROSSED

    def mark(self, key: int, value: int) -> None:
        """Keep a number for good; there are few such, and they take up no room.

        Args:
            key: In 1..KEY_MASK.
            value: In [-2**126, 2**126].
        """
        self._marks.entries[key] = self._marks.changed[key] = value

    def marked(self, key: int) -> int | None:
        """Return the number that was kept for good; None if there is none."""
        return self._marks.entries.get(key)

    @property
    def buckets(self) -> Mapping[int, Mapping[int, int]]:
        """All entries, by deadline."""
        return {deadline: bucket.entries for deadline, bucket in self._buckets.items()}

    def take(self, last_offset: int) -> tuple[list[Segment], list[str]]:
        """Return what changed since the last `take`, as segments, and the keys no longer needed.

        Args:
            last_offset: Offset up to which events were remembered.
        """
        segments = []
        for deadline, bucket in (*self._buckets.items(), (_MARKS, self._marks)):
            if not bucket.changed:
                continue
            costs = bucket.cost + len(bucket.changed) + _SEGMENT_COST
            is_whole = costs > 2 * len(bucket.entries) + _SLACK
            if is_whole:
                self._obsolete += bucket.segments
                bucket.segments, bucket.cost = [], 0
            pieces = chunks(bucket.entries if is_whole else bucket.changed)
            bucket.changed = {}
            for number, entries in enumerate(pieces):
                key = f"{experiment_id(self._experiment)}/{deadline}/{last_offset}/{number}"
                parts = len(pieces) if is_whole else 0
                piece = Piece(self._experiment, deadline, self.horizon, parts, entries)
                segments.append(Segment(key, last_offset, piece.pack()))
                bucket.segments.append(key)
                bucket.cost += len(entries) + _SEGMENT_COST
        obsolete, self._obsolete = self._obsolete, []
        return segments, obsolete

    @property
    def segment_keys(self) -> list[str]:
        """Keys of all segments that were given out and are not forgotten yet."""
        return self._obsolete + [
            key for bucket in (*self._buckets.values(), self._marks) for key in bucket.segments
        ]

    def discard_changes(self) -> None:
        """Discard the changes since the last `take`: they will not be restored."""
        for bucket in (*self._buckets.values(), self._marks):
            bucket.changed = {}
        self._obsolete.clear()

    def restore(self, segments: Iterable[tuple[Segment, Piece]]) -> None:
        """Build the memory from its segments, in any order; the window must be new.

        What a segment holds was true at its `last_offset`, so the newest one of an entry holds. A
        bucket that was written whole needs none of its older segments, once no part is missing.

        Args:
            segments: Segments of this window, with what they say.
        """
        ordered = sorted(segments, key=lambda pair: (pair[0].last_offset, pair[0].key))
        self.horizon = max((piece.horizon for _, piece in ordered), default=-1)
        n_parts: Counter[tuple[int, int, int]] = Counter()
        for segment, piece in ordered:
            if piece.deadline <= self.horizon:
                self._obsolete.append(segment.key)
                continue
            is_marks = piece.deadline == _MARKS
            bucket = (
                self._marks if is_marks else self._buckets.setdefault(piece.deadline, _Bucket())
            )
            whole = (piece.deadline, segment.last_offset, piece.parts)
            n_parts[whole] += 1
            bucket.entries.update(piece.entries)
            bucket.segments.append(segment.key)
            bucket.cost += len(piece.entries) + _SEGMENT_COST
            if n_parts[whole] == piece.parts:
                older = bucket.segments[: -piece.parts]
                self._obsolete += older
                del bucket.segments[: len(older)]
                bucket.cost = len(bucket.entries) + _SEGMENT_COST * piece.parts
        self._size = sum(len(bucket.entries) for bucket in self._buckets.values())
        self._first = min(self._buckets, default=NO_DEADLINE)

    def _open(self, deadline: int, time_ms: int) -> _Bucket:
        """Return a new bucket; its first assignment also advances the clock."""
        if deadline <= self.horizon:
            is_evicted = deadline <= (self.marked(_EVICTED) or -1)
            raise (WindowFullError if is_evicted else EventError)(
                "DEDUPLICATION_WINDOW_PASSED",
                "the assignment is so old that its events are no longer remembered, "
                "and this one cannot be distinguished from a duplicate",
                "assignmentId",
            )
        if self._size >= self._limit:
            self._make_room(deadline)
        bucket = self._buckets[deadline] = _Bucket()
        self._first = min(self._first, deadline)
        self.horizon = max(self.horizon, time_ms)
        if self._first <= self.horizon:
            self._forget()
        return bucket

    def _make_room(self, deadline: int, entries: int = 1) -> None:
        """Forget older buckets than the one with `deadline`, the oldest first."""
        if self._first >= deadline:
            raise WindowFullError(
                "DEDUPLICATION_WINDOW_FULL",
                f"{self._size} events of the experiment are remembered in this partition, "
                "and none is older than this one",
                "assignmentId",
            )
        while self._size + entries > self._limit and self._first < deadline:
            self.horizon = self._first
            self.mark(_EVICTED, self._first)
            self._forget()

    def _forget(self) -> None:
        """Drop the buckets behind the horizon."""
        for deadline in [deadline for deadline in self._buckets if deadline <= self.horizon]:
            bucket = self._buckets.pop(deadline)
            self._size -= len(bucket.entries)
            self._obsolete += bucket.segments
        self._first = min(self._buckets, default=NO_DEADLINE)


def _deadline(assigned_at_ms: int, window_s: int) -> int:
    """Return the deadline of the bucket of an assignment."""
    if not window_s:
        return NO_DEADLINE
    span_ms = window_s * 1000
    width_ms = span_ms // BUCKETS_PER_WINDOW
    return assigned_at_ms - assigned_at_ms % width_ms + width_ms + span_ms


def _arrived(unit: int, delay: int) -> int:
    """Return the key of how often a unit was observed so long after its assignment."""
    return (unit ^ _ARRIVED ^ (delay + 1) * _SPREAD) & KEY_MASK


class _Bucket:
    """Entries of one deadline.

    `changed` is what `take` has not given out yet, `segments` the keys of what it has, `cost` what
    those take up, in entries.
    """

    __slots__ = ("changed", "cost", "entries", "segments")

    def __init__(self) -> None:
        self.entries: dict[int, int] = {}
        self.changed: dict[int, int] = {}
        self.segments: list[str] = []
        self.cost = 0
