"""A process beside the API for what takes seconds, so that it delays no assignment."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from streams.model.errors import DependencyError

T = TypeVar("T")

MAX_WAITING = 4
"""Requests that may wait for the process; further ones are answered at once with a refusal."""

TIMEOUT_S = 60.0
"""Longest time that one function runs, in seconds; then the process is ended."""

RETRY_AFTER_S = 2


class IsolatedProcess:
    """One child process, started by the first request, that runs one function at a time."""

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None
        self._turn = asyncio.Lock()
        self._waiting = 0

    async def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """Run a function of a module in the process, and return its result.

        Raises:
            DependencyError: too many requests wait (`OPERATION_BUSY`), it takes too long
                (`OPERATION_TIMED_OUT`), or the process has ended (`DEPENDENCY_UNAVAILABLE`).
        """
        if self._waiting >= MAX_WAITING:
            raise _refused("OPERATION_BUSY", "others are asking already")
        self._waiting += 1
        try:
            async with self._turn:  # ending the process after a timeout must fail no other request
                return await self._run(function, *arguments)
        finally:
            self._waiting -= 1

    async def _run(self, function: Callable[..., T], *arguments: Any) -> T:
        if self._pool is None:
            context = multiprocessing.get_context("spawn")  # librdkafka survives no fork
            self._pool = ProcessPoolExecutor(1, context)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(TIMEOUT_S):
                return await loop.run_in_executor(self._pool, function, *arguments)
        except TimeoutError as error:
            self.close()
            raise _refused("OPERATION_TIMED_OUT", f"takes longer than {TIMEOUT_S:g} s") from error
        except BrokenProcessPool as error:
            self.close()
            raise _refused("DEPENDENCY_UNAVAILABLE", "the process beside it has ended") from error

    def close(self) -> None:
        """End the process; the next request starts another one."""
        pool, self._pool = self._pool, None
        if pool is None:
            return
        for process in list((pool._processes or {}).values()):  # noqa: SLF001 - no other way
            process.kill()
        pool.shutdown(wait=False, cancel_futures=True)


def _refused(code: str, message: str) -> DependencyError:
    return DependencyError("api", message, code=code, retry_after_s=RETRY_AFTER_S)
