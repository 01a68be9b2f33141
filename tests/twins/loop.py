"""An event loop that does not wait for its timers."""

from __future__ import annotations

import asyncio
import selectors
from typing import Any


class LeapingLoop(asyncio.SelectorEventLoop):
    """A loop whose clock stands still, and leaps to the next timer where nothing else is to do.

    A timeout comes exactly when all that could still happen before it has happened, however slow
    the machine, and costs no time. It is for code without threads and sockets, that waits by
    timers: `asyncio.sleep(0)` in a loop would hold the clock.
    """

    def __init__(self) -> None:
        self._now_s = 0.0
        super().__init__(_Selector(self))

    def time(self) -> float:
        return self._now_s

    def leap(self, seconds: float) -> None:
        """Move the clock."""
        self._now_s += seconds


class _Selector(selectors.DefaultSelector):
    def __init__(self, loop: LeapingLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            return super().select()
        ready = super().select(0)
        if not ready and timeout > 0.0:
            self._loop.leap(timeout)
        return ready
