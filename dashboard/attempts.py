"""Attempts to give a command: sentences for refusals, and key and version of the next attempt."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from http import HTTPStatus

from experiment_streams_client import ApiError

KEY_FIELD = "idempotencyKey"
"""Field of a form with the idempotency key of its command: a second click gives no second one."""


VERSION_FIELD = "version"
"""Field of a form with the version of the experiment that its page showed: if the experiment has
changed since, the command is refused."""

_MAX_DIGITS = 15
"""Digits of a version that every reader of JSON reads exactly."""

_REFUSALS = {
    "VERSION_CONFLICT": "Nothing was done: the experiment has changed since this page was opened. "
    "What you typed is kept; look at it again, and send it again.",
}


def is_signed_out(error: ApiError) -> bool:
    """Return whether the API does not know the key of a session any more."""
    return error.status == HTTPStatus.UNAUTHORIZED


def status_of(error: ApiError) -> int:
    """Return the status of a page that shows an error of the API; 503 for one without answer."""
    return error.status or HTTPStatus.SERVICE_UNAVAILABLE


def message_of(error: ApiError) -> str:
    """Return the sentence with which a page shows a refusal."""
    if error.code in _REFUSALS:
        return _REFUSALS[error.code]
    return f"{error.message[:1].upper()}{error.message[1:]} ({error.code})"


def next_key(fields: Mapping[str, str], status: int) -> str:
    """Return the idempotency key of the next attempt.

    After a refusal it is another one, or the API would repeat the refusal; what had no answer, or
    was not sent yet, keeps its own, so that it takes effect once.

    Args:
        fields: Those of the last attempt; empty for the first.
        status: Status of the page.
    """
    return (fields.get(KEY_FIELD) if _is_open(status) else None) or secrets.token_hex(16)


def seen_version(fields: Mapping[str, str]) -> int | None:
    """Return the version that the page of a form showed; None where it names none."""
    text = fields.get(VERSION_FIELD, "")
    is_version = text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS and int(text) > 0
    return int(text) if is_version else None


def next_version(fields: Mapping[str, str], status: int, newest: int) -> int:
    """Return the version of the next attempt: the newest, which its page shows.

    An attempt without answer is repeated as it was, since it may have changed the version itself:
    its fields have its key.

    Args:
        fields: Those of the last attempt; empty for the first.
        status: Status of the page.
        newest: Version that the page shows.
    """
    is_repeated = KEY_FIELD in fields and _is_open(status)
    return (seen_version(fields) if is_repeated else None) or newest


def _is_open(status: int) -> bool:
    """Return whether the attempt of a page of this status has had no answer yet."""
    return status == HTTPStatus.OK or status >= HTTPStatus.INTERNAL_SERVER_ERROR
