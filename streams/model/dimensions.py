"""Values of dimensions in receipts and tallies: an index of one byte for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from streams.model.errors import InvalidParameterError

MAX_DIMENSIONS = 4
"""Dimensions of one experiment, at most."""

OTHER = 0
"""Index of a value that is undeclared or missing."""

MAX_INDEX = 255
"""Largest index that a byte can be."""


class Slice(NamedTuple):
    """The units that have one value of one dimension.

    Attributes:
        dimension: Place of the dimension in the definition, from 0.
        value: Place of the value among the declared ones, from 1; `OTHER` for all others.
    """

    dimension: int
    value: int


def pack_dimensions(values: Sequence[int]) -> bytes:
    r"""Return the values of a unit as in a receipt, one byte each.

    Raises:
        InvalidParameterError: there are more than `MAX_DIMENSIONS`, or one is no byte.

    Examples:
        >>> pack_dimensions([2, 0])
        b'\x02\x00'
    """
    if len(values) > MAX_DIMENSIONS or not all(0 <= value <= MAX_INDEX for value in values):
        raise InvalidParameterError("dimensions", tuple(values), f"{MAX_DIMENSIONS} bytes at most")
    return bytes(values)
