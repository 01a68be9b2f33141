"""Errors that a call may raise."""

from __future__ import annotations

from typing import Any

import httpx

from streams.model.errors import DependencyError, EngineError, quoted
from streams.model.number_texts import decimal_number

__all__ = ["ApiError", "ApiUnreachableError", "DependencyError", "EngineError"]


class ApiError(EngineError):
    """The API refused a request, or cannot serve it now.

    Attributes:
        status: HTTP status; 0 when there was no answer.
        retry_after_s: Seconds after which a retry is worth while; None when it is not.
    """

    def __init__(
        self,
        code: str,
        message: str,
        path: str = "",
        *,
        status: int,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(code, message, path)
        self.status = status
        self.retry_after_s = retry_after_s


class ApiUnreachableError(ApiError):
    """No answer came back: the connection failed, broke off or took too long.

    Attributes:
        was_sent: Whether the request may have arrived, so that it may have taken effect.

    Operator action: see that the API runs at the address in the message.
    """

    def __init__(self, message: str, *, was_sent: bool) -> None:
        super().__init__("API_UNREACHABLE", message, status=0)
        self.was_sent = was_sent


def refusal(response: httpx.Response) -> ApiError:
    """Return the error that an answer with an error status stands for.

    An answer without an error of this API is of something else: a proxy, the dashboard, a server
    that has the port. Its message says what answered, and where it redirects to.

    Args:
        response: Answer whose body has been read.
    """
    status = response.status_code
    error = _error_of(response)
    if error is None:
        error = {"code": f"HTTP_{status}", "message": foreign_answer(response)}
    return ApiError(
        str(error.get("code", f"HTTP_{status}")),
        str(error.get("message", "")),
        str(error.get("path") or ""),
        status=status,
        retry_after_s=_seconds(response.headers.get("retry-after")),
    )


def _error_of(response: httpx.Response) -> dict[str, Any] | None:
    try:
        payload = response.json()
    except ValueError:
        return None
    error = payload.get("error") if isinstance(payload, dict) else None
    return error if isinstance(error, dict) else None


def foreign_answer(response: httpx.Response) -> str:
    """Return what a message says of an answer that is not of this API."""
    headers = response.headers
    kind = quoted(headers["content-type"]) if "content-type" in headers else "no content type"
    place = f", which redirects to {quoted(headers['location'])}" if "location" in headers else ""
    body = " ".join(response.text[:1000].split())
    return (
        f"{response.url} answered {response.status_code} with {kind}{place}, and not as this API "
        f"does; see that the address is the API's: {quoted(body) if body else 'no body'}"
    )


def _seconds(retry_after: str | None) -> float | None:
    """Return the seconds of a `Retry-After` header; None when it is absent or a date."""
    seconds = None if retry_after is None else decimal_number(retry_after.strip())
    return None if seconds is None else max(0.0, seconds)
