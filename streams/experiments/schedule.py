"""Schedule of an experiment: start, ramp and end by time, and holds of the ramp.

Nothing here reads a clock: a command logged by a worker carries the time, and what is due by then
follows from the experiment.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, model_validator

from streams.model.published import Published
from streams.model.stated_times import StatedTime
from streams.model.validation import InputModel, JsonList, problem

MAX_RAMP_STEPS = 20
MAX_AFTER_S = 366 * 86_400

_MS_PER_S = 1_000


class HoldOn(StrEnum):
    """Finding that holds a ramp."""

    GUARDRAIL = "guardrail"
    """A guardrail has tripped."""
    SAMPLE_RATIO = "sampleRatio"
    """Observed counts of units deviate from the configured split."""


class RampStep(InputModel):
    """A traffic share from a given time on.

    Attributes:
        after: Seconds after the start.
        traffic_allocation: Share of the units that take part from then on, in [0, 1].
    """

    after: int = Field(ge=0, le=MAX_AFTER_S)
    traffic_allocation: float = Field(ge=0.0, le=1.0)


class ScheduleSpec(InputModel):
    """Times at which an experiment starts, ramps and ends.

    Attributes:
        start_at: When a draft starts, in milliseconds since the epoch; None for manual.
        end_at: When it is concluded, without a winner; None for manual.
        ramp: Shares of the units, in order of time.
        hold_on: Findings that hold the ramp: no further step is taken.
    """

    start_at: StatedTime | None = None
    end_at: StatedTime | None = None
    ramp: Annotated[tuple[RampStep, ...], JsonList(max_length=MAX_RAMP_STEPS)] = ()
    hold_on: Annotated[
        tuple[Annotated[HoldOn, Field(strict=False)], ...],
        JsonList(max_length=len(HoldOn)),
    ] = ()

    @model_validator(mode="after")
    def _check(self) -> Self:
        for index, (before, step) in enumerate(zip(self.ramp, self.ramp[1:], strict=False), 1):
            if step.after <= before.after:
                message = f"after == {step.after}, must be above {before.after} of the step before"
                raise problem("RAMP_NOT_ASCENDING", message, f"ramp[{index}].after")
        if self.hold_on and not self.ramp:
            raise problem("HOLD_NOT_USED", "there is no ramp that could be held", "holdOn")
        if self.start_at is None or self.end_at is None:
            return self
        if self.end_at <= self.start_at:
            message = f"endAt == {self.end_at}, must be above startAt"
            raise problem("END_BEFORE_START", message, "endAt")
        for index, step in enumerate(self.ramp):
            if self.start_at + step.after * _MS_PER_S >= self.end_at:
                raise problem("RAMP_AFTER_END", "it is after endAt", f"ramp[{index}].after")
        return self


class ScheduleAction(StrEnum):
    """Kind of a `ScheduleEvent`."""

    START = "start"
    RAMP = "ramp"
    HOLD = "hold"
    """A due step of the ramp was skipped; no later step is taken either."""
    END = "end"


@dataclass(frozen=True, slots=True)
class ScheduleEvent(Published):
    """An executed event of a schedule.

    Attributes:
        action: Kind of the event.
        due_at_ms: When it was due.
        at_ms: When it was executed; later than due if no worker ran.
        traffic_allocation: Traffic share from then on, for a step of the ramp; else None.
        because: Finding that holds the ramp; else None.
    """

    action: ScheduleAction
    due_at_ms: int
    at_ms: int
    traffic_allocation: float | None = None
    because: HoldOn | None = None


History = tuple[ScheduleEvent, ...]
"""Events of the schedule in force, oldest first."""


def is_held(history: History) -> bool:
    """Return whether the ramp is held."""
    return any(event.action is ScheduleAction.HOLD for event in history)


def held_by(history: History) -> HoldOn | None:
    """Return the finding that holds the ramp; None without one."""
    for event in history:
        if event.action is ScheduleAction.HOLD and event.because is not None:
            return event.because
    return None


def due_events(
    schedule: ScheduleSpec,
    history: History,
    started_at_ms: int | None,
    now_ms: int,
    hold: HoldOn | None = None,
) -> Iterator[ScheduleEvent]:
    """Yield due events in the order of execution.

    Args:
        schedule: The schedule.
        history: Its executed events.
        started_at_ms: Start of the experiment; None for a draft.
        now_ms: The time.
        hold: Finding that holds the ramp, if a step of it is due now.
    """
    if started_at_ms is None:
        if schedule.start_at is None or schedule.start_at > now_ms:
            return
        started_at_ms = now_ms
        yield ScheduleEvent(ScheduleAction.START, schedule.start_at, now_ms)
    if not is_held(history):
        taken = sum(event.action is ScheduleAction.RAMP for event in history)
        for step in schedule.ramp[taken:]:
            due_at_ms = started_at_ms + step.after * _MS_PER_S
            if due_at_ms > now_ms:
                break
            if hold is not None:
                yield ScheduleEvent(ScheduleAction.HOLD, due_at_ms, now_ms, because=hold)
                break
            yield ScheduleEvent(ScheduleAction.RAMP, due_at_ms, now_ms, step.traffic_allocation)
    if schedule.end_at is not None and schedule.end_at <= now_ms:
        yield ScheduleEvent(ScheduleAction.END, schedule.end_at, now_ms)


def next_at_ms(schedule: ScheduleSpec, history: History, started_at_ms: int | None) -> int | None:
    """Return the time of the next event of the schedule; None if none is left."""
    if started_at_ms is None:
        return schedule.start_at
    times = [] if schedule.end_at is None else [schedule.end_at]
    taken = sum(event.action is ScheduleAction.RAMP for event in history)
    if not is_held(history) and taken < len(schedule.ramp):
        times.append(started_at_ms + schedule.ramp[taken].after * _MS_PER_S)
    return min(times, default=None)
