"""Marks of copies for holdouts, by which workers know their own records.

A copy is not copied again. What says that a record is one is a header with a MAC of the record's
value by a key that signs receipts: a header alone could be set by any producer, whose observations
would then count for their experiment and not for its holdouts.
"""

from __future__ import annotations

from streams.kafka.headers import Headers
from streams.model.receipts import Keyring

COPIED_FOR = "copied-for"
"""Header of a copy; its value is the mark."""

_PURPOSE = b"copied-for/"


def marked(keyring: Keyring, value: bytes) -> dict[str, str | bytes | None]:
    """Return the headers of a copy with this value."""
    return {COPIED_FOR: keyring.tag(_PURPOSE, value)}


def is_copy(keyring: Keyring, headers: Headers, value: bytes | None) -> bool:
    """Return whether a worker of this installation made a record as a copy for a holdout."""
    if value is None:
        return False
    marks = (mark for name, mark in headers if name == COPIED_FOR and mark is not None)
    return any(keyring.has_tagged(mark, _PURPOSE, value) for mark in marks)
