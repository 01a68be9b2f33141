"""Work that follows changes, at most once per interval, and is tried again when it fails."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from aiokafka.errors import KafkaError

from streams.domain.errors import DependencyError
from streams.engine.exits import die

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 2.0

logger = logging.getLogger(__name__)


async def follow(
    changed: asyncio.Event, step: Callable[[], Awaitable[None]], *, interval_s: float
) -> None:
    """Run `step` after every change, for ever.

    The first change is followed at once, further ones together when `interval_s` has passed. A step
    that took longer than half of that rests as long as it took, so that with many experiments the
    steps get longer and rarer, and never take more than half of the processor from the folds.

    Args:
        changed: Set by whoever has work for `step`.
        step: Does all the work there is. What it raises because Kafka or Redis is away is logged,
            and it runs again after a pause that doubles; so it must not lose work when it fails.
        interval_s: Shortest time from the start of one step to the next.
    """
    loop = asyncio.get_running_loop()
    pause = FIRST_PAUSE_S
    while True:
        await changed.wait()
        changed.clear()
        started = loop.time()
        try:
            await step()
        except (DependencyError, KafkaError, TimeoutError) as error:
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
            await asyncio.sleep(max(interval_s - took_s, took_s))
