"""Time limit of tests for what must come.

A limit that is not what is tested is there for what never comes, so it is one for all, and long:
a test that passes never waits for it, and on a busy machine everything takes several times as long.
What must *not* come, or must come within a time that is promised, has a separate named time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE_S = 100.0
"""Below half of the time that pytest gives a test, so that the test can say what did not come."""


def until(condition: Callable[[], T], timeout_s: float = PATIENCE_S) -> T:
    """Return the first truthy value of `condition`, and let threads and processes continue."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {timeout_s} s"
        time.sleep(0.02)
    return value


async def until_true(condition: Callable[[], T]) -> T:
    """Return the first truthy value of `condition`, and let tasks continue."""
    async with patience():
        while not (value := condition()):  # noqa: ASYNC110 - conditions of values without events
            await asyncio.sleep(0.002)
    return value


async def until_found(condition: Callable[[], Awaitable[T]]) -> T:
    """Return the first truthy result of awaiting `condition()`."""
    async with patience():
        while not (value := await condition()):  # noqa: ASYNC110 - conditions of servers
            await asyncio.sleep(0.02)
    return value


def patience() -> asyncio.Timeout:
    """Return a context that what never comes ends with a TimeoutError."""
    return asyncio.timeout(PATIENCE_S)
