"""Table entries of a newer release: distinguished from damaged ones, and never overwritten."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from streams.model.errors import EventError, InputError, NewerEntryError, quoted

UNKNOWN_SCHEMA = "UNKNOWN_SCHEMA"
"""Error code of a record whose schema, or version of it, this process does not know."""

_NEWER = frozenset({UNKNOWN_SCHEMA, "UNKNOWN_FIELD"})


@contextmanager
def readable_entry(key: bytes) -> Iterator[None]:
    """Convert the errors of reading a table entry in the block.

    Raises:
        NewerEntryError: a newer release wrote the entry.
    """
    try:
        yield
    except (EventError, InputError) as error:
        if error.code in _NEWER:
            raise NewerEntryError(f"the table entry {quoted(key)}") from error
        raise
