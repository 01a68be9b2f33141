"""Generations of the state that workers derive from the log, and the active one.

A generation is a set of tables, tallies, snapshots and a part of Redis that one group of workers
derives from the log. Readers get those of the active generation. The first one is active until the
log says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

FIRST = 1


class ChangeKind(StrEnum):
    """Kind of a change of a generation."""

    STARTED = "started"
    SERVED = "served"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class GenerationChange:
    """A record of `generations`.

    Attributes:
        generation: Number of the generation, >= 1.
        kind: The change.
        at_ms: When that was asked for, in milliseconds since the epoch.
    """

    generation: int
    kind: ChangeKind
    at_ms: int


@dataclass(frozen=True, slots=True)
class Generations:
    """State of all generations after the records of `generations`.

    Attributes:
        active: The generation that readers get.
        epoch: Offset after the record that made it active; 0 before the first such record. It only
            grows, so of two statements about the active generation, the one with the larger epoch
            is current.
        known: Those that were ever started or active, and the first.
        dropped: Those that were deleted. Their numbers are never used again.
    """

    active: int = FIRST
    epoch: int = 0
    known: frozenset[int] = frozenset({FIRST})
    dropped: frozenset[int] = frozenset()

    @property
    def next(self) -> int:
        """Smallest number above all that were ever used."""
        return max(self.known) + 1

    @property
    def kept(self) -> list[int]:
        """Numbers of the generations that are not dropped, ascending."""
        return sorted(self.known - self.dropped)

    def after(self, offset: int, change: GenerationChange) -> Generations:
        """Return the state after the change at `offset`.

        An impossible change has no effect: a dropped generation is never served, and the active one
        never dropped. So two operators at once cannot contradict each other.
        """
        number = change.generation
        if number in self.dropped:
            return self
        known = self.known | {number}
        match change.kind:
            case ChangeKind.SERVED if number != self.active:
                return replace(self, active=number, epoch=offset + 1, known=known)
            case ChangeKind.DROPPED if number != self.active:
                return replace(self, known=known, dropped=self.dropped | {number})
            case _:
                return replace(self, known=known)
