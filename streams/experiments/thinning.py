"""Thinning of the points of a time series by the time of their events.

A point stands for the *slot* of its time, a second. At a span of time, slots are grouped to buckets
of 2^e of them, with the smallest e that gives at most so many buckets, and the first point of each
bucket stays. Buckets are aligned to the epoch, so those of e + 1 are pairs of those of e: the
result does not depend on the order of points, or on whether they are thinned incrementally. The
first point of a series always stays, so the remaining points show the span.
"""

from __future__ import annotations

from collections.abc import Sequence

SLOT_MS = 1_000
"""Width of a slot in milliseconds: the finest resolution of a series."""

MOST_POINTS = 400
"""Points of a series at most: when they exceed it, half of them are dropped."""


def width_at(first: int, last: int, most: int = MOST_POINTS) -> int:
    """Return the width of the buckets of a span, in slots: a power of 2.

    Args:
        first: First slot.
        last: Last slot, >= `first`.
        most: Buckets at most, >= 1.

    Examples:
        >>> width_at(0, 399), width_at(0, 400), width_at(7, 7, most=1)
        (1, 2, 1)
    """
    width = 1
    # A span may cross a bucket border, however wide the buckets are.
    while last // width - first // width >= max(most, 2):
        width *= 2
    return width


def thinned(slots: Sequence[int], last: int, most: int = MOST_POINTS) -> list[int]:
    """Return the slots that stay, in order; at most `most`, or 2 where that is less.

    Args:
        slots: Slots with a point, in ascending order.
        last: The newest slot that the series has seen; none of `slots` is above it.
        most: Points at most.

    Examples:
        >>> thinned([3, 4, 5, 9], 9, most=3)
        [3, 4, 9]
    """
    if not slots:
        return []
    width = width_at(slots[0], last, most)
    kept = [slots[0]]
    for slot in slots:
        if slot // width > kept[-1] // width:
            kept.append(slot)
    return kept
