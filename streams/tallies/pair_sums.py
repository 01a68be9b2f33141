"""Sums by pair of variants packed into one integer, so that they add and multiply like any other.

The sums S_b of a variant beside each variant b are the digits of sum(S_b * 2**(PAIR_BITS * b)),
each between -2**(PAIR_BITS - 1) and 2**(PAIR_BITS - 1). Adding two such numbers, or multiplying one
by an integer, does so to all digits, as long as none leaves its range. Sums over units stay in
range: squares of unit values, below 2**112, times squared weights, at most 2**64, over 2**60 units
are below 2**236. Ten sums are added in the time of one, and code that handles tallies need not know
of the packing.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from streams.model.errors import InvalidParameterError

PAIR_BITS = 256
"""Bits of a digit: those of the largest sum, and its sign."""

_BYTES = PAIR_BITS // 8
_HALF = 1 << PAIR_BITS - 1


def pack_pairs(sums: Iterable[int]) -> int:
    """Return the number whose digits are these sums, by the other variant.

    Raises:
        InvalidParameterError: one is outside the range of a digit.

    Examples:
        >>> pack_pairs((7, 1)) == 7 + 2**256, pack_pairs(())
        (True, 0)
    """
    packed = 0
    for place, each in enumerate(sums):
        if not -_HALF <= each < _HALF:
            raise InvalidParameterError("sums", each, f"of less than {PAIR_BITS} bits")
        packed += each << PAIR_BITS * place
    return packed


def unpack_pairs(packed: int) -> tuple[int, ...]:
    """Return the sums of `pack_pairs` up to the last one that is not 0.

    >>> unpack_pairs(pack_pairs((-7, 0, 1, 0)))
    (-7, 0, 1)
    """
    if not packed:
        return ()
    count = (packed.bit_length() + 1) // PAIR_BITS + 1  # one more where digits below it carry
    # With the half of its range added, every digit is positive.
    digits = (packed + _halves(count)).to_bytes(count * _BYTES, "little")
    found = [
        int.from_bytes(digits[start : start + _BYTES], "little") - _HALF
        for start in range(0, count * _BYTES, _BYTES)
    ]
    while not found[-1]:
        found.pop()
    return tuple(found)


@lru_cache
def _halves(count: int) -> int:
    return _HALF * ((1 << PAIR_BITS * count) - 1) // ((1 << PAIR_BITS) - 1)
