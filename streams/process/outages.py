"""Log lines of outages: what is tried again in vain is a line now and then, with how often.

Whoever needs a dependency tries again for as long as it is away, and logs each failure as if it
were the only one. A filter of the process's log lets the first pass at once, and then one an
interval from each place, so what cannot be done for it is all said and no loop fills the log.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from threading import Lock
from typing import Any

from streams.model.errors import EngineError

INTERVAL_S = 30.0
"""Shortest time between two lines of one place about one outage."""

_LIBRARIES = {
    "aiokafka": "kafka",
    "cimpl": "kafka",  # confluent_kafka's errors
    "confluent_kafka": "kafka",
    "psycopg": "postgresql",
    "redis": "redis",
}
"""Dependencies by the library that logs of them, or whose errors are logged."""

_Outage = tuple[str, str]


def outage(dependency: str, what: str = "") -> dict[str, Any]:
    """Return the `extra` of a record about an outage whose arguments do not say so.

    Args:
        dependency: What is away.
        what: Distinguishes records of one place, as by what cannot be done.
    """
    return {_ATTRIBUTE: (dependency, what)}


class OutageFilter(logging.Filter):
    """A filter that thins records about outages, and passes all others.

    A record is about an outage if it was logged with `outage`, if an argument of it or its
    exception is the error of a dependency or a timeout, or if the client of one warns of it.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._passed: dict[Hashable, _Passed] = {}  # places are few
        self._lock = Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a record is to be logged; one that is says how many were not."""
        found = _outage_of(record)
        if found is None:
            return True
        place = found, record.name, str(record.msg)
        with self._lock:
            now_s, before = self._clock(), self._passed.get(place)
            if before is not None and now_s - before.at_s < INTERVAL_S:
                before.left_out += 1
                return False
            self._passed[place] = _Passed(now_s, record.created)
        if before is not None and before.left_out:
            since = time.strftime("%H:%M:%S", time.localtime(before.created))
            record.msg = f"{record.getMessage()} ({before.left_out:,} more of these since {since})"
            record.args = None
        return True


_ATTRIBUTE = "outage"


@dataclass
class _Passed:
    """The last record of a place that was logged.

    Attributes:
        at_s: When, by the filter's clock.
        created: When, in seconds since the epoch.
        left_out: Records since then that were not.
    """

    at_s: float
    created: float
    left_out: int = 0


def _outage_of(record: logging.LogRecord) -> _Outage | None:
    if record.levelno >= logging.CRITICAL:  # the process ends
        return None
    declared: _Outage | None = getattr(record, _ATTRIBUTE, None)
    if declared is not None:
        return declared
    for value in _quoted(record):
        if isinstance(value, EngineError):
            dependency = getattr(value, "dependency", None)
            if dependency is not None:
                return dependency, value.code
        elif isinstance(value, TimeoutError):
            return "", type(value).__name__
        elif (dependency := _LIBRARIES.get(_library(type(value).__module__))) is not None:
            return dependency, type(value).__name__
    if record.levelno < logging.WARNING:  # as that a consumer has joined its group
        return None
    library = _LIBRARIES.get(_library(record.name))
    return None if library is None else (library, record.levelname)


def _quoted(record: logging.LogRecord) -> Iterator[object]:
    if isinstance(record.args, tuple):
        yield from record.args
    if isinstance(record.exc_info, tuple):
        yield record.exc_info[1]


def _library(module: str) -> str:
    return module.partition(".")[0]
