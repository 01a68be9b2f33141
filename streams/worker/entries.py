"""Table entries that a newer release wrote: told apart from broken ones, and never written over."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from streams.model.errors import EventError, InputError, NewerEntryError, quoted

UNKNOWN_SCHEMA = "UNKNOWN_SCHEMA"
"""Code of a record in a schema, or a version of one, that this process does not have."""

_NEWER = frozenset({UNKNOWN_SCHEMA, "UNKNOWN_FIELD"})


@contextmanager
def readable_entry(key: bytes) -> Iterator[None]:
    """Read a table entry inside.

    Raises:
        NewerEntryError: a newer release wrote it.
    """
    try:
        yield
    except (EventError, InputError) as error:
        if error.code in _NEWER:
            raise NewerEntryError(f"the table entry {quoted(key)}") from error
        raise
