"""Storage of deduplication windows: packed, immutable pieces that can be read repeatedly.

A segment holds the values of some entries at one offset, not increments, so reading it again
changes nothing. A segment is never changed; once the segments of a bucket cost twice as much as the
bucket itself, the bucket is written as a whole and they are dropped. Layout, big-endian:

    version u8 (1) | experiment u64 | deadline i64 | horizon i64 | parts u16 | n u32 | m u32
    width u8 | n keys u64 | their n values, u64 (width 8) or i128 (width 16) | m keys u64 of value 0
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Self

from streams.model.errors import DamagedEntryError, NewerEntryError

MAX_ENTRIES = 32_768
"""Entries of one segment: 24 bytes each at most, so that a record stays under a megabyte."""

_VERSION = 1
_HEADER = struct.Struct(">BQqqHIIB")
_KEY_BYTES = 8
_VALUE_BYTES = 16
_SMALL_BYTES = 8
_SMALL_LIMIT = 1 << 64


@dataclass(frozen=True, slots=True)
class WindowSegment:
    """A packed piece of a window, as it is stored.

    Attributes:
        key: Name of the piece, unique within the source and its partition.
        last_offset: Offset up to which it is valid.
        body: The packed piece.
    """

    key: str
    last_offset: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Piece:
    """Decoded content of a segment.

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
        totals, marks = self.entries, []
        if not all(totals.values()):  # most hold units alone
            totals = {key: value for key, value in self.entries.items() if value}
            marks = [key for key, value in self.entries.items() if not value]
        n, m = len(totals), len(marks)
        is_small = _are_small(totals)
        width = _SMALL_BYTES if is_small else _VALUE_BYTES
        values = (
            [struct.pack(f">{n}Q", *totals.values())]
            if is_small
            else [value.to_bytes(_VALUE_BYTES, "big", signed=True) for value in totals.values()]
        )
        return b"".join(
            (
                _HEADER.pack(
                    _VERSION, self.experiment, self.deadline, self.horizon, self.parts, n, m, width
                ),
                struct.pack(f">{n}Q", *totals),
                *values,
                struct.pack(f">{m}Q", *marks),
            )
        )

    @classmethod
    def unpack(cls, body: bytes) -> Self:
        """Return the piece packed by `pack`.

        Raises:
            NewerEntryError: a newer release packed it.
            DamagedEntryError: it is not a packed piece.
        """
        if body[:1] > bytes([_VERSION]):
            raise NewerEntryError(f"a segment of version {body[0]}")
        try:
            return cls._unpacked(body)
        except (struct.error, IndexError, ValueError) as error:
            raise DamagedEntryError("a segment of a window", error) from error

    @classmethod
    def _unpacked(cls, body: bytes) -> Self:
        version, experiment, deadline, horizon, parts, n, m, width = _HEADER.unpack_from(body)
        if version != _VERSION or width not in {_SMALL_BYTES, _VALUE_BYTES}:
            raise struct.error("no header of a segment")
        start = _HEADER.size + n * _KEY_BYTES
        marks = start + n * width
        if marks + m * _KEY_BYTES != len(body):  # before a count is believed
            raise struct.error("its counts do not fit its size")
        values: Sequence[int] = (
            struct.unpack_from(f">{n}Q", body, start)
            if width == _SMALL_BYTES
            else [
                int.from_bytes(body[place : place + _VALUE_BYTES], "big", signed=True)
                for place in range(start, marks, _VALUE_BYTES)
            ]
        )
        entries = dict(zip(struct.unpack_from(f">{n}Q", body, _HEADER.size), values, strict=True))
        entries.update(dict.fromkeys(struct.unpack_from(f">{m}Q", body, marks), 0))
        return cls(experiment, deadline, horizon, parts, entries)


def _are_small(entries: Mapping[int, int]) -> bool:
    """Return whether all values fit 64 bits; those of one window mostly are of one size."""
    first = next(iter(entries.values()), 0)
    if not 0 <= first < _SMALL_LIMIT:
        return False
    return min(entries.values(), default=0) >= 0 and max(entries.values(), default=0) < _SMALL_LIMIT


def chunks(entries: dict[int, int]) -> list[dict[int, int]]:
    """Return entries split into mappings of at most `MAX_ENTRIES`."""
    if len(entries) <= MAX_ENTRIES:
        return [entries]
    items = iter(entries.items())
    return [dict(islice(items, MAX_ENTRIES)) for _ in range(0, len(entries), MAX_ENTRIES)]
