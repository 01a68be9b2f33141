"""Whether the tables are recovered, how long that takes, and an end to a recovery that hangs."""

from __future__ import annotations

import asyncio
import time
from typing import cast

from faust.tables.manager import TableManager

from streams.engine import metrics
from streams.engine.exits import die
from streams.engine.transport import BatchingApp

RECOVERY_LIMIT_S = 300.0
"""Longest time from the loss of the partitions to the end of the recovery. Recovery may wait for a
record that compaction has removed; a new process reads from where the log now begins."""

_LOOK_S = 0.1


async def watch_recovery(app: BatchingApp) -> None:
    """Measure every recovery of `app`, for ever, and end the process when one takes too long."""
    recovery = cast(TableManager, app.tables).recovery
    since = time.monotonic()
    was_away = True
    while True:
        is_away = app.rebalancing or app.in_recovery or not recovery.completed.is_set()
        now = time.monotonic()
        if is_away and not was_away:
            since = now
        elif was_away and not is_away:
            metrics.RECOVERY_SECONDS.set(now - since)
        elif is_away and now - since > RECOVERY_LIMIT_S:
            die(f"the tables are not recovered after {RECOVERY_LIMIT_S:.0f} s")
        was_away = is_away
        await asyncio.sleep(_LOOK_S)
