"""The memory of a deduplication window: entries bounded in number and time.

Entries live in buckets of the assignment's time (`streams.fold.buckets`). The *horizon* is the time
up to which deadlines have passed, and advances when a bucket is opened. Buckets behind it are
evicted, and their events are refused from then on rather than counted twice. All of this happens at
the event that causes it, so it does not depend on batching.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from streams.fold.buckets import NO_DEADLINE, Bucket, deadline_of
from streams.fold.segments import Piece, WindowSegment
from streams.model.errors import EventError

_MARKS = (1 << 63) - 2  # in place of the deadline in a segment
_EVICTED = 1  # mark of the last deadline evicted for lack of room


class WindowFullError(EventError):
    """An event cannot be counted because the memory was too small."""


class WindowMemory:
    """Entries of one experiment in one partition.

    Args:
        experiment: The experiment as a 64-bit number.
        limit: Entries kept at most.

    Attributes:
        horizon: Buckets with a deadline at or before it are evicted.
    """

    __slots__ = (
        "_buckets",
        "_experiment",
        "_first",
        "_limit",
        "_marks",
        "_obsolete",
        "_size",
        "horizon",
    )

    def __init__(self, experiment: int, limit: int) -> None:
        self.horizon = -1
        self._marks = Bucket()
        self._experiment = experiment
        self._limit = limit
        self._size = 0
        self._first = NO_DEADLINE  # the first deadline of a bucket
        self._buckets: dict[int, Bucket] = {}
        self._obsolete: list[str] = []

    def keep(self, assigned_at_ms: int, window_s: int, key: int, value: int, now_ms: int) -> None:
        """Keep a number for an assignment as long as its observations are kept.

        Args:
            assigned_at_ms: Time of the assignment.
            window_s: Attribution window of the assignment; 0 for no limit.
            key: In 0..KEY_MASK, and not the key of a unit.
            value: In [-2**126, 2**126].
            now_ms: Lower bound of the broker's clock.

        Raises:
            EventError: the bucket was evicted (`DEDUPLICATION_WINDOW_PASSED`), or nothing older is
                left to evict (`DEDUPLICATION_WINDOW_FULL`). A `WindowFullError` if more memory
                would have helped.
        """
        deadline = deadline_of(assigned_at_ms, window_s)
        bucket = self._buckets.get(deadline)
        if bucket is None:
            bucket = self._open(deadline, min(assigned_at_ms, now_ms))
        if key not in bucket.entries:
            if self._size >= self._limit:
                self._make_room(deadline)
            self._size += 1
        bucket.entries[key] = bucket.changed[key] = value

    def kept(self, assigned_at_ms: int, window_s: int, key: int) -> int | None:
        """Return the number that is kept for an assignment; None without one."""
        bucket = self._buckets.get(deadline_of(assigned_at_ms, window_s))
        return None if bucket is None else bucket.entries.get(key)

    def reserve(self, assigned_at_ms: int, window_s: int, entries: int) -> None:
        """Make room for a number of entries of an assignment: all of them are kept or none.

        Raises:
            WindowFullError: nothing older is left to evict (`DEDUPLICATION_WINDOW_FULL`).
        """
        while self._size + entries > self._limit:
            self._make_room(deadline_of(assigned_at_ms, window_s), entries)

    def has_room(self, deadlines: Iterable[int], entries: int) -> bool:
        """Return whether these buckets are open and entries can be added without eviction."""
        return self._size + entries <= self._limit and self._buckets.keys() >= set(deadlines)

    def closed(self, deadlines: Iterable[int]) -> set[int]:
        """Return which of these buckets are not open."""
        return set(deadlines) - self._buckets.keys()

    def can_open(self, deadlines: Iterable[int], entries: int, latest_ms: int) -> bool:
        """Return whether buckets can be opened and entries added without eviction.

        Args:
            deadlines: Deadlines of the buckets, which are not open.
            entries: Number of entries to add, to these or to open ones.
            latest_ms: Time of the latest assignment that they are opened for.
        """
        first = min([self._first, *deadlines])
        return self._size + entries <= self._limit and max(self.horizon, latest_ms) < first

    def mark(self, key: int, value: int) -> None:
        """Keep a number permanently; such numbers are few and do not count toward the limit.

        Args:
            key: In 1..KEY_MASK.
            value: In [-2**126, 2**126].
        """
        self._marks.entries[key] = self._marks.changed[key] = value

    def marked(self, key: int) -> int | None:
        """Return the number that was kept permanently; None without one."""
        return self._marks.entries.get(key)

    @property
    def buckets(self) -> Mapping[int, Mapping[int, int]]:
        """All entries, by deadline."""
        return {deadline: bucket.entries for deadline, bucket in self._buckets.items()}

    def take(self, last_offset: int) -> tuple[list[WindowSegment], list[str]]:
        """Return what changed since the last `take`, as segments, and the keys no longer needed.

        The segments are in order of their deadlines: that of the buckets depends on how many
        records were folded together.

        Args:
            last_offset: Offset up to which events were remembered.
        """
        segments: list[WindowSegment] = []
        by_deadline = [(deadline, self._buckets[deadline]) for deadline in sorted(self._buckets)]
        for deadline, bucket in (*by_deadline, (_MARKS, self._marks)):
            new, replaced = bucket.take(self._experiment, deadline, self.horizon, last_offset)
            segments += new
            self._obsolete += replaced
        obsolete, self._obsolete = self._obsolete, []
        return segments, obsolete

    @property
    def segment_keys(self) -> list[str]:
        """Keys of all returned segments that are not dropped yet."""
        return self._obsolete + [
            key for bucket in (*self._buckets.values(), self._marks) for key in bucket.segments
        ]

    def discard_changes(self) -> None:
        """Discard the changes since the last `take`: they will not be restored."""
        for bucket in (*self._buckets.values(), self._marks):
            bucket.changed = {}
        self._obsolete.clear()

    def restore(self, segments: Iterable[tuple[WindowSegment, Piece]]) -> None:
        """Build the memory from its segments, in any order; the window must be new.

        A segment was valid at its `last_offset`, so the newest one of an entry prevails. A bucket
        that was written as a whole needs none of its older segments, once no part is missing.

        Args:
            segments: Segments of this window, with their content.
        """
        ordered = sorted(segments, key=lambda pair: (pair[0].last_offset, pair[0].key))
        self.horizon = max((piece.horizon for _, piece in ordered), default=-1)
        n_parts: Counter[tuple[int, int, int]] = Counter()
        for segment, piece in ordered:
            if piece.deadline <= self.horizon:
                self._obsolete.append(segment.key)
                continue
            is_marks = piece.deadline == _MARKS
            bucket = self._marks if is_marks else self._buckets.setdefault(piece.deadline, Bucket())
            bucket.restore(segment.key, piece.entries)
            whole = (piece.deadline, segment.last_offset, piece.parts)
            n_parts[whole] += 1
            if n_parts[whole] == piece.parts:
                self._obsolete += bucket.drop_older(piece.parts)
        self._size = sum(len(bucket.entries) for bucket in self._buckets.values())
        self._first = min(self._buckets, default=NO_DEADLINE)

    def _open(self, deadline: int, time_ms: int) -> Bucket:
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
        bucket = self._buckets[deadline] = Bucket()
        self._first = min(self._first, deadline)
        self.horizon = max(self.horizon, time_ms)
        if self._first <= self.horizon:
            self._forget()
        return bucket

    def _make_room(self, deadline: int, entries: int = 1) -> None:
        """Evict buckets older than the one with `deadline`, the oldest first."""
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
