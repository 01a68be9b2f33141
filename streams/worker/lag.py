"""Delay until records are durable, which is the age of statistics and weights."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Callable

from faust.types import TP

REMEMBERED_S = 30.0
"""Time for which a delay is reported, so that it is visible to the next scrape."""


class Lag:
    """Ages of the oldest records that wait, by source partition.

    A record waits from its timestamp, set by the producer or the broker, until its effects are
    durable. An idle partition has no delay, however old its last record is.

    Args:
        clock_s: Seconds since the epoch.
    """

    def __init__(self, clock_s: Callable[[], float] = time.time) -> None:
        self._clock_s = clock_s
        self._waiting_ms: defaultdict[TP, deque[int]] = defaultdict(deque)
        self._past: defaultdict[TP, deque[tuple[float, float]]] = defaultdict(deque)

    def arrived(self, tp: TP, timestamp_ms: int) -> None:
        """Record the time of the first record of a fetched batch."""
        self._waiting_ms[tp].append(timestamp_ms)

    def durable(self, tp: TP, n_batches: int) -> None:
        """Record that the oldest `n_batches` batches of a partition are durable."""
        waiting, past = self._waiting_ms[tp], self._past[tp]
        if not waiting:  # another worker owned the partition in between
            return
        now_s = self._clock_s()
        age_s = now_s - waiting[0] / 1000
        for _ in range(min(n_batches, len(waiting))):
            waiting.popleft()
        while past and past[-1][1] <= age_s:  # it can never be the longest again
            past.pop()
        while past and now_s - past[0][0] > REMEMBERED_S:
            past.popleft()
        past.append((now_s, age_s))

    def forget(self, tp: TP) -> None:
        """Forget a partition that another worker reads now."""
        self._waiting_ms.pop(tp, None)
        self._past.pop(tp, None)

    def seconds(self, topic: str) -> float:
        """Return the longest delay of a topic: of what waits now, and of the last half minute.

        It may be called from another thread.
        """
        now_s = self._clock_s()
        waiting = (
            now_s - oldest_ms / 1000
            for tp, times_ms in tuple(self._waiting_ms.items())
            if tp.topic == topic
            for oldest_ms in tuple(times_ms)[:1]
        )
        past = (
            age_s
            for tp, ages in tuple(self._past.items())
            if tp.topic == topic
            for at_s, age_s in tuple(ages)
            if now_s - at_s <= REMEMBERED_S
        )
        return max((0.0, *waiting, *past))
