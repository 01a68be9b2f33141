"""Idempotency keys: the header of a command by which a repetition gets the first answer."""

from __future__ import annotations

from streams.model.errors import InputError

KEY_HEADER = "Idempotency-Key"
MAX_KEY = 256
"""Longest idempotency key, in characters."""


def checked_key(key: str | None) -> str | None:
    """Return an idempotency key; None for none.

    Raises:
        InputError: it is too long or empty (`OUT_OF_RANGE`), or not printable ASCII
            (`INVALID_NAME`).
    """
    if key is not None and not 1 <= len(key) <= MAX_KEY:
        raise InputError("OUT_OF_RANGE", f"must have 1 to {MAX_KEY} characters", KEY_HEADER)
    if key is not None and not (key.isascii() and key.isprintable()):
        raise InputError("INVALID_NAME", "must be printable ASCII", KEY_HEADER)
    return key
