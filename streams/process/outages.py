"""Log lines of outages: repeated failures become one line per interval, with their number.

Callers retry an unavailable dependency indefinitely, and log each failure as if it were the only
one. A filter of the process's log lets the first pass at once, and then one an interval from each
place, so what cannot be done for it is all said and no loop fills the log. When a dependency has
not failed for longer than the pause between two retries, one line says that its outage is over, and
how long it lasted.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from functools import partial
from threading import Lock, Timer
from typing import Any

from streams.model.errors import EngineError

INTERVAL_S = 30.0
"""Shortest time between two lines of one place about one outage."""

QUIET_S = 90.0
"""Time without a failure after which an outage is over.

Longer than a pause between two tries (at most a minute), and than a try that waits without success
for a server that is frozen.
"""

logger = logging.getLogger(__name__)

Later = Callable[[float, Callable[[], None]], None]
"""Has a function called once, so many seconds later."""

_LIBRARIES = {
    "aiokafka": "kafka",
    "cimpl": "kafka",  # confluent_kafka's errors
    "confluent_kafka": "kafka",
    "psycopg": "postgresql",
    "redis": "redis",
}
"""Dependencies by the library that logs of them, or whose errors are logged."""

_Outage = tuple[str, str]


def outage(dependency: str, what: str = "", *, again_s: float = 0.0) -> dict[str, Any]:
    """Return the `extra` of a record about an outage whose arguments do not say so.

    Args:
        dependency: What is away.
        what: Distinguishes records of one place, as by what cannot be done.
        again_s: Seconds until the next try, where that may be more than a minute.
    """
    return {_ATTRIBUTE: (dependency, what), _AGAIN: again_s}


class OutageFilter(logging.Filter):
    """A filter that thins records about outages, and passes all others.

    A record is about an outage if it was logged with `outage`, if an argument of it or its
    exception is the error of a dependency or a timeout, or if the client of one warns of it.

    Args:
        clock: Monotonic seconds.
        later: Calls what logs the end of an outage.
        log: Receives the ends of outages.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        later: Later | None = None,
        log: logging.Logger = logger,
    ) -> None:
        super().__init__()
        self._clock = clock
        self._later = later or _by_timer
        self._log = log
        self._going_on: dict[str, _OngoingOutage] = {}  # by dependency
        self._passed: dict[Hashable, _LoggedRecord] = {}  # places are few
        self._lock = Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a record is to be logged; one that is says how many were not."""
        found = _outage_of(record)
        if found is None:
            return True
        place = found, record.name, str(record.msg)
        with self._lock:
            now_s, before = self._clock(), self._passed.get(place)
            self._note_failure(found[0], now_s, getattr(record, _AGAIN, 0.0))
            if before is not None and now_s - before.at_s < INTERVAL_S:
                before.left_out += 1
                return False
            self._passed[place] = _LoggedRecord(now_s, record.created)
        if before is not None and before.left_out:
            since = time.strftime("%H:%M:%S", time.localtime(before.created))
            record.msg = f"{record.getMessage()} ({before.left_out:,} more of these since {since})"
            record.args = None
        return True

    def _note_failure(self, dependency: str, now_s: float, again_s: float) -> None:
        known = self._going_on.get(dependency)
        if known is None:
            known = self._going_on[dependency] = _OngoingOutage(now_s)
            self._later(again_s + QUIET_S, partial(self._look, dependency))
        known.last_s = now_s
        known.over_s = max(known.over_s, now_s + again_s + QUIET_S)

    def _look(self, dependency: str) -> None:
        """Say that an outage is over, or look once more when it may be."""
        with self._lock:
            known, now_s = self._going_on[dependency], self._clock()
            if now_s < known.over_s:
                self._later(known.over_s - now_s, partial(self._look, dependency))
                return
            del self._going_on[dependency]
        self._log.info(
            "%s: no failure for %.0f s; the outage lasted %.0f s",
            dependency or "what timed out",
            now_s - known.last_s,
            known.last_s - known.first_s,
        )


_ATTRIBUTE = "outage"
_AGAIN = "outage_again_s"


def _by_timer(pause_s: float, function: Callable[[], None]) -> None:
    timer = Timer(pause_s, function)
    timer.daemon = True  # no process waits for an outage to be over
    timer.start()


@dataclass
class _OngoingOutage:
    """A current outage of a dependency, shared by all its callers.

    Attributes:
        first_s: First failure, by the filter's clock.
        last_s: Last failure.
        over_s: When it is over, unless there is another one.
    """

    first_s: float
    last_s: float = 0.0
    over_s: float = 0.0


@dataclass
class _LoggedRecord:
    """The last logged record of a source line.

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
