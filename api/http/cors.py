"""Cross-origin requests: origins that may call the API (CORS), and refusal of the others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from api.http.asgi import Message, Send
from api.http.error_responses import AccessError, Headers

ANY = "*"
_REQUEST_HEADERS = (
    b"authorization, content-type, content-encoding, x-api-key, idempotency-key, if-none-match"
)
_EXPOSED = b"etag, retry-after, allow"
_REMEMBERED_S = b"600"
_NONE: Headers = []


class Origins:
    """The origins of other web pages that may call the API.

    Attributes:
        is_empty: Whether no origin is allowed.
    """

    def __init__(self, origins: str = "") -> None:
        """Parse origins, separated by commas; `*` means all."""
        named = {origin.strip().rstrip("/").encode() for origin in origins.split(",")}
        self._named = named - {b""}
        self._is_any = ANY.encode() in named
        self.is_empty = not self._named

    def headers(self, request_headers: Iterable[tuple[bytes, bytes]]) -> Headers:
        """Return the headers of an answer to a request with these headers."""
        origin = _value(request_headers, b"origin")
        if origin is None or not self._allows(origin):
            return [(b"vary", b"origin")]
        return [
            (b"access-control-allow-origin", b"*" if self._is_any else origin),
            (b"access-control-expose-headers", _EXPOSED),
            (b"vary", b"origin"),
        ]

    def preflight(self, request_headers: Iterable[tuple[bytes, bytes]], allow: bytes) -> Headers:
        """Return the headers of an answer to a preflight request, besides `headers`.

        Args:
            request_headers: Headers of the preflight request.
            allow: Methods of the resource, as the header `Allow` has them.
        """
        pairs = list(request_headers)
        origin = _value(pairs, b"origin")
        if origin is None or not self._allows(origin):
            return _NONE
        return [
            (b"access-control-allow-methods", allow),
            (b"access-control-allow-headers", _REQUEST_HEADERS),
            (b"access-control-max-age", _REMEMBERED_S),
        ]

    def wrapped(self, request_headers: Iterable[tuple[bytes, bytes]], send: Send) -> Send:
        """Return a `send` that adds the headers to every answer."""
        added = self.headers(request_headers)

        async def send_with(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *added]}
            await send(message)

        return send_with

    def check_page(self, request_headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Refuse a web page of another origin that would use an API without keys.

        A browser lets any page post text to this machine without a preflight; with keys this is
        harmless, since a page has none.

        Raises:
            AccessError: the request comes from such a page (`ORIGIN_NOT_ALLOWED`).
        """
        for name, value in request_headers:  # a plain loop: this runs for every assignment
            if name == b"origin":
                self._check_origin(value, request_headers)
                return

    def _check_origin(self, origin: bytes, request_headers: Sequence[tuple[bytes, bytes]]) -> None:
        if self._allows(origin) or origin.partition(b"://")[2] == _value(request_headers, b"host"):
            return
        raise AccessError(
            "ORIGIN_NOT_ALLOWED",
            "web pages of other origins may not call this API; see EXPERIMENT_CORS_ORIGINS",
            "Origin",
        )

    def _allows(self, origin: bytes) -> bool:
        return self._is_any or origin in self._named


def _value(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> bytes | None:
    return next((value for key, value in headers if key == name), None)
