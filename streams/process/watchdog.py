"""Watchdog of the event loop, which ends a process whose loop hangs.

A loop that is stuck answers no health check, takes no signal and renews no session: to a process
manager it looks alive. A thread beside it counts the seconds without a heartbeat of the loop.
"""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable
from typing import Self

from streams.process.exits import die, end_soon

BEAT_S = 0.5
"""Interval of the loop's heartbeats."""

TICK_S = 1.0
"""Interval of the thread's checks. It counts checks and not time: a process that was stopped, or a
machine that was suspended, is not a loop that hangs."""

LAGS_KEPT = round(60 / BEAT_S)

GIL_FACTOR = 4
"""Code that holds the interpreter's lock stops the thread too. Then the process is ended without
Python after this multiple of the limit, with exit code 1. That timer does not stop with the
process: one that was stopped for longer ends, too, once it continues, and is started again."""

logger = logging.getLogger(__name__)


class LoopWatchdog:
    """A heartbeat of the running event loop, and a thread that ends the process without one.

    Args:
        limit_s: Longest time that the loop may be blocked, in seconds, >= 1.
        end: Ends the process, called from the thread with the reason.
        before_end: Called before the place is logged, since the loop may hang in its log.
    """

    def __init__(
        self,
        limit_s: float,
        end: Callable[[str], object] = die,
        before_end: Callable[[], object] = end_soon,
    ) -> None:
        self._before_end = before_end
        self._limit_s = limit_s
        self._end = end
        self._beats = 0
        self._lags: deque[float] = deque([0.0], maxlen=LAGS_KEPT)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="loop-watchdog", daemon=True)
        self._task: asyncio.Task[None] | None = None
        self._loop_thread = 0

    @property
    def lag_s(self) -> float:
        """Longest delay of a heartbeat within the last minute, seconds."""
        return max(self._lags)

    def __enter__(self) -> Self:
        """Begin; the running event loop is the one that is watched."""
        self._loop_thread = threading.get_ident()
        self._task = asyncio.get_running_loop().create_task(self._beat(), name="heartbeat")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        faulthandler.cancel_dump_traceback_later()
        if self._task is not None:
            self._task.cancel()

    async def _beat(self) -> None:
        loop = asyncio.get_running_loop()
        rearm_at_s = 0.0
        while True:
            due_s = loop.time() + BEAT_S
            await asyncio.sleep(BEAT_S)
            now_s = loop.time()
            self._beats += 1
            self._lags.append(max(0.0, now_s - due_s))
            if now_s >= rearm_at_s:
                self._arm()
                rearm_at_s = now_s + self._limit_s / 2

    def _arm(self) -> None:
        try:
            faulthandler.dump_traceback_later(GIL_FACTOR * self._limit_s, exit=True)
        except (ValueError, OSError, AttributeError):  # stderr is no file, as under a test runner
            logger.debug("no end without the interpreter's lock", exc_info=True)

    def _watch(self) -> None:
        seen, missed_s = -1, 0.0
        while not self._stopped.wait(TICK_S):
            beats = self._beats
            if beats != seen:
                seen, missed_s = beats, 0.0
                continue
            missed_s += TICK_S
            if missed_s >= self._limit_s:
                self._before_end()
                for line in self._stack():
                    logger.critical("the event loop hangs: %s", line)
                self._end(f"the event loop has not turned for {missed_s:.0f} s")
                return

    def _stack(self) -> list[str]:
        frame = sys._current_frames().get(self._loop_thread)  # noqa: SLF001 - there is no other way
        found = traceback.extract_stack(frame)
        return [f"{each.filename}:{each.lineno} in {each.name}" for each in found]
