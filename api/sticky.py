"""The first receipt of a unit, kept in Redis: the first write wins, and everyone gets that one.

Look-ups of one turn of the event loop travel together. When Redis does not answer, units are
decided by their hash until it does; that is told and counted, and blocks no assignment for long.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import NamedTuple

from redis.asyncio import Redis
from redis.exceptions import RedisError

from streams.redis_projection.keys import Keys

TIMEOUT_S = 0.25
"""Longest an assignment waits for Redis."""

REST_S = 1.0
"""Pause after a failure, in which Redis is not asked."""

_log = logging.getLogger(__name__)


class _Question(NamedTuple):
    key: str
    receipt: str
    ttl_s: int
    answer: asyncio.Future[str | None]


class StickyReceipts:
    """First receipts by experiment and unit.

    Attributes:
        unavailable: Assignments that were decided without what Redis holds.
    """

    def __init__(
        self,
        client: Redis,
        keys: Keys,
        default_ttl_s: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the parts.

        Args:
            client: A client that does not decode responses.
            keys: Names to use.
            default_ttl_s: How long a receipt without an attribution window is kept.
            clock: Seconds that only grow.
        """
        self.unavailable = 0
        self._client = client
        self._keys = keys
        self._default_ttl_s = default_ttl_s
        self._clock = clock
        self._waiting: list[_Question] = []
        self._asking: set[asyncio.Task[None]] = set()
        self._rests_until_s = 0.0

    async def first(self, experiment_id: str, unit: int, receipt: str, ttl_s: int) -> str | None:
        """Return the receipt a unit got first: `receipt` itself, if it is that.

        Args:
            experiment_id: The experiment.
            unit: Unit hash.
            receipt: What the unit gets if it has none.
            ttl_s: Seconds to keep it; 0 for the default.

        Returns:
            The receipt, or None when Redis does not answer.
        """
        if self._clock() < self._rests_until_s:
            self.unavailable += 1
            return None
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[str | None] = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._ask_soon)
        key = self._keys.sticky(experiment_id, unit)
        self._waiting.append(_Question(key, receipt, ttl_s or self._default_ttl_s, answer))
        first = await answer
        if first is None:
            self.unavailable += 1
        return first

    async def replace(self, experiment_id: str, unit: int, receipt: str, ttl_s: int) -> None:
        """Keep another receipt for a unit, whose first one no key verifies any more."""
        key = self._keys.sticky(experiment_id, unit)
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await self._client.set(key, receipt, ex=ttl_s or self._default_ttl_s)
        except (RedisError, OSError, TimeoutError) as error:
            self._rest(error)

    def _ask_soon(self) -> None:
        questions, self._waiting = self._waiting, []
        task = asyncio.create_task(self._ask(questions))
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    async def _ask(self, questions: list[_Question]) -> None:
        found: list[bytes | None] | None = None
        try:
            async with asyncio.timeout(TIMEOUT_S):
                pipeline = self._client.pipeline(transaction=False)
                for question in questions:
                    pipeline.set(
                        question.key, question.receipt, ex=question.ttl_s, nx=True, get=True
                    )
                found = await pipeline.execute()
        except (RedisError, OSError, TimeoutError) as error:
            self._rest(error)
        finally:
            for index, question in enumerate(questions):
                if question.answer.done():
                    continue
                if found is None:
                    question.answer.set_result(None)
                else:
                    first = found[index]
                    question.answer.set_result(first.decode() if first else question.receipt)

    def _rest(self, error: Exception) -> None:
        if self._clock() >= self._rests_until_s:
            _log.warning("units are decided without what Redis holds: %s", error)
        self._rests_until_s = self._clock() + REST_S
