"""Rate limits and retries of work that follows changes."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from aiokafka.errors import KafkaError

from streams.kafka.records import LogError
from streams.model.errors import DependencyError
from streams.process.cadence import until_due
from streams.process.exits import die

GRID_S = 0.02
"""Grid of the times at which busy keys become due: they share a step, and its requests. An idle key
has a step at once."""

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 2.0

logger = logging.getLogger(__name__)


class TimeBudget:
    """A token bucket of processing time.

    It fills at `share` seconds per second up to `burst_s`; work takes what it costs, and may
    overdraw it. Work that starts only while the budget is positive takes at most `share` of the
    time in the long run, whatever the cost of a single piece, and occasional work never waits.

    Args:
        share: Share of the time, in (0, 1).
        burst_s: Largest budget, in seconds, > 0.
        clock: Monotonic seconds.
        cost_clock: Seconds by which work is charged; `clock` if None.
    """

    def __init__(
        self,
        share: float,
        burst_s: float,
        clock: Callable[[], float] = time.perf_counter,
        cost_clock: Callable[[], float] | None = None,
    ) -> None:
        self._share = share
        self._burst_s = burst_s
        self._clock = clock
        self._cost_clock = cost_clock or clock
        self._budget_s = burst_s
        self._earned_until = clock()

    @property
    def is_left(self) -> bool:
        """Whether the budget is positive, so that a piece of work may start."""
        now = self._clock()
        earned_s = self._share * (now - self._earned_until)
        self._budget_s = min(self._budget_s + earned_s, self._burst_s)
        self._earned_until = now
        return self._budget_s > 0.0

    @property
    def wait_s(self) -> float:
        """Seconds until the budget is positive; 0 if it is."""
        return 0.0 if self.is_left else -self._budget_s / self._share

    @contextmanager
    def spent(self) -> Iterator[Callable[[], float]]:
        """Charge the time spent in the block; yields a function that returns it afterwards."""
        began = self._cost_clock()
        took_s = 0.0
        try:
            yield lambda: took_s
        finally:
            took_s = self._cost_clock() - began
            self.charge(took_s)

    def charge(self, seconds: float) -> None:
        """Take time from the budget, or return it if negative."""
        self._budget_s -= seconds


async def follow(
    changed: asyncio.Event,
    step: Callable[[], Awaitable[None]],
    *,
    interval_s: float = 0.0,
    at_most: float = 0.5,
    wait_s: Callable[[], float | None] | None = None,
) -> None:
    """Run `step` after every change, indefinitely.

    It runs at once after the first change, then at most every `interval_s`, and less often if the
    steps would take more than `at_most` of the time: under load steps get longer and rarer.

    Args:
        changed: Set when there is work for `step`.
        step: Does all work that is due. If it raises since Kafka or Redis is unavailable, or a log
            could not be read to its end, it is retried with exponential backoff, so it must not
            lose work when it fails.
        interval_s: Shortest time between the starts of two steps, in seconds.
        at_most: Largest share of the time that steps take, in (0, 1).
        wait_s: Returns the seconds until work is due; None without work. By default all work is
            due.
    """
    if wait_s is None:

        def wait_s() -> float | None:
            return 0.0 if changed.is_set() else None

    loop = asyncio.get_running_loop()
    pause = FIRST_PAUSE_S
    while True:
        await until_due(changed, wait_s)
        started = loop.time()
        try:
            await step()
        except (DependencyError, KafkaError, LogError, TimeoutError) as error:
            logger.warning("%r, trying again in %.1f s", error, pause)
            changed.set()
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)
        except Exception:
            logger.exception("work after a batch failed")
            die("work after a batch failed")
        else:
            pause = FIRST_PAUSE_S
            took_s = loop.time() - started
            await asyncio.sleep(max(interval_s - took_s, took_s * (1.0 / at_most - 1.0)))
