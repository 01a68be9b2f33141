"""Integers of any size as bytes."""

from __future__ import annotations

from streams.model.errors import EventError

MAX_INTEGER_BYTES = 64
"""Longest integer that is read; sums of squares over 2**60 units need 33 bytes."""


def integer_bytes(number: int) -> bytes:
    r"""Return an integer in two's complement, big-endian, of minimal length.

    The inverse is `integer`. There is one such form, so equal integers give equal bytes.

    >>> integer_bytes(0), integer_bytes(-128), integer_bytes(128)
    (b'\x00', b'\x80', b'\x00\x80')
    """
    # -2**(8k-1) fits into k bytes and 2**(8k-1) does not, hence the 1 added to negative ones.
    size = (number + (number < 0)).bit_length() // 8 + 1
    return number.to_bytes(size, "big", signed=True)


def integer(data: bytes, path: str) -> int:
    """Return the integer behind `integer_bytes`.

    Raises:
        EventError: there are no bytes, or more than `MAX_INTEGER_BYTES` (`OUT_OF_RANGE`).
    """
    if not 1 <= len(data) <= MAX_INTEGER_BYTES:
        raise EventError(
            "OUT_OF_RANGE", f"{len(data)} bytes, must be 1 to {MAX_INTEGER_BYTES}", path
        )
    return int.from_bytes(data, "big", signed=True)
