"""What a source topic is folded by, whoever has read its records."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from streams.domain.errors import EventError
from streams.tallies.misplaced import Misplaced
from streams.tallies.partition import PartitionFold, Refusal
from streams.tallies.plan import PlanMissingError

FoldT = TypeVar("FoldT", bound=PartitionFold)


class LogRecord(Protocol):
    """What folding needs to know of a Kafka record."""

    @property
    def offset(self) -> int:
        """Its place in the partition."""

    @property
    def timestamp(self) -> int:
        """When Kafka took it, in milliseconds since the epoch."""

    @property
    def value(self) -> bytes | None:
        """Its bytes."""


@dataclass(slots=True)
class Folded:
    """What came of folding records.

    Attributes:
        events: How many events they had, repeated and refused ones too.
        refused: What could not be counted, by the index of its record.
        awaits: Experiment whose plan must be known before the record after `hw` of the partition
            can be folded; None if all are.
        misplaced: Observations that belong into other partitions, to be sent there.
    """

    events: int = 0
    refused: list[tuple[int, Sequence[Refusal]]] = field(default_factory=list)
    awaits: int | None = None
    misplaced: list[Misplaced] = field(default_factory=list)


class Folding(ABC, Generic[FoldT]):
    """How records of one topic become the state of their partition; has no state of its own."""

    @abstractmethod
    def new_fold(self, partition: int) -> FoldT:
        """Return the state of a partition that nothing was read of."""

    def fold(self, fold: FoldT, records: Sequence[LogRecord]) -> Folded:
        """Fold records that follow each other; those at or below `fold.hw` are passed by."""
        folded = Folded()
        try:
            for index, record in enumerate(records):
                self._fold_one(fold, index, record, folded)
        except PlanMissingError as error:
            folded.awaits = error.experiment
        return folded

    def _fold_one(self, fold: FoldT, index: int, record: LogRecord, folded: Folded) -> None:
        """Fold the record at `index`, and add to `folded` what came of it."""
        try:
            events, refusals = self._fold_record(fold, record)
        except EventError as error:
            fold.skip(record.offset)
            events, refusals = 1, (Refusal(0, error),)
        folded.events += events
        if refusals:
            folded.refused.append((index, refusals))

    @abstractmethod
    def _fold_record(self, fold: FoldT, record: LogRecord) -> tuple[int, Sequence[Refusal]]:
        """Fold one record; return how many events it has, and which were refused.

        Raises:
            EventError: nothing of the record can be used.
        """
