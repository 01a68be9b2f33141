"""Errors of the engine as error responses."""

from __future__ import annotations

from api.http.models.responses import ErrorDetails, ErrorResponse
from streams.model.errors import DependencyError, EngineError

_MESSAGE_OF_CODE = {
    "TOO_MANY_STREAMS": "no further stream of events can be opened now; try again",
    "SPOOL_FULL": "what is to be kept does not fit now; try again",
    "COMMAND_TIMED_OUT": "no worker has answered in time; repeat the request with the same "
    "Idempotency-Key to get the answer",
}
_MESSAGE_OF_DEPENDENCY = {
    "kafka": "the log cannot be written now; try again",
    "redis": "the experiments cannot be read now; try again",
    "worker": "no worker has answered in time; try again",
}
"""Messages for callers, by code and then by what is missing."""


def error_json(error: EngineError) -> bytes:
    """Return the JSON of an error.

    The message of a dependency may name hosts, paths and users, and goes to the log only.
    """
    message = public_message(error) if isinstance(error, DependencyError) else error.message
    details = ErrorDetails(code=error.code, message=message, path=error.path)
    return ErrorResponse(error=details).to_json()


def public_message(error: DependencyError) -> str:
    """Return the message for callers if a dependency does not answer."""
    fixed = _MESSAGE_OF_CODE.get(error.code) or _MESSAGE_OF_DEPENDENCY.get(error.dependency)
    return fixed or "something the API needs does not answer now; try again"
