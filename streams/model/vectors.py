"""Feature vectors of requests: integers, and their bytes in a receipt.

An entry is a multiple of 1 / 1,024. A float is rounded to one once, where a request is encoded;
sums of products of the integers are exact, so any order of folding gives the same matrices.
"""

from __future__ import annotations

import struct

from streams.model.errors import ReceiptError

FEATURE_ONE = 1 << 10
"""Integer that stands for the entry 1 of a vector."""

MAX_DIMENSION = 64
"""Length of the longest vector, the intercept included: the work of an evaluation grows with its
cube, a snapshot with its square, and an index is one byte of a receipt."""

MAX_ENTRIES = 32
"""Entries of a vector that are not 0, at most, without the intercept."""

Vector = tuple[tuple[int, int], ...]
"""The entries of a vector that are not 0, as (index, value in 1 / FEATURE_ONE), by index.

The entry 0 is the intercept, `FEATURE_ONE` in every vector.
"""

INTERCEPT: Vector = ((0, FEATURE_ONE),)
"""The vector of a request of which nothing is known."""

_ENTRY = struct.Struct(">Bh")
ENTRY_BYTES = _ENTRY.size
"""Bytes of a packed entry: an index of one and a value of two, signed and big-endian."""


def pack(vector: Vector) -> bytes:
    """Return the bytes of a vector, `ENTRY_BYTES` for each entry.

    The intercept is left out, since it is in all of them.

    >>> pack(((0, 1024), (3, -1024))).hex()
    '03fc00'
    """
    return b"".join([_ENTRY.pack(index, value) for index, value in vector[1:]])


def unpack(packed: bytes) -> Vector:
    """Return the vector of `pack`.

    Raises:
        ReceiptError: no vector has these bytes (`MALFORMED_FEATURES`).

    Examples:
        >>> unpack(bytes.fromhex("03fc00"))
        ((0, 1024), (3, -1024))
    """
    entries, rest = divmod(len(packed), ENTRY_BYTES)
    if rest or entries > MAX_ENTRIES:
        raise _malformed()
    vector = tuple(_ENTRY.iter_unpack(packed))
    last = 0
    for index, value in vector:
        if not last < index < MAX_DIMENSION or not 0 < abs(value) <= FEATURE_ONE:
            raise _malformed()
        last = index
    return INTERCEPT + vector


def _malformed() -> ReceiptError:
    return ReceiptError("MALFORMED_FEATURES", "the features are not those of a vector", "features")
