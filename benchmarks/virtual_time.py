"""Virtual clock of one process: its processor time, plus the time that its timers wait.

Importing this module replaces the clocks of `time`, so it comes before all that binds one. Timers
take no time: when nothing is left to do, the clock continues to the next one.
"""

from __future__ import annotations

import asyncio
import selectors
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any

_LOOK_S = 0.002
"""Real time between two looks for what runs in a thread: the clock stands still meanwhile."""


class VirtualClock:
    """Seconds that a process has worked or waited.

    Attributes:
        speed: How many times faster than this one the processor is taken to be.
    """

    def __init__(self) -> None:
        self.speed = 1.0
        self._waited_s = 0.0
        self._worked_s = 0.0
        self._counted_s = 0.0
        self._id = time.pthread_getcpuclockid(threading.main_thread().ident or 0)

    @property
    def used_s(self) -> float:
        """Processor time of the main thread, as measured."""
        return time.clock_gettime(self._id)

    def __call__(self) -> float:
        """Return the seconds that the process has worked or waited."""
        used_s = self.used_s
        self._worked_s += (used_s - self._counted_s) / self.speed
        self._counted_s = used_s
        return self._waited_s + self._worked_s

    def wait(self, seconds: float) -> None:
        """Go on by a time in which nothing is done."""
        self._waited_s += seconds


CLOCK = VirtualClock()


class _Selector(selectors.DefaultSelector):
    in_threads = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout <= 0.0:
            return super().select(timeout)
        if found := super().select(0):
            return found
        if self.in_threads:
            return super().select(_LOOK_S)
        CLOCK.wait(timeout)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop on `CLOCK`."""

    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self) -> float:
        """Return the time of the clock."""
        return CLOCK()

    def run_in_executor(  # type: ignore[override]
        self, executor: Executor | None, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """Run in a thread, until the end of which the clock does not continue."""
        self._virtual.in_threads += 1
        running = super().run_in_executor(executor, func, *args)
        running.add_done_callback(self._back)
        return running

    def _back(self, _: object) -> None:
        self._virtual.in_threads -= 1


time.monotonic = time.perf_counter = CLOCK
