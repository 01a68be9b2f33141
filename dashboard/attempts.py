"""Attempts to give a command: what a refusal says, and the key of the next attempt."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from http import HTTPStatus

from experiment_streams_client import ApiError

KEY_FIELD = "idempotencyKey"
"""Field of a form with the idempotency key of its command: a second click gives no second one."""


def is_signed_out(error: ApiError) -> bool:
    """Return whether the API does not know the key of a session any more."""
    return error.status == HTTPStatus.UNAUTHORIZED


def status_of(error: ApiError) -> int:
    """Return the status of a page that shows an error of the API; 503 for one without answer."""
    return error.status or HTTPStatus.SERVICE_UNAVAILABLE


def message_of(error: ApiError) -> str:
    """Return what a page says of a refusal."""
    return f"{error.message[:1].upper()}{error.message[1:]} ({error.code})"


def next_key(fields: Mapping[str, str], status: int) -> str:
    """Return the idempotency key of the next attempt.

    After a refusal it is another one, or the API would repeat the refusal; what had no answer keeps
    its own, so that it takes effect once.

    Args:
        fields: Those of the last attempt; empty for the first.
        status: Status of the page.
    """
    kept = fields.get(KEY_FIELD) if status >= HTTPStatus.INTERNAL_SERVER_ERROR else None
    return kept or secrets.token_hex(16)
