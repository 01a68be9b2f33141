"""From an error to an answer: one table from codes to statuses, one shape of body."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any

import orjson

from schemas.errors import SchemaNotEnabledError
from streams.domain.errors import DependencyError, EngineError

Headers = list[tuple[bytes, bytes]]

STATUS_OF_CODE: dict[str, HTTPStatus] = {
    "UNAUTHENTICATED": HTTPStatus.UNAUTHORIZED,
    "FORBIDDEN": HTTPStatus.FORBIDDEN,
    "NOT_FOUND": HTTPStatus.NOT_FOUND,
    "EXPERIMENT_NOT_FOUND": HTTPStatus.NOT_FOUND,
    "METHOD_NOT_ALLOWED": HTTPStatus.METHOD_NOT_ALLOWED,
    "EXPERIMENT_NOT_RUNNING": HTTPStatus.CONFLICT,
    "EXPERIMENT_EXISTS": HTTPStatus.CONFLICT,
    "INVALID_TRANSITION": HTTPStatus.CONFLICT,
    "SCHEMA_NOT_ENABLED": HTTPStatus.CONFLICT,
    "DEPENDENCY_UNAVAILABLE": HTTPStatus.SERVICE_UNAVAILABLE,
    "SPOOL_FULL": HTTPStatus.SERVICE_UNAVAILABLE,
    "COMMAND_TIMED_OUT": HTTPStatus.SERVICE_UNAVAILABLE,
    "INTERNAL": HTTPStatus.INTERNAL_SERVER_ERROR,
}
"""Every code whose status is not 422. What is wrong with the input itself is always a 422."""

_OUTSIDE = {
    "SPOOL_FULL": "what is to be kept does not fit now; try again",
    "COMMAND_TIMED_OUT": "no worker has answered in time; repeat the request with the same "
    "Idempotency-Key to get the answer",
}
_OUTSIDE_BY_DEPENDENCY = {
    "kafka": "the log cannot be written now; try again",
    "redis": "the experiments cannot be read now; try again",
    "worker": "no worker has answered in time; try again",
}
"""Messages for callers, by code and then by what is missing."""

JSON_HEADER = (b"content-type", b"application/json")

_log = logging.getLogger(__name__)


class AccessError(EngineError):
    """The caller has shown no key, or one that does not reach so far."""


class RouteError(EngineError):
    """There is no such route, or it does not take this method."""


def status_of(code: str) -> int:
    """Return the HTTP status of an error code."""
    return STATUS_OF_CODE.get(code, HTTPStatus.UNPROCESSABLE_ENTITY)


def error_body(error: EngineError) -> dict[str, Any]:
    """Return the JSON value of an error: {"error": {"code", "message", "path"}}.

    What a dependency said may name hosts, paths and users, and is for the log alone.
    """
    message = _outside(error) if isinstance(error, DependencyError) else error.message
    return {"error": {"code": error.code, "message": message, "path": error.path}}


def _outside(error: DependencyError) -> str:
    fixed = _OUTSIDE.get(error.code) or _OUTSIDE_BY_DEPENDENCY.get(error.dependency)
    return fixed or "something the API needs does not answer now; try again"


def answer_of(error: Exception) -> tuple[int, bytes, Headers, str]:
    """Return status, body, headers and code of the answer to `error`.

    What is no error of ours is a bug: it is logged here, and the answer does not tell what it was.
    """
    if isinstance(error, SchemaNotEnabledError):
        error = EngineError(error.code, str(error))
    if not isinstance(error, EngineError):
        _log.error("a request failed", exc_info=error)
        error = EngineError("INTERNAL", "the API made a mistake; its log says which")
    elif isinstance(error, DependencyError):
        _log.warning("answered %d: %s: %s", status_of(error.code), error.dependency, error)
    body = orjson.dumps(error_body(error))
    headers = [JSON_HEADER, (b"content-length", b"%d" % len(body))]
    if isinstance(error, DependencyError):
        headers.append((b"retry-after", b"%d" % error.retry_after_s))
    if error.code == "UNAUTHENTICATED":
        headers.append((b"www-authenticate", b"Bearer"))
    return status_of(error.code), body, headers, error.code
