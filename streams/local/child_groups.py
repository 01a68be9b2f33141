"""Several children, kept running until all are stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from streams.local.children import Child, ChildFailedError

PAUSE_S = 1.0
"""Time before a child that has ended is started again."""

_WRONG_SETTINGS = "exited with code 2"


async def keep_all(children: Sequence[Child], report: Callable[[str], None]) -> None:
    """Start children, and start each again that ends. Never returns.

    Args:
        children: The children.
        report: Called when one has ended.

    Raises:
        ExceptionGroup: of a `ChildFailedError`: one cannot run with its settings.
    """
    async with asyncio.TaskGroup() as tasks:
        for child in children:
            tasks.create_task(_keep(child, report))


async def stop_all(children: Sequence[Child]) -> None:
    """Stop children, all at once."""
    await asyncio.gather(*(child.stop() for child in children))


async def _keep(child: Child, report: Callable[[str], None]) -> None:
    while True:
        await child.start()
        ending = await child.ended()
        if ending == _WRONG_SETTINGS:
            raise ChildFailedError(child.name, ending, child.tail())
        report(f"{child.name} {ending}; starting it again{child.place}")
        await asyncio.sleep(PAUSE_S)
