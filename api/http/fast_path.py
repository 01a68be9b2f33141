"""The fast path: assignments and observations, answered before any framework sees them.

Everything else goes on to the control plane once its path, method, key and query are known to be
good, its body read and bounded here. The routes are declared there too, for the documentation and
for a program that embeds the control plane alone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from contextlib import suppress
from time import perf_counter
from typing import Any

from api.auth import Gate, Scope
from api.http.bodies import ClientGoneError, Message, Receive, decode_object, read_body
from api.http.cors import Origins
from api.http.error_responses import JSON_HEADER, NO_STORE, Headers, Send, answer_of
from api.http.query import check_query
from api.http.routing import Routing
from api.monitoring.prometheus import RequestCounters
from api.services.assign import Assigning
from api.services.observe import Observing

AsgiScope = MutableMapping[str, Any]
AsgiApp = Callable[[AsgiScope, Receive, Send], Awaitable[None]]

_EXPERIMENTS = "/experiments/"
_ASSIGN = "/assign"
_OBSERVATIONS = "/observations"
_BODY_METHODS = frozenset({"POST", "PUT", "PATCH"})
# A member that is looked up in its class costs 0.1 us.
_MAY_ASSIGN, _MAY_OBSERVE = Scope.ASSIGN, Scope.OBSERVE
_SAFE_METHODS = frozenset({"GET", "HEAD"})


class Edge:
    """The ASGI application in front of the control plane.

    Attributes:
        counters: Counts of requests.
    """

    def __init__(
        self,
        control: AsgiApp,
        assigning: Assigning,
        observing: Observing,
        gate: Gate,
        counters: RequestCounters,
        max_body_bytes: int,
        routing: Routing | None = None,
        origins: Origins | None = None,
    ) -> None:
        self.counters = counters
        self._control = control
        self._assigning = assigning
        self._observing = observing
        self._gate = gate
        self._max_body_bytes = max_body_bytes
        self._routing = routing or Routing()
        self._origins = origins or Origins()

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Serve one connection event, as ASGI 3 has it."""
        if scope["type"] != "http":
            return
        began_s = perf_counter()
        if not self._origins.is_empty:
            send = self._origins.wrapped(scope["headers"], send)
        path: str = scope["path"]
        if path[-1:] == "/" != path:
            path = path[:-1]
        try:
            if scope["method"] != "POST":
                pass
            elif path.endswith(_ASSIGN):
                experiment_id = _experiment_of(path)
                if experiment_id is not None:
                    await self._assign(experiment_id, scope, receive, send)
                    self.counters.assign_latency.add(perf_counter() - began_s)
                    return
            elif path == _OBSERVATIONS:
                await self._observe(scope, receive, send)
                self.counters.observe_latency.add(perf_counter() - began_s)
                return
            await self._pass_on(path, scope, receive, send)
        except ClientGoneError:
            return
        except Exception as error:  # noqa: BLE001 - answered by the table, and logged if unknown
            status, body, headers, code = answer_of(error)
            self.counters.errors[code] += 1
            await _answer(send, status, headers, b"" if scope["method"] == "HEAD" else body)

    async def _assign(
        self, experiment_id: str, scope: AsgiScope, receive: Receive, send: Send
    ) -> None:
        headers = self._checked(scope, _MAY_ASSIGN)
        request = decode_object(await read_body(receive, self._max_body_bytes, headers))
        if experiment_id:
            answer = await self._assigning.assign(experiment_id, request)
        else:
            answer = await self._assigning.assign_all(request)
        await _answer(send, 200, _headers(answer), answer)

    async def _observe(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        headers = self._checked(scope, _MAY_OBSERVE)
        body = await read_body(receive, self._max_body_bytes, headers)
        answer = await self._observing.observe(body)
        await _answer(send, 202, _headers(answer), answer)

    def _checked(self, scope: AsgiScope, needed: Scope) -> Sequence[tuple[bytes, bytes]]:
        """Return the headers of a request that may be made and takes no parameters."""
        headers: Sequence[tuple[bytes, bytes]] = scope["headers"]
        if self._gate.is_open:
            self._origins.check_page(headers)
        else:
            self._gate.check(headers, needed)
        if scope.get("query_string"):
            check_query(scope["query_string"])
        return headers

    async def _pass_on(self, path: str, scope: AsgiScope, receive: Receive, send: Send) -> None:
        method, headers = scope["method"], scope["headers"]
        if method == "OPTIONS":
            await self._options(path, scope, send)
            return
        rules = self._routing.find(path).of(method)
        if rules.scopes:
            self._gate.check(headers, *rules.scopes)
        if self._gate.is_open and method not in _SAFE_METHODS:
            self._origins.check_page(headers)
        if rules.parameters is not None:
            check_query(scope["query_string"], rules.parameters)
        if method in _BODY_METHODS:
            body = await read_body(receive, self._max_body_bytes, headers)
            receive = _replaying(body, receive)
        if method == "HEAD":
            method, send = "GET", _without_body(send)
        scope = {**scope, "method": method, "path": path, "raw_path": path.encode()}
        # Starlette answers an unexpected error, by our handler, and then raises it all the same.
        with suppress(Exception):
            await self._control(scope, receive, send)

    async def _options(self, path: str, scope: AsgiScope, send: Send) -> None:
        allow = "GET, HEAD, POST, PATCH, OPTIONS" if path == "*" else self._routing.find(path).allow
        headers = [(b"allow", allow.encode()), NO_STORE]
        await _answer(send, 204, headers + self._origins.preflight(scope["headers"]), b"")


def _experiment_of(path: str) -> str | None:
    """Return the id in `/experiments/{id}/assign`, empty for `/assign`, None for other paths."""
    if path == _ASSIGN:
        return ""
    experiment_id = path[len(_EXPERIMENTS) : -len(_ASSIGN)]
    if path.startswith(_EXPERIMENTS) and experiment_id and "/" not in experiment_id:
        return experiment_id
    return None


def _headers(body: bytes) -> Headers:
    return [JSON_HEADER, NO_STORE, (b"content-length", b"%d" % len(body))]


async def _answer(send: Send, status: int, headers: Headers, body: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _replaying(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that hands out a body already read, and then what comes after it."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return messages.pop() if messages else await receive()

    return replay


def _without_body(send: Send) -> Send:
    """Return a `send` for the answer to a HEAD, which has the headers of a GET alone."""

    async def send_head(message: Message) -> None:
        if message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await send(message)

    return send_head
