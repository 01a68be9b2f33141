"""Request bodies: read up to a limit, and without their content encoding."""

from __future__ import annotations

import zlib
from collections.abc import Iterable

from api.http.asgi import Receive
from api.http.error_responses import RequestError
from streams.model.errors import InputError, quoted

MAX_GZIP_MEMBERS = 64
"""Members of a gzip stream: many empty ones would cost more time than their size suggests."""

_GZIP = 16 + zlib.MAX_WBITS
_GZIP_NAMES = frozenset({b"gzip", b"x-gzip"})
_READABLE = frozenset({b"", b"application/json", b"text/json", b"text/plain"})
_LOOKED_AT = frozenset({b"content-type", b"content-encoding", b"content-length"})
_DIGITS_OF_LIMIT = 4
"""Digits of the smallest limit that can be set: a shorter length is within any."""

_CHARSETS = frozenset({"utf-8", "utf8", "us-ascii"})


class ClientGoneError(Exception):
    """A request whose caller closed the connection before it was complete; no answer is sent."""


async def read_body(
    receive: Receive, limit: int, headers: Iterable[tuple[bytes, bytes]] = ()
) -> bytes:
    """Return the body of an ASGI request, without its content encoding.

    Raises:
        InputError: it is longer than `limit` bytes, encoded or decoded (`BODY_TOO_LARGE`); the rest
            is not read.
        RequestError: its type is not JSON (`UNSUPPORTED_MEDIA_TYPE`), or its encoding is
            unsupported (`UNSUPPORTED_ENCODING`) or invalid (`INVALID_ENCODING`).
        ClientGoneError: the caller has gone.
    """
    is_gzip = _check_headers(headers, limit)
    message = await receive()
    body: bytes = message.get("body", b"")
    if message.get("more_body"):
        body = await _join(body, receive, limit)
    elif message["type"] == "http.disconnect":
        raise ClientGoneError
    elif len(body) > limit:
        raise _too_large(limit)
    return gunzip(body, limit) if is_gzip and body else body


def gunzip(body: bytes, limit: int) -> bytes:
    """Return the content of a gzip stream, with at most `limit` bytes in memory.

    Raises:
        InputError: the content is longer (`BODY_TOO_LARGE`).
        RequestError: it is not a complete gzip stream (`INVALID_ENCODING`).
    """
    parts: list[bytes] = []
    left = limit
    for _ in range(MAX_GZIP_MEMBERS):
        member = zlib.decompressobj(_GZIP)
        try:
            part = member.decompress(body, left + 1)
        except zlib.error as error:
            raise RequestError("INVALID_ENCODING", "the body is not gzip") from error
        if len(part) > left:
            raise _too_large(limit)
        if not member.eof:
            raise RequestError("INVALID_ENCODING", "the gzip stream of the body is cut short")
        parts.append(part)
        left -= len(part)
        body = member.unused_data
        if not body:
            return b"".join(parts)
    raise RequestError("INVALID_ENCODING", f"more than {MAX_GZIP_MEMBERS} gzip members")


async def _join(body: bytes, receive: Receive, limit: int) -> bytes:
    parts, size = [body], len(body)
    has_more = True
    while has_more and size <= limit:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        part = message.get("body", b"")
        if part:
            parts.append(part)
            size += len(part)
        has_more = message.get("more_body", False)
    if size > limit:
        raise _too_large(limit)
    return b"".join(parts)


def _check_headers(headers: Iterable[tuple[bytes, bytes]], limit: int) -> bool:
    """Return whether a body is compressed; refuse invalid headers before reading it."""
    is_gzip = False
    for name, value in headers:
        if name not in _LOOKED_AT:  # one look-up for most headers: this runs for every assignment
            continue
        if name == b"content-type":
            if value != b"application/json":
                _check_type(value)
        elif name == b"content-encoding":
            coding = value.strip().lower()
            if coding in _GZIP_NAMES and not is_gzip:
                is_gzip = True
            elif coding not in {b"identity", b""}:
                raise RequestError(
                    "UNSUPPORTED_ENCODING",
                    f"the content encoding {quoted(value.decode('latin-1'))} is not taken; gzip is",
                    "Content-Encoding",
                )
        elif len(value) >= _DIGITS_OF_LIMIT and value.isdigit() and int(value[:20]) > limit:
            raise _too_large(limit)
    return is_gzip


def _check_type(value: bytes) -> None:
    """Refuse a body whose type is declared as other than JSON in UTF-8.

    `text/plain` is the type of a string sent by a browser's `sendBeacon`.
    """
    kind, _, parameters = value.decode("latin-1").partition(";")
    kind = kind.strip().lower()
    charset = "utf-8"
    for parameter in parameters.split(";"):
        name, _, text = parameter.partition("=")
        if name.strip().lower() == "charset":
            charset = text.strip().strip('"').lower()
    is_json = kind.encode("latin-1") in _READABLE or kind.endswith("+json")
    if not is_json or charset not in _CHARSETS:
        raise RequestError(
            "UNSUPPORTED_MEDIA_TYPE",
            f"a body is application/json in UTF-8, not {quoted(value.decode('latin-1'))}",
            "Content-Type",
        )


def _too_large(limit: int) -> InputError:
    return InputError("BODY_TOO_LARGE", f"the body is longer than {limit} bytes")
