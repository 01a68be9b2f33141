"""Whether the tables are recovered, how long that takes, and an end to a recovery that hangs.

A recovery may take as long as its changelogs are long. One that reads nothing for
`EXPERIMENT_RECOVERY_STALL_S` waits for something that does not come, as for a record that
compaction has removed; a new process reads from where the log begins now.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

from faust.tables.manager import TableManager
from faust.types import TP

from streams.process.exits import die
from streams.worker import metrics
from streams.worker.tables import DurableTable
from streams.worker.transport import BatchingApp

LOG_EVERY_S = 10.0
"""How often the progress of a recovery is logged."""

SHOWN_PARTITIONS = 5
"""Partitions that a message names."""

_LOOK_S = 0.1

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class RecoveryClock:
    """How long a recovery takes, and how long it has read nothing.

    Time is counted in looks, so that a process that was stopped, or busy with restoring what was
    read, is not taken for one that waits in vain.

    Args:
        stall_s: Longest time without progress, > 0.

    Attributes:
        duration_s: Time since the recovery began, in seconds.
        stalled_s: Time since the last progress, in seconds.
        records: Changelog records read since the recovery began.
    """

    stall_s: float
    duration_s: float = 0.0
    stalled_s: float = 0.0
    records: int = 0
    _last_read: int = field(default=0, repr=False)

    def begin(self, records_read: int) -> None:
        """Begin a recovery, when this process has read so many changelog records in all."""
        self.duration_s = self.stalled_s = 0.0
        self.records, self._last_read = 0, records_read

    def look(self, records_read: int, elapsed_s: float) -> None:
        """Take note of the records read by now, some time after the last look."""
        self.duration_s += elapsed_s
        if records_read > self._last_read:
            self.records += records_read - self._last_read
            self._last_read = records_read
            self.stalled_s = 0.0
        else:
            self.stalled_s += elapsed_s

    @property
    def is_stalled(self) -> bool:
        """Whether there was no progress for too long."""
        return self.stalled_s > self.stall_s


async def monitor_recovery(app: BatchingApp, stall_s: float) -> None:
    """Measure every recovery of `app`, for ever, and end the process when one stands still.

    Args:
        app: The app of this worker.
        stall_s: Longest time without a changelog record read, in seconds.
    """
    recovery = cast(TableManager, app.tables).recovery
    clock = RecoveryClock(stall_s)
    clock.begin(records_read(app))
    was_away = True
    logged_s = 0.0
    while True:
        is_away = app.rebalancing or app.in_recovery or not recovery.completed.is_set()
        if is_away and not was_away:
            clock.begin(records_read(app))
            logged_s = 0.0
        elif was_away:
            clock.look(records_read(app), _LOOK_S)
            metrics.RECOVERED_RECORDS.set(clock.records)
            if not is_away:
                metrics.RECOVERY_SECONDS.set(clock.duration_s)
                metrics.RECOVERY_REMAINING.set(0)
                logger.info("%d changelog records read; recovered", clock.records)
            elif clock.is_stalled:
                die(
                    f"the tables are not recovered: {clock.records} changelog records were read, "
                    f"and none for {stall_s:g} s; {behind(remaining(app))}"
                )
            elif clock.duration_s - logged_s >= LOG_EVERY_S:
                logged_s = clock.duration_s
                left = remaining(app)
                metrics.RECOVERY_REMAINING.set(sum(end - at for at, end in left.values()))
                logger.info(
                    "recovering for %.0f s: %d changelog records read; %s",
                    clock.duration_s,
                    clock.records,
                    behind(left),
                )
        was_away = is_away
        await asyncio.sleep(_LOOK_S)


def records_read(app: BatchingApp) -> int:
    """Return how many changelog records the tables of `app` have read since its start."""
    return sum(
        table.records_read for table in app.tables.values() if isinstance(table, DurableTable)
    )


def remaining(app: BatchingApp) -> dict[TP, tuple[int, int]]:
    """Return (next offset, end offset) of every changelog partition that is not read to its end."""
    recovery = cast(TableManager, app.tables).recovery
    left = {}
    for tp in recovery.active_tps:
        end = recovery.active_highwaters.get(tp, 0) + 1
        at = recovery.active_offsets.get(tp, -1) + 1
        if at < end:
            left[tp] = (at, end)
    return left


def behind(left: Mapping[TP, tuple[int, int]]) -> str:
    """Return where a recovery stands, in words."""
    if not left:
        return "waiting for partitions from the group"
    places = [
        f"{tp.topic}/{tp.partition} at {at} of {end}" for tp, (at, end) in sorted(left.items())
    ]
    more = len(places) - SHOWN_PARTITIONS
    return ", ".join(places[:SHOWN_PARTITIONS]) + (f" and {more} more" if more > 0 else "")
