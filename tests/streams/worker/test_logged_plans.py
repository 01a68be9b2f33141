"""Plans are read from `commands`, once for every experiment that is met, and never guessed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

from streams.kafka.records import StoredRecord, incomplete
from streams.model.errors import DependencyError
from streams.model.events import Command, CommandKind
from streams.model.ids import MAX_VARIANTS
from streams.tallies.plan import PLAIN, PeriodPlan, Plan
from streams.wire.commands import encode_command
from streams.wire.framing import framing
from streams.wire.homes import home_of
from streams.worker import logged_plans
from streams.worker.logged_plans import LoggedPlans
from tests.streams.replay.memory import DEFINITION, MEASURED_DEFINITION, NOW_MS
from tests.twins.log import MemoryLog

CLICK = frozenset({"click"})
CAPPED = Plan(
    {"click": 3_000_000},
    by_period=PeriodPlan("click", MAX_VARIANTS),
    declared=CLICK,
    n_variants=2,
)
SIMPLE = Plan(declared=CLICK, n_variants=2)


def create(log: MemoryLog, number: int, definition: Mapping[str, Any]) -> None:
    command = Command(f"{number:032x}", number, CommandKind.CREATE, NOW_MS, definition)
    log.append("commands", home_of(number, 2), encode_command(command))


@pytest.fixture
async def frames() -> Any:
    async with framing(None) as opened:
        yield opened


async def test_a_plan_is_that_of_the_first_creation_that_was_accepted(frames):
    log = MemoryLog()
    log.append("commands", 1, b"noise")
    create(log, 7, {"config": {}, "variants": []})
    create(log, 7, MEASURED_DEFINITION)
    create(log, 7, DEFINITION)
    create(log, 8, DEFINITION)
    plans = LoggedPlans(log, frames)

    assert plans.get(7) is None
    await plans.learn(7)

    assert (plans.get(7), plans.get(8)) == (CAPPED, None)  # a draft may still change
    await plans.learn(8)
    assert plans.get(8) == SIMPLE


async def test_a_plan_is_that_of_the_start_and_drafts_may_change_until_then(frames):
    log = MemoryLog()
    create(log, 7, DEFINITION)
    create(log, 8, DEFINITION)
    plans = LoggedPlans(log, frames)
    await plans.learn(8)
    steps: tuple[tuple[CommandKind, dict[str, Any]], ...] = (
        (CommandKind.EDIT, {**MEASURED_DEFINITION, "version": 3}),  # a conflict
        (CommandKind.EDIT, MEASURED_DEFINITION),
        (CommandKind.START, {}),
        (CommandKind.ADD_VARIANT, {"name": "later"}),
    )
    for step, (kind, payload) in enumerate(steps):
        command = Command(f"{100 + step:032x}", 7, kind, NOW_MS, payload)
        log.append("commands", 1, encode_command(command))

    await plans.learn(7)

    assert plans.get(7) == CAPPED


async def test_what_is_met_later_is_read_from_where_the_log_was_read_to(frames):
    log = MemoryLog()
    create(log, 7, DEFINITION)
    plans = LoggedPlans(log, frames)
    await plans.learn(7)
    create(log, 9, MEASURED_DEFINITION)
    log.first["commands", 1] = 1  # not read a second time

    assert plans.get(9) is None
    await plans.learn(9)

    assert plans.get(9) == CAPPED


async def test_what_was_never_created_costs_one_reading_and_is_plain(frames):
    log = MemoryLog()
    create(log, 7, DEFINITION)
    plans = LoggedPlans(log, frames)

    await asyncio.gather(*(plans.learn(99) for _ in range(5)))
    await plans.learn(99)

    assert plans.get(99) is PLAIN
    assert log.readings["commands"] == 1


async def test_a_log_that_does_not_answer_is_waited_for(frames, monkeypatch):
    monkeypatch.setattr(logged_plans, "RETRY_S", 0.0)
    log = MemoryLog()
    create(log, 7, MEASURED_DEFINITION)
    log.failures = [DependencyError("kafka", "silent"), incomplete("commands", 1, 5, 3)]
    plans = LoggedPlans(log, frames)

    await plans.learn(7)

    assert plans.get(7) == CAPPED
    assert log.readings["commands"] == 3


async def test_a_log_that_fails_in_mid_reading_gives_no_plan_of_what_it_did_not_reach(
    frames, monkeypatch
):
    monkeypatch.setattr(logged_plans, "RETRY_S", 0.0)
    log = MemoryLog()
    create(log, 7, MEASURED_DEFINITION)
    read = log.read
    answers = iter([False, True])

    def broken(
        topic: str, partition: int, begin: int, end: int
    ) -> Iterator[Sequence[StoredRecord]]:
        if not next(answers):
            raise DependencyError("kafka", "gone")
        return read(topic, partition, begin, end)

    monkeypatch.setattr(log, "read", broken)
    plans = LoggedPlans(log, frames)

    await plans.learn(7)

    assert plans.get(7) == CAPPED
