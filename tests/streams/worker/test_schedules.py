"""Commands of schedules: when a worker logs them, and with which finding."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from streams.analysis.schedule_hold import hold_of
from streams.experiments.lifecycle import Status
from streams.experiments.schedule import HoldOn, ScheduleAction
from streams.experiments.snapshot import Snapshot
from streams.fold.experiment_state import ExperimentState
from streams.model.events import Command, CommandKind
from streams.worker.schedules import due_schedule
from tests.streams.experiments.test_schedule import AT_MS, HOUR_MS, LAUNCH, VARIANTS, config


def created(**schedule: Any) -> ExperimentState:
    known = ExperimentState(7)
    payload = {"config": config(schedule=LAUNCH | schedule), "variants": VARIANTS}
    known.take_command(0, Command("0" * 32, 7, CommandKind.CREATE, AT_MS - 9, payload))
    return known


def due(known: ExperimentState, at_ms: int, counted_until_ms: int = 2**60) -> Command | None:
    return due_schedule(
        known, at_ms, key_of_new=lambda _: 5, is_counted=lambda ms: ms <= counted_until_ms
    )


def look(known: ExperimentState, at_ms: int) -> Command | None:
    command = due(known, at_ms)
    if command is not None:
        result = known.take_command(known.last_offset + 1, command)
        assert result.answer is not None
        assert result.answer.accepted, result.answer
    return command


def test_the_commands_of_a_launch():
    known = created()

    assert look(known, AT_MS - 1) is None
    start = look(known, AT_MS)
    assert start is not None
    assert (start.kind, start.payload) == (CommandKind.SCHEDULE, {"receiptKey": 5})
    assert look(known, AT_MS + 1) is None
    ramp = look(known, AT_MS + HOUR_MS)
    assert ramp is not None
    assert ramp.payload == {}
    assert look(known, AT_MS + 99 * HOUR_MS) is not None
    assert look(known, AT_MS + 100 * HOUR_MS) is None
    assert known.experiment is not None
    assert known.experiment.status is Status.CONCLUDED


def test_a_command_that_was_not_applied_yet_has_the_same_id():
    known = created()

    first, again = (due(known, AT_MS + late) for late in (0, 700))
    assert first is not None
    assert again is not None
    assert first.command_id == again.command_id
    assert known.take_command(1, first).answer == known.take_command(2, again).answer


def test_the_commands_replayed_give_the_same_experiment():
    known = created()
    log = [look(known, AT_MS + hours * HOUR_MS + 17) for hours in (0, 1, 2, 3, 10)]
    replayed = created()
    for offset, command in enumerate(log, 1):
        assert command is not None
        replayed.take_command(offset, command)

    assert replayed.experiment == known.experiment
    assert replayed.entry() == known.entry()


def finding(snapshot: Snapshot, name: str) -> Snapshot:
    evidence = snapshot.evidence
    assert evidence is not None
    if name == "guardrail":
        [first, *others] = evidence.guardrails
        changed = replace(evidence, guardrails=(replace(first, is_tripped=True), *others))
    else:
        ratio = replace(evidence.sample_ratio, is_mismatch=True)
        changed = replace(evidence, sample_ratio=ratio)
    return replace(snapshot, evidence=changed)


@pytest.mark.parametrize("name", ["guardrail", "sampleRatio"])
def test_a_finding_holds_the_ramp(monkeypatch, name):
    known = created()
    look(known, AT_MS)
    found = known.snapshot()
    assert found is not None
    assert hold_of(found) is None
    found = finding(found, name)
    assert hold_of(found) is HoldOn(name)
    monkeypatch.setattr(ExperimentState, "snapshot", lambda _: found)

    command = look(known, AT_MS + HOUR_MS)

    assert command is not None
    assert command.payload == {"hold": name}
    assert known.experiment is not None
    assert known.experiment.history[-1].action is ScheduleAction.HOLD
    assert look(known, AT_MS + 3 * HOUR_MS) is None


def test_a_finding_that_is_not_declared_holds_nothing():
    known = created(holdOn=["sampleRatio"])
    look(known, AT_MS)
    found = known.snapshot()
    assert found is not None

    assert hold_of(finding(found, "guardrail")) is None


def test_no_step_is_taken_while_the_experiment_cannot_be_evaluated(monkeypatch):
    known = created()
    look(known, AT_MS)

    def fail(_: ExperimentState) -> None:
        raise ArithmeticError

    monkeypatch.setattr(ExperimentState, "snapshot", fail)
    assert look(known, AT_MS + HOUR_MS) is None
    monkeypatch.undo()
    assert look(known, AT_MS + HOUR_MS) is not None


def test_an_experiment_ends_also_while_it_cannot_be_evaluated_or_counted(monkeypatch):
    known = created()
    look(known, AT_MS)
    monkeypatch.setattr(ExperimentState, "snapshot", lambda _: 1 / 0)

    assert due(known, AT_MS + 5 * HOUR_MS) is None
    assert due(known, AT_MS + 10 * HOUR_MS, counted_until_ms=0) is not None
    assert look(known, AT_MS + 10 * HOUR_MS) is not None
    assert known.experiment is not None
    assert known.experiment.status is Status.CONCLUDED


def test_a_step_that_may_be_held_waits_until_the_events_before_it_are_counted():
    known = created()
    look(known, AT_MS)
    step_ms, now_ms = AT_MS + HOUR_MS, AT_MS + HOUR_MS + 900

    assert due(known, now_ms, counted_until_ms=step_ms - 1) is None
    assert due(known, now_ms, counted_until_ms=step_ms) is not None
    assert due(created(), AT_MS, counted_until_ms=0) is not None  # a start


def test_a_step_that_nothing_may_hold_waits_for_nothing():
    known = created(holdOn=[])
    look(known, AT_MS)

    assert due(known, AT_MS + HOUR_MS, counted_until_ms=0) is not None
