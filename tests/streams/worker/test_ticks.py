"""Units whose windows end after the last event mature by a tick, which a replay sees as well."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from streams.experiments.lifecycle import Status
from streams.fold.experiment_state import ExperimentState
from streams.fold.impressions import ImpressionFold
from streams.model.events import Command, CommandKind, ImpressionBatch, ImpressionGroup
from streams.model.partitioning import SOLE_PARTITION
from streams.model.quantities import PROPENSITY_ONE
from streams.tallies.plan import Plan
from streams.wire.commands import decode_command
from streams.wire.records import SINGLE_OBJECT
from streams.worker import ticks
from streams.worker.ticks import GRACE_MS, DueCommandLogger, due_tick
from tests.streams.analysis.test_evaluate import experiment
from tests.streams.fold.batches import fold_batch

WINDOW_S = 8_000
LENGTH_MS = 1_000_000
START_MS = 1_000 * LENGTH_MS


def state(status=Status.RUNNING, **config) -> Any:
    """Return an experiment with ten units of either variant, and no event since."""
    value = replace(experiment("bayesian_ab", conversionWindow=WINDOW_S, **config), status=status)
    fold = ImpressionFold(0, plan_of=lambda _: Plan(windows={"click": WINDOW_S}))
    group = ImpressionGroup(
        7, False, [0, 1] * 10, [PROPENSITY_ONE // 2] * 20, [1] * 20, [START_MS] * 20, [*range(20)]
    )
    fold_batch(fold, 0, ImpressionBatch(1, 0, 0, [group]))
    known = ExperimentState(7, experiment=value)
    for cell in fold.take_changes().cells:
        known.take_cell(cell)
    return known


def test_units_mature_by_the_tick_that_is_due():
    known = state()
    over_ms = START_MS + LENGTH_MS + 1_000 * WINDOW_S
    assert known.snapshot().evidence.maturity.units == (0, 0)
    assert due_tick(known, over_ms - 1) is None

    tick: Any = due_tick(known, over_ms)

    assert (tick.kind, tick.issued_at_ms, tick.payload) == (CommandKind.TICK, over_ms, {})
    assert due_tick(known, over_ms + 99) == tick
    result = known.take_command(1, tick)
    assert result.answer.accepted
    assert known.snapshot().evidence.maturity.units == (10, 10)
    assert known.snapshot().as_of_ms == START_MS  # of events
    assert due_tick(known, 1 << 50) is None


@pytest.mark.parametrize("status", [Status.DRAFT, Status.ARCHIVED])
def test_none_is_due_of_an_experiment_that_does_not_go_on(status):
    assert due_tick(state(status), 1 << 50) is None
    assert due_tick(ExperimentState(7), 1 << 50) is None


def test_a_worker_logs_it_once(monkeypatch):
    logged: list[Command] = []

    async def deliver(topic, records, timeout_s):
        logged.extend(decode_command(record.value, SOLE_PARTITION) for record in records)

    monkeypatch.setattr(ticks, "deliver", deliver)
    known = state()
    now_ms = [START_MS]
    stage: Any = SimpleNamespace(all_known=lambda: [(0, known)])
    unused: Any = None
    loop = DueCommandLogger(
        stage,
        unused,
        SINGLE_OBJECT,
        unused,
        lambda: True,
        timeout_s=1.0,
        now_ms=lambda: now_ms[0],
    )

    asyncio.run(loop.look())
    assert not logged
    now_ms[0] = START_MS + LENGTH_MS + 1_000 * WINDOW_S + GRACE_MS
    asyncio.run(loop.look())
    asyncio.run(loop.look())

    assert [each.kind for each in logged] == [CommandKind.TICK]
