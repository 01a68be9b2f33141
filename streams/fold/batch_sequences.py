"""Sequence numbers of folded batches, by sending process.

A sender numbers its batches per partition from 0 without gaps, and sends a batch again if it does
not know whether it arrived. For every sender it suffices to keep the next number and the gaps below
it: a smaller number outside the gaps has been seen.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from typing import Self

from streams.model.errors import DamagedEntryError, EventError

MAX_SENDERS = 1024
"""Senders kept. Beyond, the one that has been silent longest is dropped, and a batch that it
repeats would count again: that takes over a thousand newer processes within the lifetime of a
spool."""

MAX_GAPS = 256
"""Gaps kept per sender. Beyond, the oldest is dropped: a batch that still arrives in it is refused
(`SEQUENCE_WINDOW_PASSED`), since it cannot be distinguished from a duplicate."""

MAX_GAPS_OF_ALL = 16_384
"""Gaps kept for all senders, so that the progress record stays below 300 kB. Beyond, the sender
that has been silent longest loses its oldest one."""

MAX_SEQUENCE = (1 << 63) - 1

_COUNT = struct.Struct(">H")
_SENDER = struct.Struct(">QIQQH")
_GAP = struct.Struct(">QQ")


class SequenceGuard:
    """Detector of repeated batches. Equal guards make equal decisions."""

    __slots__ = ("_gaps", "_senders")

    def __init__(self) -> None:
        # In order of their last batch, the one silent for longest first.
        self._senders: dict[tuple[int, int], _Sender] = {}
        self._gaps = 0

    def admit(self, incarnation: int, partition: int, sequence: int) -> bool:
        """Remember a batch, and return whether it is new.

        Args:
            incarnation: 64-bit number of the sending process.
            partition: Partition its sequences count for, below 2**32.
            sequence: Number of the batch, from 0.

        Raises:
            EventError: the number is negative or above `MAX_SEQUENCE` (`INVALID_SEQUENCE`), or lies
                in a dropped gap (`SEQUENCE_WINDOW_PASSED`).
        """
        if not 0 <= sequence <= MAX_SEQUENCE:
            raise EventError(
                "INVALID_SEQUENCE",
                f"sequence == {sequence}, must be in 0..{MAX_SEQUENCE}",
                "sequence",
            )
        key = (incarnation, partition)
        sender = self._senders.pop(key, None) or _Sender()
        self._senders[key] = sender
        if len(self._senders) > MAX_SENDERS:
            forgotten = self._senders.pop(next(iter(self._senders)))
            self._gaps -= len(forgotten.gaps)
        before = len(sender.gaps)
        is_new = sender.admit(sequence)
        self._gaps += len(sender.gaps) - before
        if self._gaps > MAX_GAPS_OF_ALL:
            silent = next(each for each in self._senders.values() if each.gaps)
            silent.give_up_oldest()
            self._gaps -= 1
        return is_new

    def encode(self) -> bytes:
        """Return the guard as bytes; equal guards give equal bytes."""
        parts = [_COUNT.pack(len(self._senders))]
        for (incarnation, partition), sender in self._senders.items():
            parts.append(
                _SENDER.pack(incarnation, partition, sender.next, sender.floor, len(sender.gaps))
            )
            parts += [_GAP.pack(*gap) for gap in sender.gaps]
        return b"".join(parts)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Return the guard encoded in these bytes.

        Raises:
            DamagedEntryError: they do not encode a guard.
        """
        try:
            guard = cls._decoded(data)
        except struct.error as error:
            raise DamagedEntryError("the sequences of a progress record", error) from error
        if guard.encode() != data:
            raise DamagedEntryError("the sequences of a progress record")
        return guard

    @classmethod
    def _decoded(cls, data: bytes) -> Self:
        guard = cls()
        (count,) = _COUNT.unpack_from(data)
        place = _COUNT.size
        for _ in range(count):
            incarnation, partition, upcoming, floor, n_gaps = _SENDER.unpack_from(data, place)
            place += _SENDER.size
            end = place + n_gaps * _GAP.size
            gaps = list(_GAP.iter_unpack(data[place:end]))
            guard._senders[incarnation, partition] = _Sender(upcoming, floor, gaps)
            guard._gaps += n_gaps
            place = end
        return guard

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SequenceGuard) and self.encode() == other.encode()

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __repr__(self) -> str:
        return f"SequenceGuard({len(self._senders)} senders)"


class _Sender:
    """The next sequence, and the gaps [start, end) below it in ascending order.

    `floor` is the end of the last dropped gap.
    """

    __slots__ = ("floor", "gaps", "next")

    def __init__(
        self, upcoming: int = 0, floor: int = 0, gaps: list[tuple[int, int]] | None = None
    ) -> None:
        self.next = upcoming
        self.floor = floor
        self.gaps = gaps or []

    def admit(self, sequence: int) -> bool:
        if sequence == self.next:
            self.next += 1
            return True
        if sequence > self.next:
            self.gaps.append((self.next, sequence))
            self.next = sequence + 1
            self._give_up()
            return True
        if sequence < self.floor:
            raise EventError(
                "SEQUENCE_WINDOW_PASSED",
                f"sequence == {sequence}, must be >= {self.floor}: an older one may be repeated",
                "sequence",
            )
        index = bisect_right(self.gaps, sequence, key=lambda gap: gap[0]) - 1
        if index < 0 or sequence >= self.gaps[index][1]:
            return False
        start, end = self.gaps[index]
        rest = [(start, sequence), (sequence + 1, end)]
        self.gaps[index : index + 1] = [gap for gap in rest if gap[0] < gap[1]]
        self._give_up()
        return True

    def _give_up(self) -> None:
        if len(self.gaps) > MAX_GAPS:
            self.give_up_oldest()

    def give_up_oldest(self) -> None:
        """Treat the oldest gap as seen."""
        self.floor = self.gaps.pop(0)[1]
