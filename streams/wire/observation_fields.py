"""Bounds of the fields of an observation, for Avro and JSON alike."""

from __future__ import annotations

import re

from streams.model.errors import EventError
from streams.model.events import EXPOSED, EXPOSURE, Observation
from streams.model.quantities import METRIC_NAME_LIMIT, METRIC_NAME_PATTERN, MICRO, VALUE_LIMIT
from streams.model.times import unit_hint
from streams.model.voids import REASON_PATTERN, VOID_PREFIX
from streams.wire.records import TIME_LIMIT_MS, check_range

ASSIGNMENT_ID_LIMIT = 512
"""Longest assignment id, in characters: a receipt has 75, and more with features."""

EVENT_ID_LIMIT = 256
"""Longest event id, in characters."""

MAX_OBSERVATIONS = 10_000
"""Observations of one record at most: what a record of 1 MB holds when it holds real ones."""

_METRIC_NAME = re.compile(
    rf"{re.escape(EXPOSURE)}|{METRIC_NAME_PATTERN[1:-1]}|{re.escape(VOID_PREFIX)}{REASON_PATTERN}"
).fullmatch
_MICRO_LIMIT = VALUE_LIMIT * MICRO


def check_observation(observation: Observation) -> Observation:
    """Return `observation` if all its fields are within their bounds.

    Raises:
        EventError: a text is empty or too long, or the time is out of range (`OUT_OF_RANGE`), the
            metric's name is invalid (`INVALID_NAME`), the value is too large
            (`VALUE_OUT_OF_RANGE`), or it is not that of an exposure (`INVALID_EXPOSURE`). Paths are
            the fields' names in JSON.
    """
    if not 1 <= len(observation.assignment_id) <= ASSIGNMENT_ID_LIMIT:
        raise _wrong_length("assignmentId", ASSIGNMENT_ID_LIMIT)
    if not _METRIC_NAME(observation.metric):
        raise EventError(
            "INVALID_NAME",
            f"must be a letter and up to {METRIC_NAME_LIMIT - 1} letters, digits or _ . : -",
            "metric",
        )
    if not -_MICRO_LIMIT <= observation.value <= _MICRO_LIMIT:
        raise EventError("VALUE_OUT_OF_RANGE", f"must be within +-{VALUE_LIMIT}", "value")
    if observation.metric == EXPOSURE and observation.value != EXPOSED:
        raise EventError("INVALID_EXPOSURE", "the value of an exposure must be 1", "value")
    event_id = observation.event_id
    if event_id is not None and not 1 <= len(event_id) <= EVENT_ID_LIMIT:
        raise _wrong_length("eventId", EVENT_ID_LIMIT)
    if observation.observed_at_ms is not None:
        _check_time(observation.observed_at_ms)
    return observation


def is_metric_name(name: bytes) -> bool:
    """Return whether the bytes of a text are the name of a metric."""
    return name.isascii() and _METRIC_NAME(name.decode()) is not None


def check_count(count: int) -> None:
    """Refuse a record of more than `MAX_OBSERVATIONS` as a whole.

    Raises:
        EventError: there are more (`TOO_MANY_OBSERVATIONS`).
    """
    if count > MAX_OBSERVATIONS:
        raise EventError(
            "TOO_MANY_OBSERVATIONS", f"a list of {count}, must be at most {MAX_OBSERVATIONS}"
        )


def at(index: int, error: EventError) -> EventError:
    """Return `error` with its path below the member `index` of a list."""
    path = f"[{index}].{error.path}" if error.path else f"[{index}]"
    return EventError(error.code, error.message, path)


def _check_time(time_ms: int) -> None:
    try:
        check_range(time_ms, 0, TIME_LIMIT_MS, "timestamp")
    except EventError as error:
        raise EventError(error.code, error.message + unit_hint(time_ms), error.path) from error


def _wrong_length(path: str, limit: int) -> EventError:
    return EventError("OUT_OF_RANGE", f"must have 1 to {limit} characters", path)
