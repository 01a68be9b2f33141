"""How windows are kept: packed pieces that are written once and can be read twice.

A segment holds what some entries were at one offset, not what was added, so reading it again
changes nothing. A segment is never changed; once the segments of a bucket cost twice what the
bucket itself would, it is written whole and they are forgotten. Layout, big-endian:

    version u8 (1) | experiment u64 | deadline i64 | horizon i64 | parts u16 | n u32 | m u32
    n keys u64 | n values, upper halves i64 | n values, lower halves u64 | m keys u64 of value 0
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self

MAX_ENTRIES = 32_768
"""Entries of one segment: 24 bytes each at most, so that a record stays under a megabyte."""

_VERSION = 1
_HEADER = struct.Struct(">BQqqHII")
_LOWER_BITS = 64
_LOWER = (1 << _LOWER_BITS) - 1


@dataclass(frozen=True, slots=True)
class Segment:
    """A packed piece of a window, as the engine keeps it.

    Attributes:
        key: Name of the piece, unique within the source and its partition.
        hw: Offset up to which it is true.
        body: The packed piece.
    """

    key: str
    hw: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Piece:
    """What a segment says.

    Attributes:
        experiment: The experiment as a 64-bit number.
        deadline: Bucket of the window.
        horizon: Horizon of the window.
        parts: Number of pieces that together hold the whole bucket; 0 when the piece holds changes.
        entries: Value by key; keys in [0, 2**64), values in [-2**127, 2**127).
    """

    experiment: int
    deadline: int
    horizon: int
    parts: int
    entries: Mapping[int, int]

    def pack(self) -> bytes:
        """Return the body of a segment."""
        totals = [(key, value) for key, value in self.entries.items() if value]
        marks = [key for key, value in self.entries.items() if not value]
        n, m = len(totals), len(marks)
        header = _HEADER.pack(
            _VERSION, self.experiment, self.deadline, self.horizon, self.parts, n, m
        )
        return header + struct.pack(
            _columns(n, m),
            *(key for key, _ in totals),
            *(value >> _LOWER_BITS for _, value in totals),
            *(value & _LOWER for _, value in totals),
            *marks,
        )

    @classmethod
    def unpack(cls, body: bytes) -> Self:
        """Return what `pack` has packed."""
        _, experiment, deadline, horizon, parts, n, m = _HEADER.unpack_from(body)
        numbers = struct.unpack_from(_columns(n, m), body, _HEADER.size)
        entries = {
            key: upper << _LOWER_BITS | lower
            for key, upper, lower in zip(
                numbers[:n], numbers[n : 2 * n], numbers[2 * n : 3 * n], strict=True
            )
        }
        entries.update(dict.fromkeys(numbers[3 * n :], 0))
        return cls(experiment, deadline, horizon, parts, entries)


def chunks(keys: Iterable[int], entries: Mapping[int, int]) -> list[dict[int, int]]:
    """Return the entries of `keys`, cut into mappings of at most `MAX_ENTRIES`."""
    chosen = list(keys)
    return [
        {key: entries[key] for key in chosen[start : start + MAX_ENTRIES]}
        for start in range(0, len(chosen), MAX_ENTRIES)
    ]


def _columns(n: int, m: int) -> str:
    return f">{n}Q{n}q{n}Q{m}Q"
