"""The request target: path and query of a request, whatever form it has (RFC 9112, section 3.2)."""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

import httptools

from api.http.error_responses import RequestError

_SLASH = ord("/")
_MALFORMED_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})").search


def target_of(url: bytes) -> tuple[str, bytes, bytes]:
    """Return decoded path, path as it was sent, and query string of a request target.

    Raises:
        RequestError: it is neither a path nor a URL, or its path is no text (`MALFORMED_REQUEST`).
    """
    if url[0] == _SLASH:
        raw_path, _, query = url.partition(b"#")[0].partition(b"?")
    elif url == b"*":
        raw_path, query = url, b""
    else:
        raw_path, query = _of_url(url)
    path = raw_path
    if b"%" in path:
        if _MALFORMED_ESCAPE(path):
            raise malformed("a % of the path is not followed by two hex digits")
        path = unquote_to_bytes(path)
    try:
        return path.decode(), raw_path, query
    except UnicodeDecodeError as error:
        raise malformed("the path is not UTF-8") from error


def malformed(message: str) -> RequestError:
    """Return the error of a request that breaks the rules of HTTP."""
    return RequestError("MALFORMED_REQUEST", message)


def _of_url(url: bytes) -> tuple[bytes, bytes]:
    try:
        parsed = httptools.parse_url(url)
    except httptools.HttpParserInvalidURLError as error:
        raise malformed("the request target is neither a path nor a URL") from error
    if not parsed.schema or not parsed.host:
        raise malformed("the request target is neither a path nor a URL")
    return parsed.path or b"/", parsed.query or b""
