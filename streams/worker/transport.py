"""A Kafka transport that delivers batches to an agent and resumes where its table ends.

Stock Faust makes one event per record, which costs 60 microseconds each, and resumes at the
committed offset, which may run ahead of what is durable. Here the records of a source topic become
one event per partition and fetch, bounded in records and bytes, and reading resumes behind the last
offset in the tables (`Resume`); committed offsets only serve lag monitors. Changelog topics keep
one event per record, since Faust's recovery reads them.

A partition may have a fence (`Fence`): records from it on are not read yet.
"""

from __future__ import annotations

import asyncio
import math
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import faust
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import IllegalStateError
from aiokafka.structs import ConsumerRecord
from faust.transport.consumer import RecordMap
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, AppT, ConsumerMessage, Message
from faust.types.transports import ConsumerT, TransportT

from streams.worker import unpacking
from streams.worker.identities import TopicIdentities

MAX_BATCH_RECORDS = 20_000
"""Most records of one event. A fetch can bring 100,000; folded without a pause, they would delay
everything else, above all a rebalance. 20,000 single observations take some 0.1 s. Every experiment
of a batch is encoded and written once: with 100 experiments a record costs 10 us of processor time,
and 17 us in batches of 5,000."""

MAX_BATCH_BYTES = 4 * 2**20
"""Most bytes of the values of one event, unless a single record is larger."""

FETCH_WAIT_MS = 100
"""Longest time a broker may hold a fetch in silence. A partition that is drained during a fetch is
requested again only after it, and the embedded broker looks for records only twice in that time, so
this bounds the delay of a record."""

BUSY_FETCH_WAIT_MS = 20
"""The same while records arrive: more empty fetches, but a shorter wait of records."""

SILENCE_S = 1.0
"""Time without records after which there is silence."""

IDLE_S = 0.02
"""Pause before the next check for a partition that may be read."""

MAX_WAITING_RECORDS = 8 * MAX_BATCH_RECORDS
"""Unacknowledged records of a partition from which on it is not fetched. A number of batches would
exclude a partition that has a few small ones, and what the client holds of an excluded partition
keeps it from fetching any other one for 0.1 s."""

MAX_WAITING_BYTES = 8 * MAX_BATCH_BYTES
"""As `MAX_WAITING_RECORDS`, bytes of values."""

SHORT_WAIT_S = 0.05
"""Longest wait for records while a partition is excluded, which may be fetched again any time."""

Resume = Callable[[TP], int | None]
"""Returns the offset to resume a source partition at; None for the earliest."""

Fence = Callable[[str, int], int | None]
"""Returns the first offset of a topic and partition that may not be read yet; None for no fence."""


@dataclass(frozen=True, slots=True)
class FetchBatch:
    """Records of one partition, in order of offset.

    Attributes:
        begin: Position before the fetch: the batch has every record in [begin, end) that the broker
            still has. The first record may have a larger offset.
        records: At least one.
        size: Upper bound of the bytes of their values.
        already_published: Whether the active generation has published what follows from the
            records, since they come before a fence.
    """

    begin: int
    records: list[ConsumerRecord]
    size: int
    already_published: bool = False

    @property
    def end(self) -> int:
        """Offset after the last record."""
        return cast(int, self.records[-1].offset) + 1


def joined(batches: Sequence[FetchBatch]) -> FetchBatch:
    """Return consecutive batches of one partition as one, with every record once.

    After a seek the same records can be queued twice, in batches cut at other offsets.

    Raises:
        ValueError: records are missing between two batches.
    """
    if len(batches) == 1:
        return batches[0]
    begin = end = batches[0].begin
    records: list[ConsumerRecord] = []
    for batch in batches:
        if batch.begin > end:
            raise ValueError(f"records [{end}, {batch.begin}) were lost on the way")
        records += [record for record in batch.records if record.offset >= end]
        end = max(end, batch.end)
    size = sum(batch.size for batch in batches)
    return FetchBatch(begin, records, size, all(batch.already_published for batch in batches))


def before(fence: int | None, records: list[ConsumerRecord]) -> list[ConsumerRecord]:
    """Return the records before a fence; `records` is in order of offset."""
    if fence is None or not records or records[-1].offset < fence:
        return records
    return records[: bisect_left(records, fence, key=lambda record: cast(int, record.offset))]


