"""Committed offsets of the workers of all generations, in memory: the twin of `GroupPositions`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Self

from streams.kafka.positions import Positions
from streams.kafka.settings import KafkaSettings
from streams.model.errors import DependencyError


@dataclass
class MemoryGroups:
    """Positions that groups have committed.

    Attributes:
        committed: Offsets of the next records by generation, then by topic and partition.
        is_away: Whether Kafka does not answer.
    """

    committed: defaultdict[int, dict[tuple[str, int], int]] = field(
        default_factory=lambda: defaultdict(dict)
    )
    is_away: bool = False

    def positions(self, settings: KafkaSettings) -> MemoryPositions:
        """Return what takes the place of `GroupPositions(settings)`."""
        return MemoryPositions(self, settings.generation)


class MemoryPositions:
    """Positions of one generation."""

    def __init__(self, groups: MemoryGroups, generation: int) -> None:
        self._groups = groups
        self._generation = generation

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def read(self, partitions: Collection[tuple[str, int]] = ()) -> Positions:
        if self._groups.is_away:
            raise DependencyError("kafka", "away")
        committed = self._groups.committed[self._generation]
        return {each: committed[each] for each in partitions or committed if each in committed}

    def close(self) -> None:
        """Do nothing: no connection is held."""
