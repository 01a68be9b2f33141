"""The connections of a server: their number, deadlines, and eviction."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Protocol

SWEEP_S = 0.5
"""Seconds between two checks of the deadlines."""

UNSENT_LIMIT_BYTES = 2**26
"""Bytes of answers buffered for slow clients; beyond, the connection with the most is dropped."""


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """Limits of a server for its clients.

    Attributes:
        max_connections: Open connections at most.
        head_timeout_s: Seconds for request line and headers, from the first moment a connection
            is open, or from the first byte of a later request.
        body_timeout_s: Seconds for the body, from the end of the headers.
        answer_timeout_s: Seconds in which a client must read an answer.
        keep_alive_s: Seconds a connection may stay open between two requests.
        max_head_bytes: Bytes of request line and headers.
        max_url_bytes: Bytes of the request target.
        max_headers: Number of headers.
        max_pipelined: Requests that may wait behind the current one.
    """

    max_connections: int = 4_096
    head_timeout_s: float = 10.0
    body_timeout_s: float = 30.0
    answer_timeout_s: float = 60.0
    keep_alive_s: float = 75.0
    max_head_bytes: int = 65_536
    max_url_bytes: int = 8_192
    max_headers: int = 100
    max_pipelined: int = 64


class Connection(Protocol):
    """Interface of a connection for the registry.

    Attributes:
        deadline_s: Deadline of the event it waits for, on the clock of the registry.
        answer_deadline_s: Deadline of its client for reading the answer.
    """

    deadline_s: float
    answer_deadline_s: float

    def expire(self) -> None:
        """Close the connection if it is overdue."""

    def evict(self) -> None:
        """Make room for another connection."""

    def abort(self) -> None:
        """Close at once, without sending buffered data."""

    def unsent_bytes(self) -> int:
        """Return the number of buffered bytes that its client has not read."""


class Connections:
    """All connections of a server.

    A connection beyond the limit takes the place of one that waits: first of one that is closing,
    then of the oldest that has never sent a whole request, then of the one that is idle for the
    longest time. Only when each
    is being answered is the new one refused.

    Attributes:
        limits: Their limits.
        now_s: Monotonic time of the last sweep or connection, in seconds; coarse, so that requests
            need not read the clock.
        errors: Refusals by code.
        evicted: Connections closed to make room.
    """

    def __init__(self, limits: HttpLimits, errors: Counter[str]) -> None:
        self.limits = limits
        self.now_s = 0.0
        self.errors = errors
        self.evicted = 0
        self._open: set[Connection] = set()
        # Dictionaries keep the order of insertion: the first has waited longest.
        self._closing: dict[Connection, None] = {}
        self._unserved: dict[Connection, None] = {}
        self._idle: dict[Connection, None] = {}

    def __len__(self) -> int:
        return len(self._open)

    def admit(self, connection: Connection, now_s: float) -> bool:
        """Admit a new connection, evicting another if necessary; return whether it was admitted."""
        self.now_s = now_s
        if len(self._open) >= self.limits.max_connections and not self._make_room():
            return False
        self._open.add(connection)
        self._unserved[connection] = None
        return True

    def forget(self, connection: Connection) -> None:
        """Forget a connection that is closed."""
        self._open.discard(connection)
        self._closing.pop(connection, None)
        self._unserved.pop(connection, None)
        self._idle.pop(connection, None)

    def is_busy(self, connection: Connection) -> None:
        """Keep a connection whose request is complete until it is idle."""
        self._unserved.pop(connection, None)
        self._idle.pop(connection, None)

    def is_idle(self, connection: Connection) -> None:
        """Record that a connection is idle, and may be closed to make room."""
        if connection in self._open:
            self._idle[connection] = None

    def is_closing(self, connection: Connection) -> None:
        """Record that a connection has sent its last answer, and only waits for its client."""
        self.is_busy(connection)
        if connection in self._open:
            self._closing[connection] = None

    def sweep(self, now_s: float) -> None:
        """Close overdue connections, and bound the data buffered for slow clients."""
        self.now_s = now_s
        stalled = []
        for connection in tuple(self._open):
            if connection.deadline_s <= now_s or connection.answer_deadline_s <= now_s:
                connection.expire()
            elif connection.answer_deadline_s != float("inf"):
                stalled.append((connection.unsent_bytes(), connection))
        excess = sum(size for size, _ in stalled) - UNSENT_LIMIT_BYTES
        for size, connection in sorted(stalled, key=lambda each: each[0], reverse=True):
            if excess <= 0:
                break
            self.errors["ANSWER_NOT_READ"] += 1
            connection.abort()
            excess -= size

    def _make_room(self) -> bool:
        for waiting in (self._closing, self._unserved, self._idle):
            for victim in waiting:
                self.evicted += 1
                self.errors["CONNECTION_EVICTED"] += 1
                self.forget(victim)
                victim.evict()
                return True
        return False
