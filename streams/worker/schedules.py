"""Schedules: the commands by which experiments start, ramp and end at their time.

A worker compares the times of a schedule with its clock, looks at the statistics where a finding
may hold the ramp, and logs a command with both. So a replay sees what the worker saw. What was due
while no worker ran is done by the first look of one; a step that a finding may hold waits until all
that was logged before it is counted.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from hashlib import blake2b
from typing import Any

from streams.analysis.schedule_hold import hold_of
from streams.experiments.lifecycle import Experiment, Status
from streams.experiments.schedule import ScheduleAction, due_events, next_at_ms
from streams.fold.experiment_state import ExperimentState
from streams.model.authors import SCHEDULE, Origin
from streams.model.events import Command, CommandKind
from streams.model.ids import experiment_id

LOOK_S = 1.0
"""Interval of looking for what is due: steps of a ramp are late by it."""

LATE_MS = 60_000
"""Lateness that is reported."""

_ID_BYTES = 16
_SCHEDULED = frozenset({Status.DRAFT, Status.RUNNING, Status.PAUSED})

logger = logging.getLogger(__name__)


def due_schedule(
    known: ExperimentState,
    now_ms: int,
    key_of_new: Callable[[int], int],
    is_counted: Callable[[int], bool],
) -> Command | None:
    """Return the command by which an experiment does what is due; None if nothing is.

    Its id follows from the experiment and its version, so sending it twice is harmless. Where a
    finding may hold the ramp, a step waits until the events before it are counted and the
    experiment can be evaluated. The end waits for nothing, and no step before it matters any more.

    Args:
        known: The experiment.
        now_ms: The time.
        key_of_new: Returns the id of the key that signs the receipts of an experiment that starts.
        is_counted: Returns whether all that was logged by a time is counted.
    """
    experiment = known.experiment
    if experiment is None or experiment.status not in _SCHEDULED:
        return None
    schedule = experiment.definition.config.schedule
    if schedule is None:
        return None
    at_ms = next_at_ms(schedule, experiment.history, experiment.started_at_ms)
    if at_ms is None or at_ms > now_ms:
        return None
    payload: dict[str, Any] = {}
    if experiment.started_at_ms is None:
        payload["receiptKey"] = key_of_new(known.number)
    elif schedule.hold_on and (step_ms := _ramp_due_ms(experiment, now_ms)) is not None:
        if not is_counted(step_ms):
            return None
        try:
            snapshot = known.snapshot()
        except Exception:  # noqa: BLE001 - the publisher reports it
            return None
        hold = None if snapshot is None else hold_of(snapshot)
        if hold is not None:
            payload["hold"] = hold.value
    if now_ms - at_ms > LATE_MS:
        name = experiment_id(known.number)
        logger.warning("%s: the schedule is done %.0f s late", name, (now_ms - at_ms) / 1000)
    seed = f"schedule/{experiment_id(known.number)}/{experiment.version}".encode()
    return Command(
        command_id=blake2b(seed, digest_size=_ID_BYTES).hexdigest(),
        experiment=known.number,
        kind=CommandKind.SCHEDULE,
        issued_at_ms=now_ms,
        payload=payload,
        origin=Origin(SCHEDULE),
    )


def _ramp_due_ms(experiment: Experiment, now_ms: int) -> int | None:
    """Return when the last step of the ramp was due; None if none is, or the end is, too."""
    schedule = experiment.definition.config.schedule
    if schedule is None:
        return None
    due = list(due_events(schedule, experiment.history, experiment.started_at_ms, now_ms))
    if any(event.action is ScheduleAction.END for event in due):
        return None
    steps_ms = (event.due_at_ms for event in due if event.action is ScheduleAction.RAMP)
    return max(steps_ms, default=None)
