"""Work that follows changes: how often, how much of the time it may take, and again if it fails."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from aiokafka.errors import KafkaError

from streams.kafka.records import LogError
from streams.model.errors import DependencyError
from streams.process.exits import die

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 2.0

logger = logging.getLogger(__name__)


class TimeBudget:
    """A share of the time, for work that others must not wait for.

    Time earns credit as it passes, the share of itself and never more than a burst; work costs what
    it takes. Whoever begins while there is credit, and only then, takes no more than the share in
    the long run, whatever a piece of work costs, and a piece now and then never waits.

    Args:
        share: Of the time, in (0, 1).
        burst_s: Most credit there can be, > 0: so much may be done at once after a pause.
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
        self._credit_s = burst_s
        self._earned_until = clock()

    @property
    def is_left(self) -> bool:
        """Whether there is credit, so that a piece of work may begin."""
        now = self._clock()
        earned_s = self._share * (now - self._earned_until)
        self._credit_s = min(self._credit_s + earned_s, self._burst_s)
        self._earned_until = now
        return self._credit_s > 0.0

    @contextmanager
    def spent(self) -> Iterator[Callable[[], float]]:
        """Charge for what is done inside, without any `await`; gives its seconds afterwards."""
        began = self._cost_clock()
        took_s = 0.0
        try:
            yield lambda: took_s
        finally:
            took_s = self._cost_clock() - began
            self.charge(took_s)

    def charge(self, seconds: float) -> None:
        """Take credit for work that was done, or give it back if negative."""
        self._credit_s -= seconds


async def follow(
    changed: asyncio.Event,
    step: Callable[[], Awaitable[None]],
    *,
    interval_s: float,
    at_most: float = 0.5,
) -> None:
    """Run `step` after every change, for ever.

    The first change is followed at once, further ones together when `interval_s` has passed, and
    later if the steps would take more than `at_most` of the time: when there is much to do, steps
    get longer and rarer.

    Args:
        changed: Set by whoever has work for `step`.
        step: Does all the work there is. What it raises because Kafka or Redis is away, or a log
            could not be read to its end, is logged, and it runs again after a pause that doubles;
            so it must not lose work when it fails.
        interval_s: Shortest time from the start of one step to the next.
        at_most: Largest share of the time from the start of one to the next, in (0, 1).
    """
    loop = asyncio.get_running_loop()
    pause = FIRST_PAUSE_S
    while True:
        await changed.wait()
        changed.clear()
        started = loop.time()
        try:
            await step()
        except (DependencyError, KafkaError, LogError, TimeoutError) as error:
            logger.warning("%s, trying again in %.1f s", error or type(error).__name__, pause)
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
