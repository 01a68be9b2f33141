"""Interface by which records of a source topic are folded, independent of the transport."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from streams.fold.misplaced import MisplacedObservation
from streams.fold.partition import PartitionFold
from streams.fold.refusals import Refusal
from streams.model.errors import EventError
from streams.wire.records import event_error

FoldT = TypeVar("FoldT", bound=PartitionFold)
BatchT = TypeVar("BatchT")


class LogRecord(Protocol):
    """Fields of a Kafka record that folding uses."""

    @property
    def offset(self) -> int:
        """Its place in the partition."""

    @property
    def timestamp(self) -> int:
        """Time at which Kafka appended the record, in milliseconds since the epoch."""

    @property
    def value(self) -> bytes | None:
        """Its bytes."""


@dataclass(slots=True)
class FoldResult:
    """Result of folding records.

    Attributes:
        events: How many events they had, repeated and refused ones too.
        refused: What could not be counted, by the index of its record: one refusal for each code.
        awaits: Experiment whose plan must be known before the next record of the partition can be
            folded; None if all are.
        misplaced: Observations that belong to other partitions, to be sent there.
        is_paused: Whether it stopped because a pause was due; those after `last_offset` are left.
    """

    events: int = 0
    refused: list[tuple[int, Sequence[Refusal]]] = field(default_factory=list)
    awaits: int | None = None
    misplaced: list[MisplacedObservation] = field(default_factory=list)
    is_paused: bool = False


def never() -> bool:
    """Return that no pause is due."""
    return False


class Folding(ABC, Generic[FoldT]):
    """Stateless fold of the records of one topic into the state of their partition.

    Any exception while a record is decoded or folded is the error of that record, or of the event
    in it that raised it: it is refused, and the others count. What was remembered of it before it
    failed stays so, which is the same in every process that folds the same log.
    """

    @abstractmethod
    def new_fold(self, partition: int) -> FoldT:
        """Return the state of a partition that nothing was read of."""

    @abstractmethod
    def fold(
        self, fold: FoldT, records: Sequence[LogRecord], is_due: Callable[[], bool] = never
    ) -> FoldResult:
        """Fold records that follow each other; those at or below `fold.last_offset` are skipped.

        Args:
            fold: State of their partition.
            records: The records.
            is_due: Asked after records, or after some megabyte of them, whether to pause. It
                changes nothing of what is counted, since any batches give the same.
        """


def decoded(decode: Callable[[bytes | None], BatchT], record: LogRecord) -> BatchT:
    """Return what a record was decoded to.

    Raises:
        EventError: it cannot be, for whatever reason.
    """
    try:
        return decode(record.value)
    except Exception as error:
        raise event_error(error) from error


def empty() -> EventError:
    """Return the error of a record without an event."""
    return EventError("EMPTY_RECORD", "there is no event in it")
