"""A transport that writes a response with one system call, and closes without a reset."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

_WITHOUT_BODY = frozenset({204, 304})


class JoinedWrites:
    """A transport that writes once for all that it was given in one turn of the event loop.

    uvicorn writes head and body of an answer apart, and uvloop passes each to the kernel at once:
    two system calls and two packets, a sixth of what a small answer costs in all.

    Args:
        transport: Where to write.
        loop: Its event loop.
        lingers: Called before closing; returns whether the client may still be sending. Then the
            connection is closed for writing alone, since the kernel resets a connection that is
            closed with unread bytes, and the client may lose the answer.
    """

    __slots__ = ("_is_closing", "_lingers", "_loop", "_parts", "_transport")

    def __init__(
        self,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        lingers: Callable[[], bool],
    ) -> None:
        self._transport = transport
        self._loop = loop
        self._lingers = lingers
        self._parts: list[bytes] = []
        self._is_closing = False

    def write(self, data: bytes) -> None:
        """Take data; it is written at the end of the turn."""
        if self._is_closing:
            return
        if not self._parts:
            self._loop.call_soon(self.flush)
        self._parts.append(data)

    def is_closing(self) -> bool:
        """Return whether nothing more is written."""
        return self._is_closing or self._transport.is_closing()

    def close(self) -> None:
        """Write what was taken, and close."""
        self.flush()
        is_lingering = self._lingers()
        if self._is_closing or self._transport.is_closing():
            return
        self._is_closing = True
        if is_lingering:
            with suppress(OSError, RuntimeError):
                self._transport.write_eof()
                self._transport.resume_reading()
                return
        self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._is_closing = True
        self._parts.clear()
        self._transport.abort()

    def flush(self) -> None:
        """Write what was taken."""
        if self._parts:
            data = b"".join(self._parts)
            self._parts.clear()
            if not self._transport.is_closing():
                self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class JoinedAnswer(RequestResponseCycle):
    """One request and its response, whose head is written at once."""

    async def send(self, message: Any) -> None:
        """Take a part of the answer, as ASGI has it."""
        if self.response_started or message["type"] != "http.response.start":
            await super().send(message)
            return
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        self.response_started = True
        self.waiting_for_100_continue = False
        if self.more_body:
            self.keep_alive = False  # an early answer: what follows is no request
        status = message["status"]
        lines = [STATUS_LINE[status]]
        # Every header is made by this code base and none holds input, so none is searched for
        # line breaks: that search costs as much as all else of a small answer.
        for name, value in (*self.default_headers, *message.get("headers", ())):
            if name == b"content-length":
                self.expected_content_length = int(value)
                self.chunked_encoding = False
            elif name == b"connection":
                self.keep_alive = False
                continue
            lines += (name, b": ", value, b"\r\n")
        if not self.keep_alive:
            lines.append(b"connection: close\r\n")
        if self.chunked_encoding is None and self._has_body(status):
            self.chunked_encoding = True
            lines.append(b"transfer-encoding: chunked\r\n")
        lines.append(b"\r\n")
        self.transport.write(b"".join(lines))

    def _has_body(self, status: int) -> bool:
        return self.scope["method"] != "HEAD" and status not in _WITHOUT_BODY
