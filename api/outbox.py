"""The outbox: one write to the spool for all rows of one turn of the event loop.

Requests add rows and wait. When the turn ends, the rows become records, the records go into the
spool with one write, all who wait are answered, and the records are handed to Kafka.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol, TypeVar

from api.spool.entries import SpoolRecord
from api.spool.spool import Spool, SpoolPosition
from schemas import catalogue
from streams.model.events import (
    ImpressionBatch,
    ImpressionGroup,
    Observation,
    ObservationBatch,
    OutsideRequests,
)
from streams.model.partitioning import partition_of
from streams.model.receipts import Receipt
from streams.wire.batch_tags import Seal

IMPRESSIONS = 0
OBSERVATIONS = 1
"""Numbers of the topics in the spool; they must not change."""

MAX_RECORD_BYTES = 2**19
"""Approximate size limit of a record: half of the default limit of a broker."""

MAX_ROWS = 10_000
MAX_OUTSIDE = 5_000
_ROW_BYTES = 40
"""About what the columns of an impression take."""

R = TypeVar("R")

_new_tuple = tuple.__new__  # half the time of calling the class, for what is done per request


class ImpressionRow(NamedTuple):
    """One impression to be logged; the fields are those of `ImpressionGroup`, in its order."""

    experiment: int
    repeatable: bool
    variant: int
    propensity: int
    allocation_version: int
    assigned_at_ms: int
    unit: int
    context: str
    features: bytes = b""
    weights: bytes = b""
    dimensions: bytes = b""


def row_of(receipt: Receipt, context: str, *, is_repeatable: bool) -> ImpressionRow:
    """Return the impression of an assignment.

    Args:
        receipt: Its receipt.
        context: What is logged of the request; JSON, empty for nothing.
        is_repeatable: Whether its unit may come again.
    """
    experiment, variant, propensity, version, at_ms, unit, _, weights, features, dimensions = (
        receipt
    )
    fields = (
        experiment,
        is_repeatable,
        variant,
        propensity,
        version,
        at_ms,
        unit,
        context,
        features,
        weights,
        dimensions,
    )
    return _new_tuple(ImpressionRow, fields)


class RecordReceiver(Protocol):
    """Receiver of records that are in the spool."""

    def offer(self, positions: Sequence[SpoolPosition], records: Sequence[SpoolRecord]) -> None:
        """Take records that were just appended."""


class Outbox:
    """Collects rows, and writes them to the spool as records.

    Attributes:
        queued: Rows that wait for the end of the turn.
    """

    def __init__(
        self,
        spool: Spool,
        receiver: RecordReceiver,
        *,
        incarnation: int,
        partitions: int,
        encode_impressions: Callable[[ImpressionBatch], bytes],
        encode_observations: Callable[[ObservationBatch], bytes],
        seal: Seal,
    ) -> None:
        """Take the parts.

        Args:
            spool: Where records survive.
            receiver: Takes them from there.
            incarnation: 64-bit number of this process; no other process may have it.
            partitions: Partitions of the two topics.
            encode_impressions: Makes a record of a batch.
            encode_observations: The same.
            seal: Proves that the batches are of a process with a receipt key.
        """
        self.queued = 0
        self._spool = spool
        self._receiver = receiver
        self._incarnation = incarnation
        self._partitions = partitions
        self._encode_impressions = encode_impressions
        self._encode_observations = encode_observations
        self._seal = seal
        self._sequences: dict[tuple[int, int], int] = {}
        self._rotating: list[ImpressionRow] = []
        self._keyed: defaultdict[int, list[ImpressionRow]] = defaultdict(list)
        self._observations: defaultdict[int, list[Observation]] = defaultdict(list)
        self._sealed: list[SpoolRecord] = []
        self._outside: list[OutsideRequests] = []
        self._next_partition = incarnation % partitions
        self._written: asyncio.Future[None] | None = None

    def add_impression(self, row: ImpressionRow) -> None:
        """Take an impression; it is safe when `written` returns."""
        self.queued += 1
        if row.repeatable:
            # Impressions of one unit must meet in one partition to be counted once.
            self._keyed[row.unit * self._partitions >> 64].append(row)
        else:
            self._rotating.append(row)

    def add_observations(self, observations: Iterable[Observation]) -> None:
        """Take observations; they are safe when `written` returns."""
        for observation in observations:
            self.queued += 1
            home = partition_of(observation.assignment_id.encode(), self._partitions)
            self._observations[home].append(observation)

    def add_records(self, records: Iterable[SpoolRecord]) -> None:
        """Take sealed records of others; they are safe when `written` returns."""
        self._sealed += records

    def add_outside(self, counts: Iterable[OutsideRequests]) -> None:
        """Take counts of requests that did not take part; they are safe when `written` returns."""
        self._outside.extend(counts)

    def written(self) -> asyncio.Future[None]:
        """Return what is done when all that was added until now would survive this process.

        Raises, when awaited:
            SpoolFullError: it would not, and it was forgotten.
        """
        written = self._written
        if written is None:
            loop = asyncio.get_running_loop()
            written = self._written = loop.create_future()
            # After one more look at the sockets: requests that are there already share the write.
            loop.call_soon(loop.call_soon, self._flush)
        return written

    def _flush(self) -> None:
        written, self._written = self._written, None
        self.queued = 0
        before = dict(self._sequences)
        try:
            records = list(self._records())
            positions = self._spool.append(records)
        except Exception as error:  # noqa: BLE001 - it belongs to those who wait
            self._sequences = before  # a gap would be remembered by the workers forever
            if written is not None and not written.done():
                written.set_exception(error)
                written.exception()  # seen, even if all who waited have gone
            return
        if written is not None and not written.done():
            written.set_result(None)
        if records:
            self._receiver.offer(positions, records)

    def _records(self) -> Iterator[SpoolRecord]:
        """Yield what was added as records, and forget it."""
        sealed, self._sealed = self._sealed, []
        yield from sealed
        if self._rotating:
            rotating, self._rotating = self._rotating, []
            self._next_partition = (self._next_partition + 1) % self._partitions
            yield from self._impression_records(self._next_partition, rotating)
        if self._keyed:
            keyed, self._keyed = self._keyed, defaultdict(list)
            for partition, rows in keyed.items():
                yield from self._impression_records(partition, rows)
        if self._outside:
            outside, self._outside = self._outside, []
            self._next_partition = (self._next_partition + 1) % self._partitions
            for start in range(0, len(outside), MAX_OUTSIDE):
                part = outside[start : start + MAX_OUTSIDE]
                yield self._impression_record(self._next_partition, [], part)
        if self._observations:
            observations, self._observations = self._observations, defaultdict(list)
            for partition, found in observations.items():
                yield from self._observation_records(partition, found)

    def _impression_records(
        self, partition: int, rows: list[ImpressionRow]
    ) -> Iterator[SpoolRecord]:
        for part in _split(rows, _size_of_impression):
            yield self._impression_record(partition, groups_of(part), ())

    def _impression_record(
        self, partition: int, groups: list[ImpressionGroup], outside: Sequence[OutsideRequests]
    ) -> SpoolRecord:
        sequence = self._next_sequence(IMPRESSIONS, partition)
        batch = ImpressionBatch(self._incarnation, partition, sequence, groups, tuple(outside))
        value = self._encode_impressions(batch)
        sealed = self._seal(catalogue.IMPRESSIONS.name, partition, value)
        return SpoolRecord(IMPRESSIONS, partition, sealed)

    def _observation_records(
        self, partition: int, observations: list[Observation]
    ) -> Iterator[SpoolRecord]:
        for part in _split(observations, _size_of_observation):
            sequence = self._next_sequence(OBSERVATIONS, partition)
            batch = ObservationBatch(tuple(part), self._incarnation, sequence)
            value = self._encode_observations(batch)
            sealed = self._seal(catalogue.OBSERVATIONS.name, partition, value)
            yield SpoolRecord(OBSERVATIONS, partition, sealed)

    def _next_sequence(self, topic: int, partition: int) -> int:
        sequence = self._sequences.get((topic, partition), 0)
        self._sequences[topic, partition] = sequence + 1
        return sequence


def groups_of(rows: list[ImpressionRow]) -> list[ImpressionGroup]:
    """Return rows as columns, one group for each experiment."""
    by_experiment: defaultdict[int, list[ImpressionRow]] = defaultdict(list)
    for row in rows:
        by_experiment[row.experiment].append(row)
    return [_group(found) for found in by_experiment.values()]


def _group(rows: list[ImpressionRow]) -> ImpressionGroup:
    if len(rows) == 1:  # with hundreds of experiments in a turn, most have one row
        [row] = rows
        return ImpressionGroup(
            row.experiment,
            row.repeatable,
            row[2:3],
            row[3:4],
            row[4:5],
            row[5:6],
            row[6:7],
            row[7:8] if row.context else (),
            row[8:9] if row.features else (),
            row[9:10] if row.weights else (),
            row[10:] if row.dimensions else (),
        )
    columns = zip(*rows, strict=True)
    experiments, repeatable, variants, propensities, versions, times, *rest = columns
    units, contexts, features, weights, dimensions = rest
    return ImpressionGroup(
        experiment=experiments[0],
        repeatable=repeatable[0],
        variants=variants,
        propensities=propensities,
        allocation_versions=versions,
        assigned_at_ms=times,
        units=units,
        contexts=[text or "{}" for text in contexts] if any(contexts) else (),
        features=features if any(features) else (),
        weights=weights if any(weights) else (),
        dimensions=dimensions if any(dimensions) else (),
    )


def _split(rows: list[R], size_of: Callable[[R], int]) -> Iterator[list[R]]:
    """Yield `rows` in parts that fit into a record each."""
    start, size = 0, 0
    for index, row in enumerate(rows):
        size += size_of(row)
        if size > MAX_RECORD_BYTES or index - start >= MAX_ROWS:
            if index > start:
                yield rows[start:index]
            start, size = index, size_of(row)
    yield rows[start:]


def _size_of_impression(row: ImpressionRow) -> int:
    # A character takes four bytes at most.
    packed = len(row.features) + len(row.weights) + len(row.dimensions)
    return _ROW_BYTES + 4 * len(row.context) + packed


def _size_of_observation(observation: Observation) -> int:
    return (
        len(observation.assignment_id)
        + _ROW_BYTES
        + 4 * len(observation.metric + (observation.event_id or ""))
    )
