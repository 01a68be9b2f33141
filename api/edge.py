"""The fast path: assignments and observations, answered before any framework sees them.

Everything else goes on to the control plane, its body read and bounded here. The routes are
declared there too, for the documentation and for whoever embeds the control plane alone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from time import perf_counter
from typing import Any

from api.assigning import Assigning
from api.auth import Gate, Scope
from api.bodies import ClientGoneError, Message, Receive, decode_object, read_body
from api.errors import JSON_HEADER, Headers, answer_of
from api.metrics import RequestCounters
from api.observing import Observing

AsgiScope = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
AsgiApp = Callable[[AsgiScope, Receive, Send], Awaitable[None]]

_EXPERIMENTS = "/experiments/"
_ASSIGN = "/assign"
_OBSERVATIONS = "/observations"
_BODY_METHODS = frozenset({"POST", "PUT", "PATCH"})


class Edge:
    """The ASGI application in front of the control plane."""

    def __init__(
        self,
        control: AsgiApp,
        assigning: Assigning,
        observing: Observing,
        gate: Gate,
        counters: RequestCounters,
        max_body_bytes: int,
    ) -> None:
        self._control = control
        self._assigning = assigning
        self._observing = observing
        self._gate = gate
        self._counters = counters
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Serve one connection event, as ASGI 3 has it."""
        if scope["type"] != "http" or scope["method"] not in _BODY_METHODS:
            await self._pass_on(scope, receive, send)
            return
        began_s = perf_counter()
        try:
            path: str = scope["path"]
            if scope["method"] != "POST":
                pass
            elif path.endswith(_ASSIGN):
                experiment_id = _experiment_of(path)
                if experiment_id is not None:
                    await self._assign(experiment_id, scope, receive, send)
                    self._counters.assign_latency.add(perf_counter() - began_s)
                    return
            elif path == _OBSERVATIONS:
                await self._observe(scope, receive, send)
                self._counters.observe_latency.add(perf_counter() - began_s)
                return
            body = await read_body(receive, self._max_body_bytes)
        except ClientGoneError:
            return
        except Exception as error:  # noqa: BLE001 - answered by the table, and logged if unknown
            status, body, headers, code = answer_of(error)
            self._counters.errors[code] += 1
            await _answer(send, status, headers, body)
            return
        await self._pass_on(scope, _replaying(body, receive), send)

    async def _pass_on(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        # Starlette answers an unexpected error, by our handler, and then raises it all the same.
        with suppress(Exception):
            await self._control(scope, receive, send)

    async def _assign(
        self, experiment_id: str, scope: AsgiScope, receive: Receive, send: Send
    ) -> None:
        self._gate.check(scope["headers"], Scope.ASSIGN)
        request = decode_object(await read_body(receive, self._max_body_bytes))
        if experiment_id:
            answer = await self._assigning.assign(experiment_id, request)
        else:
            answer = await self._assigning.assign_all(request)
        await _answer(send, 200, _headers(answer), answer)

    async def _observe(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        self._gate.check(scope["headers"], Scope.OBSERVE)
        answer = await self._observing.observe(await read_body(receive, self._max_body_bytes))
        await _answer(send, 202, _headers(answer), answer)


def _experiment_of(path: str) -> str | None:
    """Return the id in `/experiments/{id}/assign`, empty for `/assign`, None for other paths."""
    if path == _ASSIGN:
        return ""
    experiment_id = path[len(_EXPERIMENTS) : -len(_ASSIGN)]
    if path.startswith(_EXPERIMENTS) and experiment_id and "/" not in experiment_id:
        return experiment_id
    return None


def _headers(body: bytes) -> Headers:
    return [JSON_HEADER, (b"content-length", b"%d" % len(body))]


async def _answer(send: Send, status: int, headers: Headers, body: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _replaying(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that hands out a body already read, and then what comes after it."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return messages.pop() if messages else await receive()

    return replay