def split(
    begin: int, records: list[ConsumerRecord], *, already_published: bool = False
) -> Iterator[FetchBatch]:
    """Split one fetch of a partition into batches of bounded records and bytes."""
    first = size = 0
    for index, record in enumerate(records):
        length = len(record.value or b"")
        if index > first and (
            index - first >= MAX_BATCH_RECORDS or size + length > MAX_BATCH_BYTES
        ):
            batch = FetchBatch(begin, records[first:index], size, already_published)
            yield batch
            begin, first, size = batch.end, index, 0
        size += length
    if records:
        yield FetchBatch(begin, records[first:], size, already_published)


class BatchingApp(faust.App):
    """A Faust app on the batching transport.

    Attributes:
        resume: Resume offsets of the source partitions, by topic. These topics are batched; set it
            before the app starts.
        fence: How far a source partition may be read now.
        identities: Topic ids of the source topics; set it before the app starts.
        rewound: Called with a source partition and its position when older records arrive: the log
            may have lost its end.
        sent_until: Offset of a source partition before which all that follows from it was sent;
            None if all that is acknowledged was. No offset behind it is committed.
        turn_to_fold: Held by the partition that folds; one at a time per process.
    """

    resume: Mapping[str, Resume]
    fence: Fence
    rewound: Callable[[TP, int], None]
    sent_until: Callable[[str, int], int | None]
    identities: TopicIdentities
    turn_to_fold: asyncio.Lock

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.turn_to_fold = asyncio.Lock()
        self.resume = {}
        self.fence = lambda _topic, _partition: None
        self.rewound = lambda _tp, _position: None
        self.sent_until = lambda _topic, _partition: None

    def _new_transport(self) -> TransportT:
        return BatchingTransport(self.conf.broker_consumer, cast(AppT, self))


