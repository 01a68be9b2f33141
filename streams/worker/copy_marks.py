"""Marks of copies for holdouts, by which workers know their own records.

A copy is not copied again. What says that a record is one is a header with a MAC of the record's
value by a key that signs receipts: a header alone could be set by any producer, whose observations
would then count for their experiment and not for its holdouts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from streams.model.receipts import Keyring

COPIED_FOR = "copied-for"
"""Header of a copy; its value is the mark."""

_PURPOSE = b"copied-for/"

Headers = Mapping[str, str | bytes | None] | Sequence[tuple[str, str | bytes | None]]
"""Headers of a record, as confluent-kafka has them."""


def marked(keyring: Keyring, value: bytes) -> dict[str, str | bytes | None]:
    """Return the headers of a copy with this value."""
    return {COPIED_FOR: keyring.tag(_PURPOSE, value)}


def is_copy(keyring: Keyring, headers: Headers | None, value: bytes | None) -> bool:
    """Return whether a worker of this installation made a record as a copy for a holdout."""
    if not headers or value is None:
        return False
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    return any(
        name == COPIED_FOR and isinstance(mark, bytes) and keyring.has_tagged(mark, _PURPOSE, value)
        for name, mark in pairs
    )
