"""Request bodies: read up to a limit, decoded strictly, and refused with a code and a path."""

from __future__ import annotations

import json
import math
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import orjson

from streams.domain.errors import InputError

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]


class ClientGoneError(Exception):
    """The caller closed the connection before its request was complete; nobody needs an answer."""


async def read_body(receive: Receive, limit: int) -> bytes:
    """Return the body of an ASGI request.

    Raises:
        InputError: it is longer than `limit` bytes (`BODY_TOO_LARGE`); the rest is not read.
        ClientGoneError: the caller has gone.
    """
    message = await receive()
    body: bytes = message.get("body", b"")
    if not message.get("more_body"):
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        if len(body) <= limit:
            return body
    parts, size = [body], len(body)
    while size <= limit and message.get("more_body"):
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        part = message.get("body", b"")
        parts.append(part)
        size += len(part)
    if size > limit:
        raise InputError("BODY_TOO_LARGE", f"the body is longer than {limit} bytes")
    return b"".join(parts)


def decode_json(body: bytes) -> Any:
    """Return the JSON value of a body.

    Raises:
        InputError: it holds a NaN, an infinity or a number too large for one (`NOT_FINITE`, with
            the path), or is not JSON for another reason (`INVALID_JSON`).
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        path = _path_of_not_finite(body)
        if path is not None:
            raise InputError("NOT_FINITE", "a number must be finite", path) from error
        raise InputError("INVALID_JSON", f"the body is not JSON: {error}") from error


def decode_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object of a body; an empty body is an empty object.

    Raises:
        InputError: as `decode_json`, or it is no object (`WRONG_TYPE`).
    """
    value = decode_json(body) if body else {}
    if not isinstance(value, dict):
        raise InputError("WRONG_TYPE", "the body must be a JSON object")
    return value


def _path_of_not_finite(body: bytes) -> str | None:
    """Return where a body that is JSON but for its NaN and infinities has the first of them."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return None
    # Paths are built while descending, without recursion: the body may be nested deeply.
    pending = [("", value)]
    while pending:
        path, value = pending.pop()
        match value:
            case float() if not math.isfinite(value):
                return path
            case dict():
                dot = "." if path else ""
                pending += [(f"{path}{dot}{key}", value[key]) for key in reversed(value)]
            case list():
                members = list(enumerate(value))
                pending += [(f"{path}[{index}]", member) for index, member in reversed(members)]
    return None