class FetchWait:
    """Time for which a broker may hold a fetch, by what the last ones have brought.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._silent_from_s = -math.inf

    def after_fetch(self, *, has_records: bool) -> int:
        """Return the milliseconds for the next fetch."""
        now_s = self._clock()
        if has_records:
            self._silent_from_s = now_s + SILENCE_S
        return BUSY_FETCH_WAIT_MS if now_s < self._silent_from_s else FETCH_WAIT_MS


class _Thread(driver.AIOKafkaConsumerThread):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._fetch_wait = FetchWait()

    def _create_worker_consumer(self, transport: driver.Transport) -> AIOKafkaConsumer:
        unpacking.install()
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS  # noqa: SLF001 - hard-coded to 1500 above us
        # Unless Faust is itself transactional, it would read aborted records.
        consumer._isolation_level = "read_committed"  # noqa: SLF001
        return consumer

    async def _fetch_records(
        self, consumer: AIOKafkaConsumer, *args: Any, **options: Any
    ) -> RecordMap:
        records = await super()._fetch_records(consumer, *args, **options)
        wait_ms = self._fetch_wait.after_fetch(has_records=bool(records))
        consumer._fetcher._fetch_max_wait_ms = wait_ms  # noqa: SLF001 - read for every request
        return records


class BatchingConsumer(driver.Consumer):
    """A consumer of batches of the source topics, in order, from where the tables end."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._resume: Mapping[str, Resume] = cast(BatchingApp, self.app).resume
        self._position: dict[TP, int] = {}
        self._waiting_records: Counter[TP] = Counter()
        self._waiting_bytes: Counter[TP] = Counter()
        self._cut: dict[TP, int] = {}
        # A fetch in flight during a seek would deliver records of the old position under the new
        # one. Faust's own guard against this has no effect.
        self._fetch_or_seek = asyncio.Lock()

    def _new_consumer_thread(self) -> driver.AIOKafkaConsumerThread:
        return _Thread(self, loop=self.loop, beacon=self.beacon)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Reset the positions: a source partition is not read before it is sought."""
        self._position.clear()
        self._cut = {}
        self._forget_waiting()
        await super().on_partitions_assigned(assigned, generation_id)

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Seek the source partitions to where the tables end, and return these offsets.

        Faust calls it between the recovery of the tables and the start of the flow, and whenever a
        fetch returns while the flow is stopped.
        """
        async with self._fetch_or_seek:
            source = [tp for tp in self.assignment() if tp.topic in self._resume]
            wanted = {tp: self._resume[tp.topic](tp) for tp in source}
            fresh = [tp for tp, offset in wanted.items() if offset is None]
            earliest = await self.earliest_offsets(*fresh) if fresh else {}
            positions = {
                tp: earliest[tp] if offset is None else offset for tp, offset in wanted.items()
            }
            await self.seek_wait(positions)
            self._position = dict(positions)
            self._cut = {}
            self._forget_waiting()
            return positions

    async def perform_seek(self) -> None:
        """Seek the source partitions, and have what the tables hold committed.

        The worker before this one may have exited in between, and if no record comes, nothing else
        is acknowledged.
        """
        await super().perform_seek()
        for tp, position in self._position.items():
            if position and self._resume[tp.topic](tp) is not None:
                self._committed_offset[tp] = None
                self._acked[tp] = [position - 1]

    def _forget_waiting(self) -> None:
        self._waiting_records.clear()
        self._waiting_bytes.clear()

    def ack(self, message: Message) -> bool:
        """Acknowledge a durable batch, so that its partition may be fetched again."""
        batch: object = message.value
        if isinstance(batch, FetchBatch):
            self._waiting_records[message.tp] -= len(batch.records)
            self._waiting_bytes[message.tp] -= batch.size
        return super().ack(message)

    def _is_behind(self, tp: TP) -> bool:
        """Return whether so much of a partition waits that no more of it is fetched."""
        return (
            self._waiting_records[tp] >= MAX_WAITING_RECORDS
            or self._waiting_bytes[tp] >= MAX_WAITING_BYTES
        )

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> Any:
        async with self._fetch_or_seek:
            if self._cut:
                await self._seek_back()
            sought = {
                tp
                for tp in active_partitions or ()
                if (tp in self._position or tp.topic not in self._resume) and tp not in self._cut
            }
            fences = {tp: cast(BatchingApp, self.app).fence(*tp) for tp in sought}
            free = {
                tp
                for tp, fence in fences.items()
                if not self._is_behind(tp)
                and (fence is None or self._position.get(tp, fence) < fence)
            }
            if not free:  # an empty set means all partitions to aiokafka
                await asyncio.sleep(IDLE_S)
                return {}
            wait = timeout if free == sought else min(timeout, SHORT_WAIT_S)
            fetched = await super()._getmany(free, wait)
            batched = {
                tp: self._batches(tp, records, fences[tp]) if tp.topic in self._resume else records
                for tp, records in fetched.items()
                # Otherwise a rebalance came in between, and the partition is sought again.
                if tp in self._position or tp.topic not in self._resume
            }
            # Records from the fence on are fetched again later. The seek waits for the next call:
            # now it would make Faust drop the batches returned here as already read.
            self._cut |= {
                tp: self._position[tp]
                for tp, records in fetched.items()
                if tp in self._position and records and records[-1].offset >= self._position[tp]
            }
            return batched

    async def _seek_back(self) -> None:
        """Seek to where the last fetches were cut; these partitions are not read before."""
        # A partition that was revoked in between is sought by its next owner.
        with suppress(IllegalStateError):
            await self.seek_wait(self._cut)
            self._cut = {}

    def _batches(self, tp: TP, fetched: Any, fence: int | None) -> list[FetchBatch]:
        records = before(fence, fetched)
        if not records:
            return []
        if records[0].offset < self._position[tp]:
            cast(BatchingApp, self.app).rewound(tp, self._position[tp])
        begin = min(self._position[tp], records[0].offset)
        batches = list(split(begin, records, already_published=fence is not None))
        self._position[tp] = batches[-1].end
        self._waiting_records[tp] += sum(len(batch.records) for batch in batches)
        self._waiting_bytes[tp] += sum(batch.size for batch in batches)
        return batches

    def _to_message(self, tp: TP, record: Any) -> ConsumerMessage:
        if not isinstance(record, FetchBatch):
            return super()._to_message(tp, record)
        last = record.records[-1]
        return ConsumerMessage(
            tp.topic,
            tp.partition,
            last.offset,
            last.timestamp / 1000.0,
            last.timestamp_type,
            None,
            None,
            cast(bytes, record),  # passed through by the raw codec to the agent
            None,
            0,
            0,
            tp,
            generation_id=self.app.consumer_generation_id,
        )

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        # A jump within a batch is not a gap; the partition processor handles gaps of the log.
        if tp.topic not in self._resume:
            await super()._add_gap(tp, offset_from, offset_to)

    def _new_offset(self, tp: TP) -> int | None:
        # An agent acknowledges a partition in order, so all below the highest offset is durable.
        if tp.topic not in self._resume:
            return super()._new_offset(tp)
        acked = self._acked[tp]
        if not acked:
            return None
        end = max(acked) + 1
        sent = cast(BatchingApp, self.app).sent_until(*tp)
        acked.clear()
        self._acked_index[tp].clear()
        if sent is None or sent >= end:
            return end
        acked.append(end - 1)  # committed once it was sent
        return sent or None


class BatchingTransport(driver.Transport):
    """The aiokafka transport with the batching consumer."""

    Consumer: ClassVar[type[ConsumerT]] = BatchingConsumer
