"""Sessions of people who are signed in: the cookie holds a random id, and all else stays here."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

ID_BYTES = 32
MAX_SESSIONS = 10_000
"""Sessions of one process; a further one ends the one that was idle for the longest time."""


@dataclass(frozen=True, slots=True)
class Session:
    """A signed-in user, or any user if the API does not require keys.

    Attributes:
        id: Random id, which the cookie holds.
        api_key: Key of all calls; None where the API asks for none.
        name: Name of the key; empty likewise.
        scopes: What the key may do.
    """

    id: str
    api_key: str | None
    name: str
    scopes: frozenset[str]

    def may(self, scope: str) -> bool:
        """Return whether calls of a scope are offered."""
        return scope in self.scopes


class SessionStore:
    """The sessions of this process, in memory.

    Args:
        idle_s: Seconds after its last use for which a session is kept.
        now_s: Monotonic clock.
    """

    def __init__(self, idle_s: float, now_s: Callable[[], float]) -> None:
        self._idle_s = idle_s
        self._now_s = now_s
        self._sessions: OrderedDict[str, tuple[Session, float]] = OrderedDict()  # last used last

    def open(self, api_key: str | None, name: str, scopes: frozenset[str]) -> Session:
        """Return a new session, with an unguessable id."""
        session = Session(secrets.token_urlsafe(ID_BYTES), api_key, name, scopes)
        while len(self._sessions) >= MAX_SESSIONS:
            self._sessions.popitem(last=False)
        self._sessions[session.id] = (session, self._now_s())
        return session

    def find(self, session_id: str) -> Session | None:
        """Return the session of a cookie, and keep it for longer; None if it has ended."""
        found = self._sessions.get(session_id)
        if found is None:
            return None
        session, used_s = found
        if self._now_s() - used_s > self._idle_s:
            del self._sessions[session_id]
            return None
        self._sessions[session_id] = (session, self._now_s())
        self._sessions.move_to_end(session_id)
        return session

    def close(self, session_id: str) -> None:
        """End a session."""
        self._sessions.pop(session_id, None)
