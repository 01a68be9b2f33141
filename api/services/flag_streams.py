"""Addresses of the stream of flag changes, and whom they admit."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from api.snapshots.event_streams import EventStreams
from api.snapshots.flag_changes import FlagChanges
from streams.model.receipts import Keyring

DAY_MS = 86_400_000
DAYS_VALID = 2
"""Days for which an address admits its reader, that of its making among them."""

_PURPOSE = b"stream of flag changes"
_MAX_TOKEN = 64


class FlagStreams:
    """The stream of flag changes, under addresses that carry a token.

    A browser's `EventSource` sends no headers, so what admits it stands in the address: a tag of
    the day by the receipt keys, which every API process has. It admits to the stream alone, which
    says nothing but that something has changed.

    Args:
        changes: The changes.
        streams: The open streams.
        keyring: Makes and verifies tokens.
        now_ms: Milliseconds since the epoch.
        public_url: Address of the API as clients have it; empty for that of their request.
        is_open: Whether the API asks for no key, and an address needs no token.
    """

    def __init__(
        self,
        changes: FlagChanges,
        streams: EventStreams,
        keyring: Keyring,
        now_ms: Callable[[], int],
        public_url: str = "",
        *,
        is_open: bool = True,
    ) -> None:
        self._changes = changes
        self._streams = streams
        self._keyring = keyring
        self._now_ms = now_ms
        self._public_url = public_url.rstrip("/")
        self._is_open = is_open

    def open(self, last_seen: str | None) -> AsyncIterator[bytes]:
        """Return the server-sent events of the changes from now on; see `EventStreams.open`."""
        return self._streams.open(self._changes, last_seen)

    def url(self, path: str, host: str) -> str:
        """Return the address of the stream.

        Args:
            path: Its path.
            host: Host and port by which the reader has reached the API.
        """
        base = self._public_url or f"http://{host}"
        return f"{base}{path}" if self._is_open else f"{base}{path}?token={self._token()}"

    def admits(self, token: str) -> bool:
        """Return whether a token was made here and is still valid."""
        day, _, tag = token[:_MAX_TOKEN].partition(".")
        try:
            age = self._today() - int(day)
            raw = bytes.fromhex(tag)
        except ValueError:
            return False
        return 0 <= age < DAYS_VALID and self._keyring.has_tagged(raw, _PURPOSE, day.encode())

    def _token(self) -> str:
        day = str(self._today())
        return f"{day}.{self._keyring.tag(_PURPOSE, day.encode()).hex()}"

    def _today(self) -> int:
        return self._now_ms() // DAY_MS
