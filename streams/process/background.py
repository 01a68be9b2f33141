"""Background tasks of a process: restarted when they fail, counted, and named while they are down.

An asyncio task that raises ends silently until it is awaited. Every task that runs for the lifetime
of a process is therefore started here.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection

from streams.process.exits import die

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 10.0

STEADY_S = 30.0
"""A task that ran so long since its last failure begins again with the first pause."""

SETTLED_S = 2.0
"""A restarted task counts as up after this time without a failure."""

FAILURES_AT_MOST = 12
"""Failures in a row, with pauses that add up to about a minute, after which the process ends: what
has not healed until then may heal in a new process."""

FAILING_AT = 3
"""Failures in a row from which on a restart is not expected to help."""

CANCEL_AGAIN_S = 1.0
"""Time that a cancelled task may take to end before it is cancelled again."""

Run = Callable[[], Awaitable[None]]

logger = logging.getLogger(__name__)


async def vital(name: str, run: Run) -> None:
    """Run a task without which the process must not continue: when it ends, the process ends."""
    try:
        await run()
    except Exception:
        logger.exception("the task %s failed", name)
        die(f"the task {name} failed")
    die(f"the task {name} returned")


class BackgroundTasks:
    """Supervisor of tasks that are meant to run until the process stops.

    Attributes:
        failures: How often each task has failed since the start, by name.

    Args:
        end: Ends the process; called with the reason when a task fails again and again.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        end: Callable[[str], object] = die,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.failures: Counter[str] = Counter()
        self._end = end
        self._clock = clock
        self._tasks: list[asyncio.Task[None]] = []
        self._down: dict[str, float | None] = {}
        self._in_a_row: Counter[str] = Counter()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the tasks that were started."""
        return tuple(task.get_name() for task in self._tasks)

    @property
    def down(self) -> tuple[str, ...]:
        """Names of the tasks that do not run, or have only just been restarted."""
        now = self._clock()
        return tuple(
            name
            for name, restarted_s in self._down.items()
            if restarted_s is None or now - restarted_s < SETTLED_S
        )

    @property
    def failing(self) -> tuple[str, ...]:
        """Names of the tasks among `down` that a restart has not healed."""
        return tuple(name for name in self.down if self._in_a_row[name] >= FAILING_AT)

    def start(self, name: str, run: Run) -> None:
        """Run a task until `stop`; one that raises or returns is started again after a pause."""
        self.failures[name] = 0
        self._tasks.append(asyncio.create_task(self._keep(name, run), name=name))

    async def stop(self) -> None:
        """Cancel all tasks, and wait until they have ended."""
        running: Collection[asyncio.Task[None]] = self._tasks
        while running:
            for task in running:
                task.cancel()
            # Again: before Python 3.12 asyncio.wait_for, by which clients send, may swallow one.
            _, running = await asyncio.wait(running, timeout=CANCEL_AGAIN_S)

    async def _keep(self, name: str, run: Run) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            started_s = self._clock()
            try:
                await run()
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                logger.exception("the task %s was cancelled from inside", name)
            except Exception:
                logger.exception("the task %s failed, starting it again in %.1f s", name, pause_s)
            else:
                logger.error("the task %s returned, starting it again in %.1f s", name, pause_s)
            self.failures[name] += 1
            self._down[name] = None
            if self._clock() - started_s > STEADY_S:
                self._in_a_row[name], pause_s = 0, FIRST_PAUSE_S
            self._in_a_row[name] += 1
            if self._in_a_row[name] >= FAILURES_AT_MOST:
                self._end(f"the task {name} failed {self._in_a_row[name]} times in a row")
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            self._down[name] = self._clock()
