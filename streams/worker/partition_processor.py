"""Batch processing of one agent: fold, write, wait, publish; then progress and acknowledgement.

Every partition has its own queue. All batches that wait in it are processed together, so a slow
broker makes batches larger and not the queue longer; and since partitions wait side by side, their
writes share the producer's requests.

Nothing is published or acknowledged before it is durable. When a write fails the process exits: if
it went on, the acknowledgement of a later batch would cover the failed one. Records that are
written or read twice are harmless, since every table entry carries the offset up to which it is
valid, and so is what is published twice.

The progress record is written after everything else of its batch is acknowledged. If it exists, so
does all that the batch wrote. Only the acknowledgement waits for it, so it is written with the
entries of the next batch, as the first record; alone if none comes. Thus it is the first record of
its Kafka batch, and recovery reads it even on brokers that report the first offset of the last
batch as the latest.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Protocol, cast

import faust
from aiokafka.structs import ConsumerRecord
from faust.types import TP, EventT, StreamT

from streams.fold.misplaced import MisplacedObservation
from streams.fold.records import never
from streams.model.errors import ConfigurationError, DependencyError, NewerEntryError
from streams.model.events import Answer, DeadLetter, Decision
from streams.process.exits import die, refuse
from streams.tallies.plan import PlanMissingError
from streams.wire.framing import Framing
from streams.worker import metrics
from streams.worker.lag import Lag
from streams.worker.tables import DurableTable
from streams.worker.transport import (
    MAX_BATCH_BYTES,
    MAX_BATCH_RECORDS,
    BatchingApp,
    FetchBatch,
    joined,
)

FOLD_WITHOUT_PAUSE_S = 0.05
"""Longest time records are folded before the event loop runs again: a record of 1,000 observations
takes 5 ms, one of 10,000 refused observations 50 ms; 20,000 plain observations, folded together,
some 0.1 s."""

QUIET_S = 0.1
"""Longest time for which the progress of a durable batch waits for the entries of the next one.
Under load several batches come in that time, and a separate write is a round trip for which the
next batch waits. A rebalance may take this much longer."""

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class BatchOutcome:
    """The result of folding one batch.

    Attributes:
        entries: Changed table entries by key: (offset up to which it is valid, body).
        forgotten: Keys no longer needed. They are removed after the progress of this batch is
            durable: a replay may need them until then.
        dead_letters: Records, or parts of them, that are invalid.
        decisions: Decisions for the decision log.
        answers: Answers to commands, published when the batch is durable.
        misplaced: Observations to be sent to their own partitions.
        progress: Body of the progress record.
        events: Number of events folded, for the metrics.
    """

    entries: dict[bytes, tuple[int, bytes]] = field(default_factory=dict)
    forgotten: list[bytes] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    misplaced: list[MisplacedObservation] = field(default_factory=list)
    progress: bytes = b""
    events: int = 0

    def drop_side_effects(self) -> None:
        """Drop everything but the table entries: the active generation has published it."""
        self.dead_letters, self.decisions, self.answers, self.misplaced = [], [], [], []


@dataclass(slots=True)
class _Unfinished:
    """A durable batch whose progress is not written yet.

    Attributes:
        topic: Its topic.
        end: Offset after its last record.
        forgotten: Table keys that are needed until its progress is durable.
        events: To be acknowledged then.
    """

    topic: str
    end: int
    forgotten: dict[bytes, None]
    events: list[EventT[Any]]


class FoldPausedError(Exception):
    """A pause is due: the fold continues when it is called again."""


class Stage(Protocol):
    """The state of one agent and its transitions, independent of Faust."""

    def restore(self, partition: int, table: DurableTable) -> None:
        """Build the state of `partition` from its table entries."""

    def fold(
        self,
        topic: str,
        partition: int,
        records: Sequence[ConsumerRecord],
        is_due: Callable[[], bool] = never,
    ) -> BatchOutcome:
        """Fold consecutive records, and return what must become durable.

        Args:
            topic: The source topic.
            partition: The partition.
            records: Records in order of offset.
            is_due: Called between records; returns whether to pause.

        Raises:
            PlanMissingError: the plan of the next record's experiment is unknown. Call again with
                the same records once it is known; the fold continues where it stopped.
            FoldPausedError: a pause is due. Call again with the same records.
        """

    def on_durable(self, topic: str, partition: int, answers: Sequence[Answer] = ()) -> None:
        """Publish what follows from the batches folded so far, and the answers of the last one.

        All of it is durable now. The progress may not be: then the last batch is folded again after
        a crash, and the same is published again.
        """

    def release(self, partition: int) -> None:
        """Drop the state of a partition that is assigned to another worker now."""


class PartitionProcessor:
    """Processing of the batches of one agent, one partition queue each.

    Args:
        app: The app; it resumes the source topics where the table ends.
        table: Holds the stage's entries and one progress record per source topic and partition.
        stage: Folds records.
        topics: Source topics of the agent.
        framing: Learns the schemas of records before they are decoded.
        learn_plan: Returns once the plan of an experiment is known.
        publish: Makes the rest of an outcome durable: dead letters, decisions, moved observations.
        write_timeout_s: Longest wait for a write, in seconds; then the process exits.
    """

    def __init__(
        self,
        app: BatchingApp,
        table: DurableTable,
        stage: Stage,
        topics: Sequence[str],
        framing: Framing,
        learn_plan: Callable[[int], Awaitable[None]],
        publish: Callable[[BatchOutcome], Awaitable[None]],
        *,
        write_timeout_s: float,
    ) -> None:
        self._app = app
        self._table = table
        self._stage = stage
        self._topics = topics
        self._framing = framing
        self._learn_plan = learn_plan
        self._publish = publish
        self._timeout = write_timeout_s
        self._done: dict[int, dict[str, int]] = {}
        self._in_flight: set[int] = set()  # partitions with a batch that is not acknowledged yet
        self._unfinished: dict[int, _Unfinished] = {}
        self._forgotten: defaultdict[int, list[bytes]] = defaultdict(list)
        self._lag = Lag()
        for topic in topics:
            metrics.begin(topic, self._lag)
        table.on_recover(self._on_recovered)
        app.resume = {**app.resume, **dict.fromkeys(topics, self._position)}

    async def run(self, stream: StreamT[Any]) -> None:
        """Process every batch of `stream`; the body of an agent."""
        manual: faust.Stream[Any] = cast(Any, stream).noack()
        queues: dict[int, asyncio.Queue[EventT[Any]]] = {}
        async with asyncio.TaskGroup() as tasks:
            running = []
            async for event in manual.events():
                partition = event.message.partition
                if partition not in queues:
                    queue = queues[partition] = asyncio.Queue()
                    running.append(tasks.create_task(self._run_queue(partition, queue)))
                self._lag.arrived(event.message.tp, _batch(event).records[0].timestamp)
                queues[partition].put_nowait(event)
            for task in running:  # the stream has ended; a queue never ends
                task.cancel()

    async def _run_queue(self, partition: int, queue: asyncio.Queue[EventT[Any]]) -> None:
        """Process the batches of one partition in order, those that wait together at once."""
        while True:
            waiting = await self._next(partition, queue)
            try:
                if not waiting:
                    await self._finish(partition)
                for tp, events in groupby(waiting, key=lambda event: event.message.tp):
                    batches = list(events)
                    await self._run(tp, batches)
                    self._lag.durable(tp, len(batches))
            except asyncio.CancelledError:
                if self._app.should_stop:
                    raise  # nothing of it is acknowledged, so it is read again
                die("a batch was cancelled")
            except BaseException as error:
                if self._app.should_stop:  # the producer may have stopped already
                    logger.warning("a batch is left to be read again: %r", error)
                    return
                logger.exception("a batch could not be made durable")
                die("a batch could not be made durable")

    async def _next(
        self, partition: int, queue: asyncio.Queue[EventT[Any]]
    ) -> Sequence[EventT[Any]]:
        """Return the batches that wait together; none if the progress of the last is due."""
        waiting: list[EventT[Any]] = []
        unfinished = self._unfinished.get(partition)
        if unfinished is None:
            waiting.append(await queue.get())
        elif not queue.empty():
            waiting.append(queue.get_nowait())
        else:
            try:
                async with asyncio.timeout(QUIET_S):
                    waiting.append(await queue.get())
            except TimeoutError:
                return ()
        records = size = 0
        while not queue.empty():
            records += len(_batch(waiting[-1]).records)
            size += _batch(waiting[-1]).size
            if records >= MAX_BATCH_RECORDS or size >= MAX_BATCH_BYTES:
                break
            waiting.append(queue.get_nowait())
        return waiting

    async def _run(self, tp: TP, events: Sequence[EventT[Any]]) -> None:
        # An event of an older consumer generation is not acknowledged: the partition has moved or
        # been sought since, so its records are read again.
        generation = self._app.consumer_generation_id
        live = [event for event in events if event.message.generation_id == generation]
        if not live:
            return
        topic, partition = tp
        started = time.perf_counter()
        batch = joined([_batch(event) for event in live])
        progress = self._progress(topic, partition)
        records = batch.records
        if records[0].offset < progress:
            records = [record for record in records if record.offset >= progress]
        outcome = BatchOutcome()
        if records:
            self._in_flight.add(partition)
            outcome.dead_letters += await self._check_continuity(tp, progress, batch, records)
            await self._learn_schemas(records)
            folded = await self._fold(topic, partition, records)
            folded.dead_letters[:0] = outcome.dead_letters
            if batch.already_published:
                folded.drop_side_effects()
            await self._write(topic, partition, batch.end - 1, folded)
            self._stage.on_durable(topic, partition, folded.answers)
            self._acknowledge(partition)  # its progress was written with these entries
            self._put_progress(topic, partition, batch.end, folded, live)
            outcome = folded
        elif (unfinished := self._unfinished.get(partition)) is not None:
            unfinished.events += live
        else:
            for event in live:
                event.ack()
        lag = (self._app.consumer.highwater(tp) or 0) - batch.end
        metrics.LAG.labels(topic, partition).set(max(0, lag))
        metrics.batch(topic, len(records), outcome.events, time.perf_counter() - started)

    async def _fold(
        self, topic: str, partition: int, records: Sequence[ConsumerRecord]
    ) -> BatchOutcome:
        while True:
            # Held over the pause: otherwise every partition would fold once per cycle of the event
            # loop, and heartbeats, which need several cycles, would wait for all of them each time.
            async with self._app.turn_to_fold:
                try:
                    is_due = _elapsed(FOLD_WITHOUT_PAUSE_S)
                    return self._stage.fold(topic, partition, records, is_due)
                except FoldPausedError:
                    await asyncio.sleep(0)
                    continue
                except PlanMissingError as error:
                    missing = error.experiment
            await self._learn_plan(missing)

    async def _write(self, topic: str, partition: int, offset: int, outcome: BatchOutcome) -> None:
        """Make all of a batch durable but its progress; and the progress of the one before."""
        table = self._table
        for key in self._forgotten.pop(partition, ()):
            table.forget(partition, key)
        for key, (true_to, body) in outcome.entries.items():
            table.put(partition, key, true_to, body)
        if (unfinished := self._unfinished.get(partition)) is not None:
            for key in outcome.entries:
                unfinished.forgotten.pop(key, None)
        topic_id = self._app.identities.get(topic)
        key = identity_key(topic, partition)
        if topic_id is not None and table.get_entry(partition, key) is None:
            table.put(partition, key, offset, topic_id.encode())
        await asyncio.gather(table.barrier(partition, self._timeout), self._publish(outcome))

    def _put_progress(
        self,
        topic: str,
        partition: int,
        end: int,
        outcome: BatchOutcome,
        events: list[EventT[Any]],
    ) -> None:
        """Put the progress of a durable batch before all that is written next."""
        self._table.put(partition, progress_key(topic, partition), end - 1, outcome.progress)
        forgotten = dict.fromkeys(outcome.forgotten)
        self._unfinished[partition] = _Unfinished(topic, end, forgotten, events)

    async def _finish(self, partition: int) -> None:
        """Make the progress of the last batch durable, and acknowledge it."""
        await self._table.barrier(partition, self._timeout)
        self._acknowledge(partition)
        self._in_flight.discard(partition)

    def _acknowledge(self, partition: int) -> None:
        """Acknowledge the batch whose progress has become durable, if there is one."""
        unfinished = self._unfinished.pop(partition, None)
        if unfinished is None:
            return
        self._done[partition][unfinished.topic] = unfinished.end
        self._forgotten[partition] += unfinished.forgotten
        for event in unfinished.events:
            event.ack()

    async def _learn_schemas(self, records: Sequence[ConsumerRecord]) -> None:
        while True:
            try:
                return await self._framing.prepare(record.value for record in records)
            except DependencyError as error:
                # Without its schema a good record would become a dead letter.
                logger.warning("%s", error)
                await asyncio.sleep(error.retry_after_s)

    async def _check_continuity(
        self, tp: TP, progress: int, batch: FetchBatch, records: Sequence[ConsumerRecord]
    ) -> list[DeadLetter]:
        """Return a dead letter for records that retention deleted; exit if records were lost."""
        if batch.begin > progress:
            die(
                f"{tp} goes on at {batch.begin} instead of {progress}: records were lost on the way"
            )
        first = records[0].offset
        if first == progress:
            return []
        start = (await self._app.consumer.earliest_offsets(tp))[tp]
        metrics.LOG_GAPS.labels(tp.topic).inc()
        if start <= progress:
            # Transaction markers and aborted transactions take offsets without records.
            logger.info("%s has no records in [%d, %d)", tp, progress, first)
            return []
        logger.error("%s: records [%d, %d) were deleted before they were read", tp, progress, first)
        return [
            DeadLetter(
                topic=tp.topic,
                partition=tp.partition,
                offset=progress,
                index=0,
                timestamp_ms=records[0].timestamp,
                code="RETENTION_GAP",
                message=f"records [{progress}, {first}) were deleted before they were read",
                path="",
                key=None,
                value=None,
            )
        ]

    def _progress(self, topic: str, partition: int) -> int:
        """Return the offset of the first record that has not been folded, 0 if none has."""
        entry = self._table.get_entry(partition, progress_key(topic, partition))
        return 0 if entry is None else entry[0] + 1

    def _position(self, tp: TP) -> int | None:
        return self._progress(*tp) or None

    async def _on_recovered(self) -> None:
        try:
            self._restore()
        except (NewerEntryError, ConfigurationError) as error:
            refuse(error.message)
        except BaseException:
            # Faust drops the exceptions of recovery callbacks.
            logger.exception("the tables could not be restored")
            die("the tables could not be restored")

    def _restore(self) -> None:
        if self._in_flight:
            # Faust waits for started batches before it revokes partitions. Otherwise the state
            # restored here would lack what such a batch is about to write.
            die(f"a batch of the partitions {sorted(self._in_flight)} outlived a rebalance")
        mine = {tp.partition for tp in self._app.consumer.assignment() if tp.topic in self._topics}
        for partition in self._done.keys() - mine:
            self._release(partition)
        for partition in sorted(mine):
            self._check_identities(partition)
            progress = {topic: self._progress(topic, partition) for topic in self._topics}
            if self._done.get(partition) != progress:
                # Newly assigned, or owned by another worker in between.
                self._release(partition)
                self._stage.restore(partition, self._table)
                self._done[partition] = progress
            for topic in self._topics:
                self._stage.on_durable(topic, partition)

    def _check_identities(self, partition: int) -> None:
        for topic in self._topics:
            kept = self._table.get_entry(partition, identity_key(topic, partition))
            if kept is not None:
                self._app.identities.check(topic, kept[1].decode())

    def _release(self, partition: int) -> None:
        if self._done.pop(partition, None) is not None:
            self._forgotten.pop(partition, None)
            for topic in self._topics:
                self._lag.forget(TP(topic, partition))
                metrics.forget(topic, partition)
            self._stage.release(partition)


def progress_key(topic: str, partition: int) -> bytes:
    """Return the table key of the progress record of a source partition."""
    return f"p/{topic}/{partition}".encode()


def _elapsed(seconds: float) -> Callable[[], bool]:
    """Return a predicate that is true from `seconds` after this call on."""
    until = time.monotonic() + seconds
    return lambda: time.monotonic() >= until


def identity_key(topic: str, partition: int) -> bytes:
    """Return the table key of the topic id of a source partition."""
    return f"i/{topic}/{partition}".encode()


def _batch(event: EventT[Any]) -> FetchBatch:
    return cast(FetchBatch, event.value)
