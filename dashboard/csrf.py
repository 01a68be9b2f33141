"""Tokens that show that a form is one of ours: an HMAC of the session's id under a random nonce.

The nonce makes every page's token another one, so that what compression reveals of one page says
nothing of the next (BREACH).
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping

FIELD = "csrf"
HEADER = "x-csrf-token"

_NONCE_BYTES = 16
_SAME_SITE = frozenset({"same-origin", "none"})


class CsrfTokens:
    """Tokens of one process.

    Args:
        secret: Key of the HMAC; a random one unless given.
    """

    def __init__(self, secret: bytes | None = None) -> None:
        self._secret = secret or secrets.token_bytes(32)

    def token(self, session_id: str) -> str:
        """Return a token for a page of a session."""
        nonce = secrets.token_hex(_NONCE_BYTES)
        return f"{nonce}.{self._digest(nonce, session_id)}"

    def holds(self, token: str, session_id: str) -> bool:
        """Return whether a token was made for the session by this process."""
        nonce, _, digest = token.partition(".")
        return hmac.compare_digest(
            digest.encode(errors="replace"), self._digest(nonce, session_id).encode()
        )

    def _digest(self, nonce: str, session_id: str) -> str:
        text = f"{nonce}.{session_id}".encode(errors="replace")
        return hmac.new(self._secret, text, "sha256").hexdigest()


def is_cross_site(headers: Mapping[str, str]) -> bool:
    """Return whether a browser says that another site made this request.

    A browser that sends no `Sec-Fetch-Site` sends `Origin` with every form.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site not in _SAME_SITE
    origin = headers.get("origin")
    return origin is not None and origin.partition("://")[2] != headers.get("host")
