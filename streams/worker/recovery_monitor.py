"""Progress of the recovery of the tables, and a time limit for one that stalls.

A recovery takes as long as its changelogs are long. One that reads nothing for
`EXPERIMENT_RECOVERY_STALL_S` waits for a record that never arrives, such as one that compaction has
removed; a new process starts from the current beginning of the log.
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
"""Interval of log lines on the progress of a recovery."""

SHOWN_PARTITIONS = 5
"""Most partitions listed in a message."""

_LOOK_S = 0.1

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class RecoveryClock:
    """Duration of a recovery, and time since its last progress.

    Time counts in polling intervals, so a process that was stopped, or busy restoring what it had
    read, does not count as stalled.

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
        """Start a recovery, given the changelog records that this process has read before."""
        self.duration_s = self.stalled_s = 0.0
        self.records, self._last_read = 0, records_read

    def look(self, records_read: int, elapsed_s: float) -> None:
        """Update with the records read by now, `elapsed_s` after the last update."""
        self.duration_s += elapsed_s
        if records_read > self._last_read:
            self.records += records_read - self._last_read
            self._last_read = records_read
            self.stalled_s = 0.0
        else:
            self.stalled_s += elapsed_s

    @property
    def is_stalled(self) -> bool:
        """Whether there has been no progress for longer than `stall_s`."""
        return self.stalled_s > self.stall_s


async def monitor_recovery(app: BatchingApp, stall_s: float) -> None:
    """Measure every recovery of `app`, indefinitely, and exit the process when one stalls.

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
    """Return the state of a recovery for a log line."""
    if not left:
        return "waiting for partitions from the group"
    places = [
        f"{tp.topic}/{tp.partition} at {at} of {end}" for tp, (at, end) in sorted(left.items())
    ]
    more = len(places) - SHOWN_PARTITIONS
    return ", ".join(places[:SHOWN_PARTITIONS]) + (f" and {more} more" if more > 0 else "")
