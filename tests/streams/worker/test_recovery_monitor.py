"""A recovery is limited by its progress, not by its length."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from faust.types import TP

from streams.worker import recovery_monitor
from streams.worker.recovery_monitor import RecoveryClock, behind, monitor_recovery
from tests.patience import PATIENCE_S


def test_a_recovery_that_makes_progress_may_take_hours():
    clock = RecoveryClock(stall_s=10.0)
    clock.begin(100)

    for read in range(1000):
        clock.look(101 + read, 9.9)

    assert clock.duration_s == pytest.approx(9_900)
    assert clock.records == 1000
    assert not clock.is_stalled


def test_a_recovery_that_reads_nothing_is_stalled_after_its_limit():
    clock = RecoveryClock(stall_s=10.0)
    clock.begin(100)
    clock.look(101, 5.0)

    stalled = []
    for elapsed_s in (10.0, 0.1):
        clock.look(101, elapsed_s)
        stalled.append(clock.is_stalled)

    assert stalled == [False, True]


def test_a_new_recovery_begins_anew():
    clock = RecoveryClock(stall_s=10.0)
    clock.begin(0)
    clock.look(5, 11.0)
    clock.look(5, 11.0)

    clock.begin(5)

    assert not clock.is_stalled
    assert (clock.records, clock.duration_s) == (0, 0.0)


def test_where_a_recovery_stands_names_partitions_and_offsets():
    left = {TP("changelog", number): (number, 10) for number in range(7)}

    text = behind(left)

    assert text.startswith("changelog/0 at 0 of 10, changelog/1 at 1 of 10")
    assert text.endswith("and 2 more")
    assert behind({}) == "waiting for partitions from the group"


class _DiedError(Exception):
    pass


def test_the_process_ends_when_its_recovery_stands_still_and_says_where(monkeypatch):
    """The table has 3 of 10 records, and no further one comes."""

    def died(reason: str) -> None:
        raise _DiedError(reason)

    monkeypatch.setattr(recovery_monitor, "die", died)
    monkeypatch.setattr(recovery_monitor, "_LOOK_S", 0.01)
    monkeypatch.setattr(recovery_monitor, "records_read", lambda _: 3)
    tp = TP("t-changelog", 1)
    recovery = SimpleNamespace(
        completed=asyncio.Event(),
        active_tps={tp},
        active_highwaters={tp: 9},
        active_offsets={tp: 2},
    )
    app: Any = SimpleNamespace(
        rebalancing=False, in_recovery=True, tables=SimpleNamespace(recovery=recovery)
    )

    with pytest.raises(_DiedError, match=r"none for 0\.05 s; t-changelog/1 at 3 of 10"):
        asyncio.run(asyncio.wait_for(monitor_recovery(cast(Any, app), 0.05), PATIENCE_S))
