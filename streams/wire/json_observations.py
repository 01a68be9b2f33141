"""Observations in JSON, as external producers send them over HTTP or directly to Kafka.

An object `{"assignmentId", "metric", "value", "eventId"?, "timestamp"?}` or a list of them; the
timestamp in milliseconds since the epoch. Types are strict: `true` and `"1"` are not numbers.
"""

from __future__ import annotations

from typing import Any

import orjson

from streams.model.errors import QUOTED_CHARACTERS, EventError
from streams.model.events import Observation, ObservationBatch
from streams.model.quantities import to_micro
from streams.wire.observation_fields import at, check_count, check_observation

JSON_FIRST_BYTES = frozenset(b"{[ \t\r\n")
"""Bytes a JSON object or list may begin with; no Avro record begins with one."""

_REQUIRED = ("assignmentId", "metric", "value")
_FIELDS = frozenset({*_REQUIRED, "eventId", "timestamp"})


def decode_json_observations(body: bytes) -> ObservationBatch:
    """Return the observations in a JSON text, one object or a list of them.

    An invalid member of a list is replaced by its error, so that it does not affect the others.

    Raises:
        EventError: the text is not JSON (`INVALID_JSON`), neither object nor list (`WRONG_TYPE`),
            too long a list (`TOO_MANY_OBSERVATIONS`), or a single bad observation.
    """
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        # orjson refuses NaN, infinities, numbers beyond a double and deep nesting here.
        raise EventError("INVALID_JSON", f"not JSON: {error}") from error
    if not isinstance(parsed, list):
        return ObservationBatch((_observation(parsed),))
    check_count(len(parsed))
    return ObservationBatch([_member(index, fields) for index, fields in enumerate(parsed)])


def _member(index: int, fields: Any) -> Observation | EventError:
    try:
        return _observation(fields)
    except EventError as error:
        return at(index, error)


def _observation(fields: Any) -> Observation:
    if not isinstance(fields, dict):
        raise EventError("WRONG_TYPE", "an observation must be an object")
    if not fields.keys() <= _FIELDS:
        # A misspelled eventId would silently disable deduplication.
        unknown = min(fields.keys() - _FIELDS)[:QUOTED_CHARACTERS]
        raise EventError("UNKNOWN_FIELD", "an observation has no such field", unknown)
    for name in _REQUIRED:
        if name not in fields:
            raise EventError("MISSING_FIELD", f"{name} is missing", name)
    return check_observation(
        Observation(
            assignment_id=_text(fields["assignmentId"], "assignmentId"),
            metric=_text(fields["metric"], "metric"),
            value=to_micro(_number(fields["value"])),
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
