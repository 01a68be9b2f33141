"""Buckets of a deduplication window: entries with one deadline, and their stored segments.

Assignments with the same attribution window and nearly the same time share a bucket. It has a
*deadline*, after which none of its assignments can be observed, and is dropped as a whole.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from streams.fold.segments import Piece, WindowSegment, chunks
from streams.model.ids import experiment_id

NO_DEADLINE = (1 << 63) - 1
"""Deadline of assignments without an attribution window."""

BUCKETS_PER_WINDOW = 8
"""Buckets per attribution window: an entry is kept at most this fraction of the window longer than
needed, and this fraction is dropped first when the memory is full."""

_SEGMENT_COST = 8  # overhead of a segment, in entries: key, header and record
_SLACK = 512  # entries that segments may cost beyond twice the bucket; small ones are not rewritten


def deadline_of(assigned_at_ms: int, window_s: int) -> int:
    """Return the deadline of the bucket of an assignment.

    Args:
        assigned_at_ms: Time of the assignment.
        window_s: Its attribution window; 0 for no limit.
    """
    if not window_s:
        return NO_DEADLINE
    span_ms = window_s * 1000
    width_ms = span_ms // BUCKETS_PER_WINDOW
    return assigned_at_ms - assigned_at_ms % width_ms + width_ms + span_ms


def deadlines(assigned_at_ms: NDArray[np.int64], windows_s: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the deadlines of the buckets of many assignments, as `deadline_of`."""
    spans_ms = windows_s * 1000
    widths_ms = np.maximum(spans_ms // BUCKETS_PER_WINDOW, 1)
    ends = assigned_at_ms - assigned_at_ms % widths_ms + widths_ms + spans_ms
    return np.where(windows_s > 0, ends, NO_DEADLINE)


class Bucket:
    """Entries of one deadline.

    Attributes:
        entries: Value by key.
        changed: Entries that `take` has not returned yet.
        segments: Keys of its stored segments.
    """

    __slots__ = ("_cost", "changed", "entries", "segments")

    def __init__(self) -> None:
        self.entries: dict[int, int] = {}
        self.changed: dict[int, int] = {}
        self.segments: list[str] = []
        self._cost = 0  # size of the segments, in entries

    def take(
        self, experiment: int, deadline: int, horizon: int, last_offset: int
    ) -> tuple[list[WindowSegment], list[str]]:
        """Return the changes since the last call as segments, and the keys they replace.

        A bucket whose segments cost twice its own size is rewritten as a whole.

        Args:
            experiment: The experiment as a 64-bit number.
            deadline: The deadline of the bucket.
            horizon: The horizon of its window.
            last_offset: Offset up to which events were remembered.
        """
        if not self.changed:
            return [], []
        costs = self._cost + len(self.changed) + _SEGMENT_COST
        is_whole = costs > 2 * len(self.entries) + _SLACK
        replaced: list[str] = []
        if is_whole:
            replaced, self.segments, self._cost = self.segments, [], 0
        pieces = chunks(self.entries if is_whole else self.changed)
        self.changed = {}
        segments = []
        for number, entries in enumerate(pieces):
            key = f"{experiment_id(experiment)}/{deadline}/{last_offset}/{number}"
            parts = len(pieces) if is_whole else 0
            piece = Piece(experiment, deadline, horizon, parts, entries)
            segments.append(WindowSegment(key, last_offset, piece.pack()))
            self._note(key, entries)
        return segments, replaced

    def restore(self, key: str, entries: Mapping[int, int]) -> None:
        """Add the entries of a segment, which is newer than those so far."""
        self.entries.update(entries)
        self._note(key, entries)

    def drop_older(self, parts: int) -> list[str]:
        """Drop all segments but the last ones, which hold the whole bucket, and return their keys.

        Args:
            parts: Number of the last segments.
        """
        older = self.segments[:-parts]
        del self.segments[: len(older)]
        self._cost = len(self.entries) + _SEGMENT_COST * parts
        return older

    def _note(self, key: str, entries: Mapping[int, int]) -> None:
        self.segments.append(key)
        self._cost += len(entries) + _SEGMENT_COST
