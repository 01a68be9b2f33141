"""The least that could answer: a bare ASGI application that draws an arm and logs nothing.

Its rate in the same run says how fast the machine is at the moment.
"""

from __future__ import annotations

import random
from bisect import bisect
from collections.abc import Awaitable, Callable
from typing import Any

import orjson

_CUMULATIVE = (16_384, 32_768)
_HEADERS = [(b"content-type", b"application/json")]


async def app(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """Answer every request with an arm."""
    if scope["type"] != "http":
        return
    orjson.loads((await receive())["body"] or b"{}")
    body = orjson.dumps({"variant": bisect(_CUMULATIVE, random.randrange(65_536))})
    await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
    await send({"type": "http.response.body", "body": body})
