"""HTTP/1 of one connection: uvicorn's protocol, with bounds on what a client may send and keep.

Everything that is refused here is refused before an application sees it, in the same JSON as any
other error, and the connection is closed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import IntEnum
from typing import Any

import httptools
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from api.http.connections import Connections
from api.http.error_responses import RequestError, error_response
from api.http.request_target import malformed, target_of
from api.http.transport import JoinedAnswer, JoinedWrites

LINGER_S = 2.0
"""Time for which a closing connection is still read, in seconds: a socket closed with
unread bytes is reset, and the client may lose the answer."""

_NEVER_S = float("inf")
_ONCE = frozenset(
    {
        b"host",
        b"authorization",
        b"x-api-key",
        b"content-type",
        b"idempotency-key",
        b"last-event-id",
        b"origin",
    }
)
"""Headers with one value: of two, a proxy may look at one and the API at the other (RFC 9110, 5.3).
Those that are lists, as `Content-Encoding` and `If-None-Match`, may be repeated; a second
`Content-Length` is refused by the parser."""
_LOOKED_AT = _ONCE | {b"expect", b"transfer-encoding"}


class Wait(IntEnum):
    """Event that a connection waits for."""

    FIRST_HEAD = 0
    IDLE = 1
    HEAD = 2
    BODY = 3
    ANSWER = 4
    END = 5


# A member that is looked up in its class costs 0.1 us, and a request needs ten of them.
_FIRST_HEAD, _IDLE, _HEAD, _BODY, _ANSWER, _END = Wait


class BoundedProtocol(HttpToolsProtocol):
    """One connection.

    Attributes:
        deadline_s: When what it waits for is overdue; infinity for never.
        answer_deadline_s: When its client must have taken what was answered.
    """

    def __init__(self, connections: Connections, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.deadline_s = _NEVER_S
        self.answer_deadline_s = _NEVER_S
        self._connections = connections
        self._limits = connections.limits
        self._waits_for = _FIRST_HEAD
        self._is_in_head = True
        self._has_begun = False
        self._head_bytes = 0
        self._read_bytes = 0
        self._is_split = False
        self._is_upgrade = False
        self._is_resuming = False
        self._farewell: bytes | None = None

    # The transport's callbacks.

    def connection_made(self, transport: Any) -> None:
        """Take the connection, or refuse it when there are too many."""
        now_s = self.loop.time()
        self._joined = JoinedWrites(transport, self.loop, self._linger)
        super().connection_made(self._joined)  # type: ignore[arg-type]
        if self._connections.admit(self, now_s):
            self._wait(_FIRST_HEAD, self._limits.head_timeout_s)
        else:
            self._refuse(RequestError("TOO_MANY_CONNECTIONS", "there is no free connection"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._connections.forget(self)
        self._waits_for = _END
        super().connection_lost(exc)

    def eof_received(self) -> bool:  # type: ignore[override]
        """Keep the connection of a client that has said all it has to say, until it is answered."""
        if self._waits_for is _ANSWER and self._farewell is None:
            self._farewell = b""
            return True
        self._joined.flush()
        return False

    def data_received(self, data: bytes) -> None:
        """Take what the client has sent."""
        if self._waits_for is _END or self._farewell is not None:
            return
        had_begun = self._has_begun
        self._read_bytes = len(data)
        try:
            self._feed(data)
        except RequestError as refusal:
            self._refuse(refusal)
            return
        if self._is_in_head:
            if self._has_begun:
                self._is_split = True
                # What came with the end of another message is not counted; it is one read at most.
                self._head_bytes += len(data) if had_begun else 0
                if self._head_bytes > self._limits.max_head_bytes:
                    self._refuse(_too_large_a_head(self._limits.max_head_bytes))
                elif self._waits_for is _IDLE:
                    self._wait(_HEAD, self._limits.head_timeout_s)
        elif self._waits_for is not _BODY:
            self._wait(_BODY, self._limits.body_timeout_s)

    def pause_writing(self) -> None:
        """Begin to wait for the client to read."""
        super().pause_writing()
        self.answer_deadline_s = self._connections.now_s + self._limits.answer_timeout_s

    def resume_writing(self) -> None:
        """Go on: the client reads."""
        super().resume_writing()
        self.answer_deadline_s = _NEVER_S

    # The parser's callbacks.

    def on_message_begin(self) -> None:
        """Begin a request."""
        if self._is_resuming:
            return
        super().on_message_begin()
        self._has_begun = True
        self._is_split = False
        self._head_bytes = 0

    def on_url(self, url: bytes) -> None:
        """Take a part of the request target."""
        if self._is_resuming:
            return
        self.url += url
        if len(self.url) > self._limits.max_url_bytes:
            raise RequestError(
                "URI_TOO_LONG", f"the request target is longer than {self._limits.max_url_bytes}"
            )

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; those after a body are counted and dropped."""
        if self._is_in_head:
            self.headers.append((name.lower(), value))
        elif not self._is_resuming:
            self._head_bytes += len(name) + len(value) + 4
            if self._head_bytes > self._limits.max_head_bytes:
                raise _too_large_a_head(self._limits.max_head_bytes)

    def on_headers_complete(self) -> None:
        """Hand the request to the application, or put it behind the one being answered."""
        if self._is_resuming:
            return
        parser, scope = self.parser, self.scope
        version: str = parser.get_http_version()
        if version not in {"1.1", "1.0"}:
            raise malformed(f"HTTP/{version} is not spoken here")
        self._check_head(version)
        scope["http_version"] = version
        scope["method"] = parser.get_method().decode("ascii")
        scope["path"], scope["raw_path"], scope["query_string"] = target_of(self.url)
        is_free = self._answering() is None
        if not is_free and len(self.pipeline) >= self._limits.max_pipelined:
            raise malformed("too many requests wait for the answer to an earlier one")
        self._is_in_head = False
        self._head_bytes = 0
        self._is_upgrade = parser.should_upgrade()
        self.cycle = JoinedAnswer(
            scope=scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=version == "1.1" and (self._is_upgrade or parser.should_keep_alive()),
            on_response=self.on_response_complete,
        )
        if is_free:
            self._start_asgi_task(self.cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))

    def on_body(self, body: bytes) -> None:
        """Take a part of the body, or drop it when the request is answered already."""
        cycle = self.cycle
        if self._waits_for is _END or cycle.response_complete:
            return
        cycle.body += body
        if len(cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        cycle.message_event.set()

    def on_message_complete(self) -> None:
        """Note that the request is complete."""
        if self._is_upgrade or self._waits_for is _END:
            return  # of an upgrade, the body is still to come: see `_feed`
        self._is_in_head = True
        self._has_begun = False
        self._head_bytes = 0
        cycle = self.cycle
        cycle.more_body = False
        cycle.message_event.set()
        self._waits_for = _ANSWER
        self.deadline_s = _NEVER_S
        self._connections.is_busy(self)

    def on_response_complete(self) -> None:
        """Start the next request that waits, or wait for one."""
        self.server_state.total_requests += 1
        if self._waits_for is _END or self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
        elif self._farewell is not None:
            if self._farewell:
                self.transport.write(self._farewell)
            self.transport.close()
        elif self._has_begun:
            self._wait(_HEAD, self._limits.head_timeout_s)
        else:
            self._wait(_IDLE, self._limits.keep_alive_s)
            self._connections.is_idle(self)

    # What the registry asks for.

    def expire(self) -> None:
        """End what is overdue."""
        if self._waits_for is _END or self.answer_deadline_s <= self._connections.now_s:
            self.abort()
        elif self._waits_for in {_HEAD, _BODY} or self._has_begun:
            self._refuse(RequestError("REQUEST_TIMEOUT", "the request took too long to arrive"))
        else:
            self.transport.close()

    def evict(self) -> None:
        """Make room for another connection."""
        self.abort()

    def abort(self) -> None:
        """Close at once, without sending what waits to be sent."""
        self._waits_for = _END
        self.transport.abort()

    def unsent_bytes(self) -> int:
        """Return how much of its answers the client has not taken."""
        return self.transport.get_write_buffer_size()

    def _feed(self, data: bytes) -> None:
        """Parse `data`.

        Raises:
            RequestError: it is no request that can be answered.
        """
        parsed = None
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            parsed = upgrade.args[0]
        except httptools.HttpParserError as error:
            cause = error.__context__
            if isinstance(cause, RequestError):
                raise cause from None
            if isinstance(error, httptools.HttpParserCallbackError):
                raise  # a bug of ours
            raise malformed("not a request of HTTP/1.1") from error
        # An upgrade is declined by answering as if it had not been asked for (RFC 9110, 7.8). The
        # parser takes the body for the other protocol, so another one is to read it. It is fed
        # here, since an error inside the `except` above would lose its own cause.
        if parsed is not None:
            self._resume_without_upgrade(data[parsed:])

    def _resume_without_upgrade(self, rest: bytes) -> None:
        length = b"".join(
            b"%b: %b\r\n" % header
            for header in self.scope["headers"]
            if header[0] in {b"content-length", b"transfer-encoding"}
        )
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._is_upgrade, self._is_resuming = False, True
        try:
            self.parser.feed_data(b"POST / HTTP/1.1\r\nHost: h\r\n%b\r\n" % length)
        finally:
            self._is_resuming = False
        if rest:
            self._feed(rest)

    def _check_head(self, version: str) -> None:
        """Refuse what proxies may read otherwise, and note who waits for a word before a body."""
        limit = self._limits.max_head_bytes
        if self._is_split or self._read_bytes > limit:  # any other is within it
            size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
            if size > limit:
                raise _too_large_a_head(limit)
        if len(self.headers) > self._limits.max_headers:
            raise RequestError("HEADERS_TOO_LARGE", f"more than {self._limits.max_headers} headers")
        found = set()
        for name, value in self.headers:
            if name not in _LOOKED_AT:
                continue
            if name in _ONCE:
                if name in found:
                    raise malformed(f"the header {name.decode()} is given twice")
                found.add(name)
            elif name == b"expect":
                self.expect_100_continue = value.lower() == b"100-continue"
            elif value.lower() != b"chunked" or version == "1.0":
                raise malformed("the only transfer encoding is chunked, of HTTP/1.1")
        if version == "1.1" and b"host" not in found:
            raise malformed("a request must name a Host")

    def _answering(self) -> RequestResponseCycle | None:
        """Return the newest request that is not answered yet."""
        cycle: RequestResponseCycle | None = self.cycle
        return cycle if cycle and not cycle.response_complete else None

    def _wait(self, what: Wait, seconds: float) -> None:
        self._waits_for = what
        self.deadline_s = self._connections.now_s + seconds

    def _refuse(self, refusal: RequestError) -> None:
        """Answer with an error, after what is being answered already, and close."""
        status, body, headers, code = error_response(refusal)
        self._connections.errors[code] += 1
        lines = [STATUS_LINE[status]]
        for name, value in (*self.server_state.default_headers, *headers):
            lines += [name, b": ", value, b"\r\n"]
        lines += [b"connection: close\r\n\r\n", body]
        answer = b"".join(lines)
        cycle = self._answering()
        if cycle is not None and (self._is_in_head or self.pipeline):
            if not self._is_in_head:
                self.pipeline.popleft()  # it will never be complete; those before it are
            self._farewell = answer
            return
        if cycle is not None:
            cycle.disconnected = True
            cycle.message_event.set()
        if self._is_in_head or (cycle is not None and not cycle.response_started):
            self.transport.write(answer)
        self.transport.close()

    def _linger(self) -> bool:
        """Begin to close, and return whether the client may still be sending."""
        is_sending = not self._is_in_head or self._has_begun
        is_read = not self.transport.get_write_buffer_size()
        self._wait(_END, LINGER_S if is_read else self._limits.answer_timeout_s)
        self._connections.is_closing(self)
        return is_sending


def _too_large_a_head(limit: int) -> RequestError:
    return RequestError("HEADERS_TOO_LARGE", f"request line and headers exceed {limit} bytes")


def protocol_factory(connections: Connections) -> Callable[..., BoundedProtocol]:
    """Return what makes the protocol of each new connection."""

    def make(*args: Any, **options: Any) -> BoundedProtocol:
        return BoundedProtocol(connections, *args, **options)

    return make
