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
        events: Number of their events, including repeated and refused ones.
        refused: Refusals by the index of the record: one for each code.
        awaits: Experiment whose plan must be known before the next record of the partition can be
            folded; None if all are.
        misplaced: Observations that belong to other partitions, to be sent there.
        is_paused: Whether it stopped because a pause was due; records after `last_offset` remain.
    """

    events: int = 0
    refused: list[tuple[int, Sequence[Refusal]]] = field(default_factory=list)
    awaits: int | None = None
    misplaced: list[MisplacedObservation] = field(default_factory=list)
    is_paused: bool = False


def never() -> bool:
    """Return False: a pause is never due."""
    return False


class Folding(ABC, Generic[FoldT]):
    """Stateless fold of the records of one topic into the state of their partition.

    Any exception while a record is decoded or folded is attributed to that record, or to the event
    in it that raised it: it is refused, and the others count. Entries it added before the failure
    remain, identically in every process that folds the same log.
    """

    @abstractmethod
    def new_fold(self, partition: int) -> FoldT:
        """Return the initial state of a partition."""

    @abstractmethod
    def fold(
        self, fold: FoldT, records: Sequence[LogRecord], is_due: Callable[[], bool] = never
    ) -> FoldResult:
        """Fold consecutive records; those at or below `fold.last_offset` are skipped.

        Args:
            fold: State of their partition.
            records: The records.
            is_due: Called after records, or after about a megabyte of them; returns whether to
                pause. Pauses do not affect the counts, since results are independent of batching.
        """


def decoded(decode: Callable[[bytes | None], BatchT], record: LogRecord) -> BatchT:
    """Return the decoded value of a record.

    Raises:
        EventError: decoding failed, for any reason.
    """
    try:
        return decode(record.value)
    except Exception as error:
        raise event_error(error) from error


def empty() -> EventError:
    """Return the error of a record without an event."""
    return EventError("EMPTY_RECORD", "there is no event in it")
