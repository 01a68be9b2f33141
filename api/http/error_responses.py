"""Error responses: one table from codes to statuses, one form of body."""

from __future__ import annotations

import logging
from http import HTTPStatus

from api.http.models.errors import error_json
from schemas.errors import SchemaNotEnabledError
from streams.model.errors import DependencyError, EngineError

Headers = list[tuple[bytes, bytes]]

STATUS_OF_CODE: dict[str, HTTPStatus] = {
    "MALFORMED_REQUEST": HTTPStatus.BAD_REQUEST,
    "INVALID_ENCODING": HTTPStatus.BAD_REQUEST,
    "UNAUTHENTICATED": HTTPStatus.UNAUTHORIZED,
    "FORBIDDEN": HTTPStatus.FORBIDDEN,
    "ORIGIN_NOT_ALLOWED": HTTPStatus.FORBIDDEN,
    "NOT_FOUND": HTTPStatus.NOT_FOUND,
    "EXPERIMENT_NOT_FOUND": HTTPStatus.NOT_FOUND,
    "VARIANT_NOT_FOUND": HTTPStatus.NOT_FOUND,
    "HOLDOUT_NOT_FOUND": HTTPStatus.NOT_FOUND,
    "WEBHOOK_NOT_FOUND": HTTPStatus.NOT_FOUND,
    "WEBHOOKS_NOT_CONFIGURED": HTTPStatus.CONFLICT,
    "TOO_MANY_WEBHOOKS": HTTPStatus.CONFLICT,
    "METHOD_NOT_ALLOWED": HTTPStatus.METHOD_NOT_ALLOWED,
    "REQUEST_TIMEOUT": HTTPStatus.REQUEST_TIMEOUT,
    "EXPERIMENT_NOT_RUNNING": HTTPStatus.CONFLICT,
    "EXPERIMENT_EXISTS": HTTPStatus.CONFLICT,
    "KEY_TAKEN": HTTPStatus.CONFLICT,
    "NOT_CONCLUDED": HTTPStatus.CONFLICT,
    "REPORT_NOT_READY": HTTPStatus.CONFLICT,
    "INVALID_TRANSITION": HTTPStatus.CONFLICT,
    "VERSION_CONFLICT": HTTPStatus.CONFLICT,
    "SCHEMA_NOT_ENABLED": HTTPStatus.CONFLICT,
    "TOO_MANY_EXPERIMENTS": HTTPStatus.CONFLICT,
    "BODY_TOO_LARGE": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "URI_TOO_LONG": HTTPStatus.REQUEST_URI_TOO_LONG,
    "UNSUPPORTED_MEDIA_TYPE": HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    "UNSUPPORTED_ENCODING": HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    "HEADERS_TOO_LARGE": HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    "TOO_MANY_CONNECTIONS": HTTPStatus.SERVICE_UNAVAILABLE,
    "DEPENDENCY_UNAVAILABLE": HTTPStatus.SERVICE_UNAVAILABLE,
    "TOO_MANY_STREAMS": HTTPStatus.SERVICE_UNAVAILABLE,
    "SPOOL_FULL": HTTPStatus.SERVICE_UNAVAILABLE,
    "OPERATION_BUSY": HTTPStatus.SERVICE_UNAVAILABLE,
    "OPERATION_TIMED_OUT": HTTPStatus.SERVICE_UNAVAILABLE,
    "DEAD_LETTER_NOT_FOUND": HTTPStatus.NOT_FOUND,
    "KAFKA_ACCESS_DENIED": HTTPStatus.SERVICE_UNAVAILABLE,
    "COMMAND_TIMED_OUT": HTTPStatus.SERVICE_UNAVAILABLE,
    "INTERNAL": HTTPStatus.INTERNAL_SERVER_ERROR,
}
"""Every code whose status is not 422, the status of all errors in the input."""

JSON_HEADER = (b"content-type", b"application/json")
NO_STORE = (b"cache-control", b"no-store")

_HEADER_OF_CODE = {
    "UNAUTHENTICATED": (b"www-authenticate", b"Bearer"),
    "UNSUPPORTED_ENCODING": (b"accept-encoding", b"gzip"),  # RFC 7694: supported encodings
    "TOO_MANY_CONNECTIONS": (b"retry-after", b"1"),
}

_log = logging.getLogger(__name__)


class AccessError(EngineError):
    """A request without a valid API key, or whose key lacks the scope."""


class RouteError(EngineError):
    """A request for an unknown path, or with an unsupported method.

    Attributes:
        allow: The supported methods, as in the header `Allow`; empty without a route.
    """

    def __init__(self, code: str, message: str, allow: str = "") -> None:
        super().__init__(code, message)
        self.allow = allow


class RequestError(EngineError):
    """A request that violates HTTP or exceeds a limit of the API."""


def status_of(code: str) -> int:
    """Return the HTTP status of an error code."""
    return STATUS_OF_CODE.get(code, HTTPStatus.UNPROCESSABLE_ENTITY)


def error_response(error: Exception) -> tuple[int, bytes, Headers, str]:
    """Return status, body, headers and code of the response to `error`.

    Any other exception is a bug: it is logged here, and the response does not describe it.
    """
    if isinstance(error, SchemaNotEnabledError):
        error = EngineError(error.code, str(error))
    if not isinstance(error, EngineError):
        _log.error("a request failed", exc_info=error)
        error = EngineError("INTERNAL", "the API failed; its log has the error")
    elif isinstance(error, DependencyError):
        _log.warning("answered %d: %s: %s", status_of(error.code), error.dependency, error)
    body = error_json(error)
    headers = [JSON_HEADER, NO_STORE, (b"content-length", b"%d" % len(body))]
    if isinstance(error, DependencyError):
        headers.append((b"retry-after", b"%d" % error.retry_after_s))
    elif isinstance(error, RouteError) and error.allow:
        headers.append((b"allow", error.allow.encode()))
    elif error.code in _HEADER_OF_CODE:
        headers.append(_HEADER_OF_CODE[error.code])
    return status_of(error.code), body, headers, error.code
