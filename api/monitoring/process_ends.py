"""Ends of the processes of this installation that could not continue."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

from streams.model.errors import DependencyError
from streams.projection.exits import KINDS

LOOK_S = 5.0


class ProcessEnds:
    """Ends of processes with exit code 70, as Redis counts them.

    Attributes:
        counts: By kind of process; those of the last answer.

    Args:
        read: Reads the counts.
    """

    def __init__(self, read: Callable[[], Awaitable[Mapping[str, int]]]) -> None:
        self._read = read
        self.counts: Mapping[str, int] = dict.fromkeys(KINDS, 0)

    async def follow(self) -> None:
        """Read forever; without Redis, later."""
        while True:
            with suppress(DependencyError):  # readiness says so
                self.counts = await self._read()
            await asyncio.sleep(LOOK_S)
