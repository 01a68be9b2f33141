"""Times that a person or a program states, of a schedule or of a span of the log.

They are compared with other times and with nothing that would show a wrong unit: one in seconds
lies in 1970, and everything is later. So it is refused where it is read.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic.config import JsonDict

from streams.model.errors import InputError, quoted
from streams.model.times import LAST_MS, SECONDS_BELOW, unit_hint
from streams.model.validation import problem

_CODE = "OUT_OF_RANGE"


def check_bound(time_ms: int, path: str) -> int:
    """Return a bound of a span of time; 0 is the begin of everything.

    Args:
        time_ms: Milliseconds since the epoch.
        path: Field or option that it is the value of.

    Raises:
        InputError: it is most probably not in milliseconds, or after the year 9999
            (`OUT_OF_RANGE`).
    """
    if time_ms and _is_wrong(time_ms):
        raise InputError(_CODE, _message(time_ms), path)
    return time_ms


def _is_wrong(time_ms: int) -> bool:
    return not SECONDS_BELOW <= time_ms <= LAST_MS


def _message(time_ms: int) -> str:
    return f"{quoted(time_ms)}, must be in [{SECONDS_BELOW}, {LAST_MS}]{unit_hint(time_ms)}"


def _time(time_ms: int) -> int:
    if _is_wrong(time_ms):
        raise problem(_CODE, _message(time_ms))
    return time_ms


def _bound(time_ms: int) -> int:
    return _time(time_ms) if time_ms else time_ms


_RANGE: JsonDict = {"minimum": SECONDS_BELOW, "maximum": LAST_MS}

StatedTime = Annotated[int, AfterValidator(_time), Field(json_schema_extra=_RANGE)]
"""Time in milliseconds since the epoch, from March 1973 to the year 9999."""

BoundTime = Annotated[
    int, AfterValidator(_bound), Field(json_schema_extra={"anyOf": [{"const": 0}, _RANGE]})
]
"""Bound of a span of time: a `StatedTime`, or 0 for the begin of everything."""
