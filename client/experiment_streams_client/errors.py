"""Errors that a call may raise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from streams.model.errors import DependencyError, EngineError

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


def refusal(status: int, headers: Mapping[str, str], payload: Any, text: str) -> ApiError:
    """Return the error an answer with an error status stands for.

    Args:
        status: HTTP status, >= 400.
        headers: Headers of the answer; names in any case, as httpx gives them.
        payload: Decoded JSON body; None when it is not JSON, as from a proxy in between.
        text: The body as it came.
    """
    error = payload.get("error") if isinstance(payload, dict) else None
    if not isinstance(error, dict):
        error = {"code": f"HTTP_{status}", "message": text[:200].strip() or "no body"}
    return ApiError(
        str(error.get("code", f"HTTP_{status}")),
        str(error.get("message", "")),
        str(error.get("path") or ""),
        status=status,
        retry_after_s=_seconds(headers.get("retry-after")),
    )


def _seconds(retry_after: str | None) -> float | None:
    """Return the seconds of a `Retry-After` header; None when it is absent or a date."""
    try:
        return None if retry_after is None else max(0.0, float(retry_after))
    except ValueError:
        return None
