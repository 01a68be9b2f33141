"""Limits of writable states; workers and replay refuse the same records beyond them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from schemas.catalogue import STATE_BYTES
from streams.model.errors import EventError, quoted

ENCODING_FAILED = "ENCODING_FAILED"
"""Code of a folded record whose resulting state cannot be encoded."""

ENTRY_TOO_LARGE = "ENTRY_TOO_LARGE"
"""Code of a record after which a state would not fit its topic."""

MAX_ENTRY_BYTES = STATE_BYTES - 4_096
"""Largest body of an entry: the rest is for the key, the offset and the headers of Kafka."""

ValueT = TypeVar("ValueT")


def check_entry(body: bytes) -> None:
    """Refuse an entry that its changelog would refuse, which would end the process.

    Raises:
        EventError: it is too large (`ENTRY_TOO_LARGE`).
    """
    if len(body) > MAX_ENTRY_BYTES:
        raise EventError(
            ENTRY_TOO_LARGE,
            f"the state would have {len(body)} bytes, must be <= {MAX_ENTRY_BYTES}",
        )


def entry_of(encode: Callable[[ValueT], bytes], value: ValueT) -> bytes:
    """Return the entry of a value.

    Raises:
        EventError: it cannot be encoded (`ENCODING_FAILED`, with its cause), or is too large
            (`ENTRY_TOO_LARGE`).
    """
    try:
        body = encode(value)
    except Exception as error:
        raise encoding_failed(error) from error
    check_entry(body)
    return body


def encoding_failed(error: Exception) -> EventError:
    """Return the error of a folded record whose resulting state cannot be encoded."""
    failure = EventError(ENCODING_FAILED, f"{type(error).__name__}: {quoted(str(error))}")
    failure.__cause__ = error
    return failure
