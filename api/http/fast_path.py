"""The ASGI application: all requests are checked here, and frequent ones are answered here.

Path, method, API key, origin and query string are checked before anything of a body is read. Then
the endpoint's fast handler answers, or FastAPI does.
"""

from __future__ import annotations

from contextlib import suppress
from time import perf_counter

from api.http.asgi import AsgiApp, AsgiScope, Message, Receive, Send
from api.http.bodies import ClientGoneError, read_body
from api.http.cors import Origins
from api.http.dependencies import Services
from api.http.error_responses import JSON_HEADER, NO_STORE, Headers
from api.http.query import check_query
from api.http.routing import MethodRule, Resource, RoutingTable

_BODY_METHODS = frozenset({"POST", "PUT", "PATCH"})
_SAFE_METHODS = frozenset({"GET", "HEAD"})
_UNROUTED = MethodRule()


class FastPathApp:
    """ASGI application in front of FastAPI.

    Attributes:
        counters: Counts of requests.

    Args:
        services: The services behind the endpoints.
        table: The routing table.
        fastapi: Answers endpoints that have no fast handler.
        max_body_bytes: Longest body, encoded or decoded.
        origins: Origins of web pages that may call the API.
    """

    def __init__(
        self,
        services: Services,
        table: RoutingTable,
        fastapi: AsgiApp,
        max_body_bytes: int,
        origins: Origins | None = None,
    ) -> None:
        self.counters = services.counters
        self._services = services
        self._auth = services.auth
        self._table = table
        self._fastapi = fastapi
        self._max_body_bytes = max_body_bytes
        self._origins = origins or Origins()

    def end_streams(self) -> None:
        """End all event streams, as the process stops."""
        self._services.feed.close()
        self._services.streams.close()

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
        method: str = scope["method"]
        rule, parameter = _UNROUTED, ""
        try:
            resource, parameter = self._table.find(path)
            if method == "OPTIONS":
                await self._answer_options(resource, scope, send)
                return
            rule = resource.of(method)
            caller = self._check(rule, scope)
            if rule.fast_handler is None:
                await self._pass_on(path, caller, scope, receive, send)
                return
            body = await read_body(receive, self._max_body_bytes, scope["headers"])
            answer = await rule.fast_handler(self._services, parameter, body)
            await _answer(send, rule.status, _headers(answer), answer)
            self.counters.latency[rule.traffic].add(perf_counter() - began_s)
        except ClientGoneError:
            return
        except Exception as error:  # noqa: BLE001 - answered by the table, and logged if unknown
            status, body, headers, code = rule.render_error(error, parameter)
            self.counters.errors[code] += 1
            await _answer(send, status, headers, b"" if method == "HEAD" else body)

    def _check(self, rule: MethodRule, scope: AsgiScope) -> str:
        """Check key, origin and parameters of a request, and return the name of its caller."""
        headers = scope["headers"]
        caller = ""
        if self._auth.is_open:
            if scope["method"] not in _SAFE_METHODS:
                self._origins.check_page(headers)
        elif rule.scopes:
            caller = self._auth.check(headers, *rule.scopes)
        query = scope.get("query_string")
        if query and rule.parameters is not None:
            check_query(query, rule.parameters)
        return caller

    async def _pass_on(
        self, path: str, caller: str, scope: AsgiScope, receive: Receive, send: Send
    ) -> None:
        method = scope["method"]
        if method in _BODY_METHODS:
            body = await read_body(receive, self._max_body_bytes, scope["headers"])
            receive = _replaying(body, receive)
        if method == "HEAD":
            method, send = "GET", _without_body(send)
        checked = {"method": method, "path": path, "raw_path": path.encode()}
        # Starlette answers an unexpected error with our handler, and then raises it again.
        with suppress(Exception):
            await self._fastapi({**scope, **checked, "state": {"caller": caller}}, receive, send)

    async def _answer_options(self, resource: Resource, scope: AsgiScope, send: Send) -> None:
        allow = resource.allow.encode()
        headers = [(b"allow", allow), NO_STORE]
        await _answer(send, 204, headers + self._origins.preflight(scope["headers"], allow), b"")


def _headers(body: bytes) -> Headers:
    return [JSON_HEADER, NO_STORE, (b"content-length", b"%d" % len(body))]


async def _answer(send: Send, status: int, headers: Headers, body: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _replaying(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that replays a body already read, and then passes on later messages."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return messages.pop() if messages else await receive()

    return replay


def _without_body(send: Send) -> Send:
    """Return a `send` for the response to a HEAD, which has only the headers of a GET.

    The response ends with the headers, since the body of a stream has no end. The generator of the
    body receives a disconnect from its `receive`.
    """

    async def send_head(message: Message) -> None:
        if message["type"] == "http.response.start":
            await send(message)
            await send({"type": "http.response.body", "body": b""})

    return send_head
