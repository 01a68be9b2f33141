"""Pace at which changes are handled: at once when idle, at most once an interval under load.

A key that was not handled for an interval is due as soon as it changes, and what changes within an
interval after that is due at its end. So a change never waits for longer than the interval, the
last one is never left behind, and a key that changes all the time costs no more than one handling
an interval. The keys are independent: a busy one does not make an idle one wait.

Where each handling has a fixed cost, such as a request, the ends of intervals are aligned to a
grid: then busy keys share their handlings, and an idle key is still handled at once.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Collection, Hashable, Iterable
from contextlib import suppress
from itertools import repeat
from typing import Generic, TypeVar

REMEMBERED_S = 60.0
"""Time for which a handling is remembered at least; it decides who is first where not all that is
due can be handled."""

K = TypeVar("K", bound=Hashable)


class Cadence(Generic[K]):
    """Times at which keys were handled last, and so which of those that have changed are due.

    The caller holds what has changed until it handles it.

    Args:
        interval_s: Shortest time between two handlings of a key, in seconds; 0 for none.
        clock: Monotonic seconds.
        grid_s: Seconds of which the end of an interval is a multiple, rounded up; 0 for any time.
    """

    def __init__(
        self,
        interval_s: float,
        clock: Callable[[], float] = time.monotonic,
        *,
        grid_s: float = 0.0,
    ) -> None:
        self._interval_s = interval_s
        self._clock = clock
        self._grid_s = grid_s
        self._handled_s: dict[K, float] = {}  # in order of time

    def due(
        self, changed: Iterable[K], head_start_s: Callable[[K], float] = lambda _: 0.0
    ) -> list[K]:
        """Return those that are due, the one that was handled longest ago first.

        Those of which no handling is known come before all others, in the order given. So where
        less is handled than is due, an idle key is served at once, and busy ones take turns.

        Args:
            changed: Keys that have changed.
            head_start_s: Seconds by which a key counts as handled earlier than it was.
        """
        now = self._clock()
        due = [key for key in changed if self._due_at(key) <= now]
        return sorted(due, key=lambda key: self._handled_at(key) - head_start_s(key))

    def wait_s(self, changed: Collection[K]) -> float | None:
        """Return the seconds until the first is due, 0 if one is; None if nothing has changed."""
        if not changed:
            return None
        oldest_s = min(map(self._handled_s.get, changed, repeat(-math.inf)))
        return max(0.0, self._end_of(oldest_s) - self._clock())

    def handled(self, key: K) -> None:
        """Note that a key is handled now."""
        now = self._clock()
        self._handled_s.pop(key, None)
        self._handled_s[key] = now
        forgotten_s = now - max(self._interval_s, REMEMBERED_S)
        while (oldest := next(iter(self._handled_s))) is not key:
            if self._handled_s[oldest] > forgotten_s:
                break
            del self._handled_s[oldest]

    def failed(self, keys: Iterable[K]) -> None:
        """Make keys due at once again, of which the handling has failed."""
        for key in keys:
            self._handled_s.pop(key, None)

    def _handled_at(self, key: K) -> float:
        return self._handled_s.get(key, -math.inf)

    def _due_at(self, key: K) -> float:
        return self._end_of(self._handled_at(key))

    def _end_of(self, handled_s: float) -> float:
        """Return the end of the interval after a handling; later the later that was."""
        end = handled_s + self._interval_s
        if not self._grid_s or end == -math.inf:
            return end
        return math.ceil(end / self._grid_s) * self._grid_s


async def until_due(changed: asyncio.Event, wait_s: Callable[[], float | None]) -> None:
    """Return as soon as something is due, and clear the event.

    Args:
        changed: Set when something changes.
        wait_s: Returns the seconds until something is due; None if nothing has changed.
    """
    while (left_s := wait_s()) is None or left_s > 0.0:
        changed.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(left_s):
                await changed.wait()
    changed.clear()
