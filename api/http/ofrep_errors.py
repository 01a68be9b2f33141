"""Errors of OFREP: its statuses, its codes and its bodies."""

from __future__ import annotations

from http import HTTPStatus

import orjson

from api.http.error_responses import AccessError, Headers, RequestError, error_response, status_of
from api.http.models.errors import public_message
from api.services.flags import details_of, error_code_of
from streams.model.errors import (
    DependencyError,
    EngineError,
    ExperimentNotFoundError,
    InputError,
)

_BUSY = frozenset({"SPOOL_FULL", "TOO_MANY_STREAMS"})
"""Codes of an API that takes no more for now; OFREP has 429 for that, and clients wait then."""

_TO_REPLACE = frozenset({b"content-length", b"content-type"})


def ofrep_error(error: Exception, key: str) -> tuple[int, bytes, Headers, str]:
    """Return status, body, headers and code of the answer of OFREP to `error`.

    Args:
        error: What went wrong.
        key: Key of the flag; empty where all are asked for.
    """
    status, _, headers, code = error_response(error)
    kept = [header for header in headers if header[0] not in _TO_REPLACE]
    if isinstance(error, AccessError):
        return status, b"", [*kept, (b"content-length", b"0")], code
    status, body = _answer(error, key)
    encoded = orjson.dumps(body)
    length = (b"content-length", b"%d" % len(encoded))
    return status, encoded, [*kept, (b"content-type", b"application/json"), length], code


def _answer(error: Exception, key: str) -> tuple[int, dict[str, str]]:
    if isinstance(error, DependencyError):
        is_busy = error.code in _BUSY
        status = HTTPStatus.TOO_MANY_REQUESTS if is_busy else HTTPStatus.INTERNAL_SERVER_ERROR
        return status, {"errorDetails": public_message(error)}
    if not _is_of_sender(error):
        return HTTPStatus.INTERNAL_SERVER_ERROR, {"errorDetails": "the API failed"}
    assert isinstance(error, EngineError)  # noqa: S101 - all errors of senders are
    is_unknown = isinstance(error, ExperimentNotFoundError)
    named = {"key": key} if key else {}
    details = {"errorCode": error_code_of(error), "errorDetails": details_of(error)}
    return HTTPStatus.NOT_FOUND if is_unknown else HTTPStatus.BAD_REQUEST, named | details


def _is_of_sender(error: Exception) -> bool:
    if isinstance(error, InputError | RequestError | ExperimentNotFoundError):
        return True
    return (
        isinstance(error, EngineError) and status_of(error.code) < HTTPStatus.INTERNAL_SERVER_ERROR
    )
