"""Headers of every answer, and the requests that are taken."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Collection

from starlette.datastructures import MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; font-src 'self'; "
    "img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}

MAX_BODY_BYTES = 1 << 20
"""Largest form: as much as the API takes."""

FORM_TYPE = b"application/x-www-form-urlencoded"
"""The type of every form; one in parts could be in any encoding that Python has."""

_IS_HOST = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~%!$&'()*+,;=-]*)(:[0-9]*)?").fullmatch
"""A host with or without a port (RFC 9110, 7.2): all that an address can be made of."""


class Guard:
    """Headers of every answer, the names that this server answers to, and the size of forms.

    Args:
        app: What answers.
        hosts: Hosts that a request may name, in lower case and without a port; None for any.
            A page of another site whose name was made to lead to this machine names its own.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str] | None) -> None:
        self._app = app
        self._hosts = None if hosts is None else frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name: value for name, value in reversed(scope["headers"])}  # noqa: C416 - names the pair; the first counts, as for Starlette
        guarded = _with_headers(send)
        named = headers.get(b"host", b"")
        is_ours = self._hosts is None or _host(named) in self._hosts
        if not (is_ours and _IS_HOST(named)):
            refusal = PlainTextResponse("This is not the address of this dashboard.", 421)
            await refusal(scope, receive, guarded)
            return
        kind = headers.get(b"content-type", FORM_TYPE)
        if kind.partition(b";")[0].strip().lower() != FORM_TYPE:
            refusal = PlainTextResponse("A form is sent as " + FORM_TYPE.decode() + ".", 415)
            await refusal(scope, receive, guarded)
            return
        length = headers.get(b"content-length", b"0")
        if b"transfer-encoding" in headers or not length.isdigit() or int(length) > MAX_BODY_BYTES:
            refusal = PlainTextResponse(f"A form has at most {MAX_BODY_BYTES} bytes.", 413)
            await refusal(scope, receive, guarded)
            return
        await self._app(scope, receive, guarded)


def _with_headers(send: Send) -> Callable[[Message], Awaitable[None]]:
    async def guarded(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            headers.setdefault("Cache-Control", "no-store")
        await send(message)

    return guarded


def _host(value: bytes) -> str:
    text = value.decode("latin-1").lower()
    if text.startswith("["):
        return text.partition("]")[0] + "]"
    return text.partition(":")[0]
