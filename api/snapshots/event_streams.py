"""Streams of server-sent events of a process, each of the changes of one state."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Protocol

from streams.experiments.snapshot import Snapshot
from streams.model.errors import DependencyError

MAX_STREAMS = 1_024
"""Streams of one process. Each holds a connection, and those are for assignments, too."""

HEARTBEAT_S = 15.0
"""Seconds after which a silent stream sends a comment: proxies close what says nothing."""

_PING = b":\n\n"


class EventSource(Protocol):
    """A state, and the events of its changes."""

    @property
    def key(self) -> str:
        """Name of the state, by which its changes are announced."""

    @property
    def pause_s(self) -> float:
        """Shortest time between two events, in seconds."""

    @property
    def id(self) -> str | None:
        """Id of the present state; None once there will be no other."""

    def is_due(self, last_seen: str | None) -> bool:
        """Return whether a reader that begins now is sent an event at once.

        Args:
            last_seen: Id of the last event that it has seen; None if it has seen none.
        """

    async def event(self) -> tuple[str | None, bytes]:
        """Return the id of the present state, and the event of it."""


class EventStreams:
    """The open streams.

    Attributes:
        n_streams: Number of open streams.
    """

    def __init__(self) -> None:
        self.n_streams = 0
        self._waiting: dict[str, asyncio.Event] = {}
        self._is_closed = False
        self._n_admissions = 0

    def announce(self, key: str) -> None:
        """Have the streams of a state look at it."""
        waiting = self._waiting.pop(key, None)
        if waiting is not None:
            waiting.set()

    def announce_experiment(self, snapshot: Snapshot) -> None:
        """Have the streams of an experiment look at it; their state has its id."""
        self.announce(snapshot.experiment.id)

    def close(self) -> None:
        """End all streams, as the process stops."""
        self._is_closed = True
        self.admit_anew()

    def admit_anew(self) -> None:
        """End the streams that are open: their readers come again, and go on where they were.

        What has admitted them may not be valid any more.
        """
        self._n_admissions += 1
        for key in [*self._waiting]:
            self.announce(key)

    def open(self, source: EventSource, last_seen: str | None) -> AsyncIterator[bytes]:
        """Return the server-sent events from now on.

        Args:
            source: The state.
            last_seen: Id of the last event that the reader has seen; None if it has seen none.

        Raises:
            DependencyError: there are `MAX_STREAMS` (`TOO_MANY_STREAMS`).
        """
        if self.n_streams >= MAX_STREAMS:
            raise DependencyError(
                "api", f"{MAX_STREAMS} streams are open", code="TOO_MANY_STREAMS", retry_after_s=30
            )
        return self._events(source, last_seen, self._n_admissions)

    async def _events(
        self, source: EventSource, last_seen: str | None, admission: int
    ) -> AsyncIterator[bytes]:
        self.n_streams += 1
        try:
            seen, is_due = source.id, source.is_due(last_seen)
            # An id without data is an event that no reader sees, and that names where to resume.
            yield b"retry: 1000\n\n" if is_due else b"retry: 1000\nid: %b\n\n" % _text(seen)
            while not self._is_closed and admission == self._n_admissions:
                changed = self._waiting.setdefault(source.key, asyncio.Event())
                if is_due or source.id != seen:
                    is_due = False
                    seen, event = await source.event()
                    yield event
                    if seen is None:
                        return
                    await asyncio.sleep(source.pause_s)
                    continue
                try:
                    async with asyncio.timeout(HEARTBEAT_S):
                        await changed.wait()
                except TimeoutError:
                    yield _PING
        finally:
            self.n_streams -= 1


def _text(identity: str | None) -> bytes:
    return (identity or "").encode()


def sent_event(identity: str, data: bytes, kind: str = "") -> bytes:
    """Return a server-sent event.

    Args:
        identity: Its id, without line breaks.
        data: What it says, without line breaks.
        kind: Its type; empty for `message`.
    """
    named = b"event: %b\n" % kind.encode() if kind else b""
    return b"id: %b\n%bdata: %b\n\n" % (identity.encode(), named, data)
