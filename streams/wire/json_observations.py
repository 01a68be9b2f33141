"""Observations in JSON, as external producers send them over HTTP or directly to Kafka.

An object `{"assignmentId", "metric", "value", "eventId"?, "timestamp"?}` or a list of them; the
timestamp in milliseconds since the epoch. Types are strict: `true` and `"1"` are not numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import Any, TypeVar

import orjson

from streams.experiments.ignored_units import MAX_UNIT_ID
from streams.model.errors import QUOTED_CHARACTERS, EventError
from streams.model.events import (
    EXPOSED,
    EXPOSURE,
    Observation,
    ObservationBatch,
    UnitObservation,
)
from streams.model.quantities import MICRO, to_micro
from streams.model.voids import void_metric, void_reason
from streams.wire.observation_fields import at, check_count, check_observation

JSON_FIRST_BYTES = frozenset(b"{[ \t\r\n")
"""Bytes a JSON object or list may begin with; no Avro record begins with one."""

_REQUIRED = ("assignmentId", "metric", "value")
_OPTIONAL = frozenset({"eventId", "timestamp"})
_OF_EXPOSURES = ("assignmentId",)
_OF_VOIDS = ("assignmentId", "reason")

_UNITS = frozenset({"userId", "sessionId"})
_OF_UNITS = _UNITS | {"experiment"}
_OF_EITHER_FORM = _OF_UNITS | {"assignmentId"}
_NOT_FOUND_YET = "-"

EXPERIMENT_LIMIT = 100
"""Longest id or key of an experiment, in characters."""

T = TypeVar("T")


def decode_json_observations(body: bytes) -> ObservationBatch:
    """Return the observations in a JSON text, one object or a list of them.

    An invalid member of a list is replaced by its error, so that it does not affect the others.

    Raises:
        EventError: the text is not JSON (`INVALID_JSON`), neither object nor list (`WRONG_TYPE`),
            too long a list (`TOO_MANY_OBSERVATIONS`), or a single bad observation.
    """
    return ObservationBatch(_decode(body, _observation))


def decode_json_reports(body: bytes) -> list[Observation | UnitObservation | EventError]:
    """Return the observations in a JSON text, which may name a unit instead of an assignment.

    `{"userId" or "sessionId", "experiment"?, "metric", "value", "eventId"?, "timestamp"?}`.

    Raises:
        EventError: as `decode_json_observations`.
    """
    return _decode(body, _report)


def decode_json_exposures(body: bytes) -> ObservationBatch:
    """Return exposures in a JSON text, `{"assignmentId", "eventId"?, "timestamp"?}` or a list.

    They are observations of the metric `EXPOSURE`. Bad ones are as in `decode_json_observations`.

    Raises:
        EventError: as `decode_json_observations`.
    """
    return ObservationBatch(_decode(body, _exposure))


def decode_json_voids(body: bytes) -> ObservationBatch:
    """Return the observations that void assignments, `{"assignmentId", "reason"}` or a list of it.

    Raises:
        EventError: as `decode_json_observations`.
    """
    return ObservationBatch(_decode(body, _void))


def _decode(body: bytes, read: Callable[[Any], T]) -> list[T | EventError]:
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        # orjson refuses NaN, infinities, numbers beyond a double and deep nesting here.
        raise EventError("INVALID_JSON", f"not JSON: {error}") from error
    if not isinstance(parsed, list):
        return [read(parsed)]
    check_count(len(parsed))
    return [_member(index, fields, read) for index, fields in enumerate(parsed)]


def _member(index: int, fields: Any, read: Callable[[Any], T]) -> T | EventError:
    try:
        return read(fields)
    except EventError as error:
        return at(index, error)


def _check_fields(
    fields: Any, subject: str, required: Sequence[str], known: AbstractSet[str]
) -> None:
    if not isinstance(fields, dict):
        raise EventError("WRONG_TYPE", f"{subject} must be an object")
    if not fields.keys() <= known:
        # A misspelled eventId would silently disable deduplication.
        unknown = min(fields.keys() - known)[:QUOTED_CHARACTERS]
        raise EventError("UNKNOWN_FIELD", f"{subject} has no such field", unknown)
    for name in required:
        if name not in fields:
            raise EventError("MISSING_FIELD", f"{name} is missing", name)


def _void(fields: Any) -> Observation:
    _check_fields(fields, "a void", _OF_VOIDS, frozenset(_OF_VOIDS))
    return check_observation(
        Observation(
            assignment_id=_text(fields["assignmentId"], "assignmentId"),
            metric=void_metric(_text(fields["reason"], "reason")),
            value=MICRO,
        )
    )


def _observation(fields: Any) -> Observation:
    _check_fields(fields, "an observation", _REQUIRED, _OPTIONAL.union(_REQUIRED))
    return check_observation(
        Observation(
            assignment_id=_text(fields["assignmentId"], "assignmentId"),
            metric=_text(fields["metric"], "metric"),
            value=to_micro(_number(fields["value"])),
            event_id=_optional_text(fields.get("eventId"), "eventId"),
            observed_at_ms=_optional_time(fields.get("timestamp")),
        )
    )


def _report(fields: Any) -> Observation | UnitObservation:
    if not isinstance(fields, dict) or fields.keys().isdisjoint(_OF_UNITS):
        return _observation(fields)
    # Members of the other form may be there and say nothing, as from a type that has both.
    if any(fields.get(name) is not None for name in _UNITS):
        unused = {name for name in _OF_EITHER_FORM if fields.get(name) is None}
    else:
        unused = {name for name in _OF_UNITS if fields.get(name) is None}
    fields = {name: value for name, value in fields.items() if name not in unused}
    if "assignmentId" in fields or fields.keys().isdisjoint(_UNITS):
        return _observation(fields)
    units = sorted(fields.keys() & _UNITS)
    if len(units) > 1:
        raise EventError("AMBIGUOUS_UNIT", "userId and sessionId are both given", "sessionId")
    [path] = units
    unit_id = _text(fields[path], path)
    if not 1 <= len(unit_id) <= MAX_UNIT_ID:
        raise EventError("OUT_OF_RANGE", f"must have 1 to {MAX_UNIT_ID} characters", path)
    experiment = _optional_text(fields.get("experiment"), "experiment")
    if experiment is not None and not 1 <= len(experiment) <= EXPERIMENT_LIMIT:
        raise EventError(
            "OUT_OF_RANGE", f"must have 1 to {EXPERIMENT_LIMIT} characters", "experiment"
        )
    rest = {name: value for name, value in fields.items() if name not in {path, "experiment"}}
    observation = _observation(rest | {"assignmentId": _NOT_FOUND_YET})
    if void_reason(observation.metric) is not None:
        raise EventError("INVALID_NAME", "a unit is voided by its assignment id", "metric")
    return UnitObservation(
        experiment, unit_id, path == "sessionId", replace(observation, assignment_id="")
    )


def _exposure(fields: Any) -> Observation:
    _check_fields(fields, "an exposure", _OF_EXPOSURES, _OPTIONAL.union(_OF_EXPOSURES))
    return check_observation(
        Observation(
            assignment_id=_text(fields["assignmentId"], "assignmentId"),
            metric=EXPOSURE,
            value=EXPOSED,
            event_id=_optional_text(fields.get("eventId"), "eventId"),
            observed_at_ms=_optional_time(fields.get("timestamp")),
        )
    )


def _text(value: Any, path: str) -> str:
    if isinstance(value, str):
        return value
    raise EventError("WRONG_TYPE", "must be a string", path)


def _optional_text(value: Any, path: str) -> str | None:
    return None if value is None else _text(value, path)


def _number(value: Any) -> float:
    # A bool is an int to Python, and not to JSON.
    if type(value) is int or type(value) is float:
        return value
    raise EventError("WRONG_TYPE", "must be a number", "value")


def _optional_time(value: Any) -> int | None:
    if value is None or type(value) is int:
        return value
    raise EventError("WRONG_TYPE", "must be an integer, milliseconds since the epoch", "timestamp")
