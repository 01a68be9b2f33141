"""Schedules: what is due when, what holds a ramp, and which are refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.experiments.definition import parse_definition
from streams.experiments.lifecycle import Experiment, Status
from streams.experiments.schedule import HoldOn, ScheduleAction, next_at_ms
from streams.experiments.transitions import apply_command
from streams.fold.stored import StoredExperiment, decode_stored, encode_stored
from streams.model.errors import InputError, TransitionError
from streams.model.events import Command, CommandKind

START, RAMP, HOLD, END = ScheduleAction
AT_MS = 1_764_000_000_000
HOUR_MS = 3_600_000
VARIANTS = [{"name": "A", "isControl": True}, {"name": "B"}]
LAUNCH = {
    "startAt": AT_MS,
    "endAt": AT_MS + 10 * HOUR_MS,
    "ramp": [
        {"after": 3_600, "trafficAllocation": 0.1},
        {"after": 7_200, "trafficAllocation": 0.5},
        {"after": 10_800, "trafficAllocation": 1},
    ],
    "holdOn": ["guardrail", "sampleRatio"],
}


def config(**changes: Any) -> dict[str, Any]:
    base = {"name": "Hero", "type": "bayesian_ab", "primaryMetric": "click"}
    return base | {"guardrailMetrics": ["latency"], "trafficAllocation": 0.01} | changes


def command(kind: CommandKind, at_ms: int, **payload: Any) -> Command:
    return Command(f"{at_ms:032x}", 7, kind, at_ms, payload)


def draft(**schedule: Any) -> Experiment:
    payload = {"config": config(schedule=LAUNCH | schedule), "variants": VARIANTS}
    return apply_command(None, Command("0" * 32, 7, CommandKind.CREATE, AT_MS - 1, payload))


def at(experiment: Experiment, hours: float, **payload: Any) -> Experiment:
    at_ms = AT_MS + round(hours * HOUR_MS)
    return apply_command(experiment, command(CommandKind.SCHEDULE, at_ms, **payload))


def traffic(experiment: Experiment) -> float:
    return experiment.definition.config.traffic_allocation


def done(experiment: Experiment) -> list[ScheduleAction]:
    return [event.action for event in experiment.history]


def upcoming(experiment: Experiment) -> int | None:
    schedule = experiment.definition.config.schedule
    assert schedule is not None
    return next_at_ms(schedule, experiment.history, experiment.started_at_ms)


def test_a_launch_by_hand():
    experiment = draft()
    assert upcoming(experiment) == AT_MS

    experiment = at(experiment, 0, receiptKey=3)
    assert (experiment.status, experiment.started_at_ms) == (Status.RUNNING, AT_MS)
    assert (experiment.started_version, experiment.version) == (2, 2)
    assert experiment.definition.config.receipt_key == 3
    assert (traffic(experiment), upcoming(experiment)) == (0.01, AT_MS + HOUR_MS)

    for hours, share in ((1, 0.1), (2, 0.5), (3, 1.0)):
        experiment = at(experiment, hours)
        assert traffic(experiment) == share
    assert upcoming(experiment) == AT_MS + 10 * HOUR_MS

    experiment = at(experiment, 10)
    assert (experiment.status, experiment.winner) == (Status.CONCLUDED, None)
    assert experiment.concluded_at_ms == AT_MS + 10 * HOUR_MS
    assert done(experiment) == [START, RAMP, RAMP, RAMP, END]
    assert all(event.at_ms == event.due_at_ms for event in experiment.history)


def test_what_was_due_while_nothing_ran_is_done_at_once_and_says_how_late():
    running = at(at(draft(), 0), 2.5)

    assert traffic(running) == 0.5
    assert [event.at_ms - event.due_at_ms for event in running.history] == [
        0,
        1.5 * HOUR_MS,
        0.5 * HOUR_MS,
    ]

    late = at(draft(), 4)  # no start is in the past: its ramp begins now
    assert (late.started_at_ms, traffic(late)) == (AT_MS + 4 * HOUR_MS, 0.01)

    over = at(draft(), 12)
    assert (over.status, done(over)) == (Status.CONCLUDED, [START, END])
    assert over.started_at_ms == over.concluded_at_ms == AT_MS + 12 * HOUR_MS


def test_a_finding_holds_the_ramp_but_not_the_end_until_there_is_another_schedule():
    held = at(at(at(draft(), 0), 1), 2, hold="guardrail")

    assert (traffic(held), done(held)) == (0.1, [START, RAMP, HOLD])
    assert held.history[-1].because is HoldOn.GUARDRAIL
    assert upcoming(held) == AT_MS + 10 * HOUR_MS
    with pytest.raises(TransitionError):
        at(held, 5)
    assert done(at(held, 10)) == [START, RAMP, HOLD, END]

    schedule = {"ramp": [{"after": 18_000, "trafficAllocation": 0.3}]}
    again = apply_command(held, command(CommandKind.UPDATE, AT_MS + 3 * HOUR_MS, schedule=schedule))
    assert (again.history, upcoming(again)) == ((), AT_MS + 5 * HOUR_MS)
    assert traffic(at(again, 5)) == 0.3


def test_what_is_not_due_is_refused_and_changes_nothing():
    for experiment, hours in ((draft(), -1), (at(draft(), 0), 0.5), (draft(startAt=None), 99)):
        with pytest.raises(TransitionError) as caught:
            at(experiment, hours)
        assert caught.value.code == "INVALID_TRANSITION"


def test_a_ramp_goes_on_while_paused_and_begins_with_a_start_by_hand():
    started = apply_command(draft(startAt=None), command(CommandKind.START, AT_MS))
    paused = apply_command(started, command(CommandKind.PAUSE, AT_MS + 1))

    after = at(paused, 1)
    assert (after.status, traffic(after)) == (Status.PAUSED, 0.1)


def test_an_update_of_something_else_keeps_what_was_done():
    experiment = at(at(draft(), 0), 1)
    update = command(CommandKind.UPDATE, AT_MS + HOUR_MS + 1, minSampleSize=7)

    assert apply_command(experiment, update).history == experiment.history


def test_its_table_entry_holds_it():
    held = at(at(at(draft(), 0), 1), 2, hold="sampleRatio")

    assert decode_stored(encode_stored(StoredExperiment(held, ()))).experiment == held


@given(st.lists(st.integers(0, 40), min_size=1, max_size=6))
def test_whenever_the_looks_come_the_same_is_done_by_the_end(quarters):
    experiment = at(draft(), 0)
    for quarter in sorted({*quarters, 40}):
        try:
            experiment = at(experiment, quarter / 4)
        except TransitionError:
            assert upcoming(experiment) > AT_MS + quarter * HOUR_MS // 4
    assert done(experiment) == [START, RAMP, RAMP, RAMP, END]
    assert traffic(experiment) == 1.0


def steps(*after: int) -> list[dict[str, Any]]:
    return [{"after": each, "trafficAllocation": 0.5} for each in after]


@pytest.mark.parametrize(
    ("schedule", "code", "path"),
    [
        ({"ramp": steps(60, 30)}, "RAMP_NOT_ASCENDING", "ramp[1].after"),
        ({"ramp": steps(60, 60)}, "RAMP_NOT_ASCENDING", "ramp[1].after"),
        ({"ramp": steps(-1)}, "OUT_OF_RANGE", "ramp[0].after"),
        ({"ramp": [{"after": 1}]}, "MISSING_FIELD", "ramp[0].trafficAllocation"),
        ({"ramp": [{"after": 1, "trafficAllocation": 1.1}]}, "OUT_OF_RANGE",
         "ramp[0].trafficAllocation"),
        ({"ramp": steps(*range(21))}, "OUT_OF_RANGE", "ramp"),
        ({"startAt": AT_MS, "endAt": AT_MS}, "END_BEFORE_START", "endAt"),
        ({"startAt": AT_MS, "endAt": AT_MS + 60_000, "ramp": steps(30, 60)}, "RAMP_AFTER_END",
         "ramp[1].after"),
        ({"startAt": -1}, "OUT_OF_RANGE", "startAt"),
        ({"startAt": 1_796_040_000}, "OUT_OF_RANGE", "startAt"),  # seconds: it would start at once
        ({"endAt": 1_796_040_000_000_000}, "OUT_OF_RANGE", "endAt"),  # microseconds
        ({"startAt": 253_402_300_800_000}, "OUT_OF_RANGE", "startAt"),  # of the year 10000
        ({"startAt": "2026-01-01"}, "WRONG_TYPE", "startAt"),
        ({"holdOn": ["guardrail"]}, "HOLD_NOT_USED", "holdOn"),
        ({"ramp": steps(1), "holdOn": ["profit"]}, "UNKNOWN_VALUE", "holdOn[0]"),
        ({"pause": 3}, "UNKNOWN_FIELD", "pause"),
    ],
)  # fmt: skip
def test_refused(schedule, code, path):
    with pytest.raises(InputError) as caught:
        parse_definition(config(schedule=schedule), VARIANTS)

    assert (caught.value.code, caught.value.path) == (code, f"config.schedule.{path}")


def test_a_hold_on_guardrails_needs_one():
    schedule = {"ramp": steps(1), "holdOn": ["guardrail"]}
    with pytest.raises(InputError) as caught:
        parse_definition(config(schedule=schedule, guardrailMetrics=[]), VARIANTS)

    assert (caught.value.code, caught.value.path) == ("HOLD_NOT_USED", "config.schedule.holdOn")
