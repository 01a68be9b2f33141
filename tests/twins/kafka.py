"""A Kafka inside one process: a log, a producer that fails on demand, and a consumer's thread."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, cast

from aiokafka.errors import IllegalStateError, KafkaError
from aiokafka.structs import ConsumerRecord
from faust.assignor.client_assignment import ClientAssignment
from faust.transport.drivers import aiokafka as driver
from faust.transport.producer import Producer
from faust.types import TP, RecordMetadata

from streams.kafka.records import StoredRecord, all_records
from streams.model.partitioning import partition_of
from streams.worker.transport import BatchingApp, BatchingConsumer, BatchingTransport
from tests.twins.log import MemoryLog


class Crash(BaseException):
    """The end of the process, in place of `os._exit`."""


class Fault(Enum):
    """Fault at one step of a process."""

    KILL_BEFORE = auto()
    KILL_AFTER = auto()
    REFUSE = auto()
    """The broker refuses the write, and takes those that are on their way beside it."""
    SILENCE = auto()
    """The broker takes the write, and its answer never comes."""


@dataclass
class MemoryBroker:
    """The records that a broker has made durable, as workers write and read them.

    Attributes:
        partitions: Partitions of every topic.
        log: The records; topics have no prefix.
        committed: Offsets of the consumer group.
    """

    partitions: int
    log: MemoryLog = field(default_factory=MemoryLog)
    committed: dict[TP, int] = field(default_factory=dict)
    _headers: dict[tuple[TP, int], Mapping[str, bytes]] = field(default_factory=dict)

    def append(
        self,
        tp: TP,
        key: bytes | None,
        value: bytes | None,
        timestamp_ms: int = 0,
        headers: Mapping[str, bytes] | None = None,
    ) -> int:
        """Append a record and return its offset."""
        offset = self.log.append(tp.topic, tp.partition, value, key, timestamp_ms)
        if headers:
            self._headers[tp, offset] = headers
        return offset

    def skip(self, tp: TP) -> None:
        """Use up an offset without a record, as a transaction marker does."""
        self.log.skip(tp.topic, tp.partition, 1)

    def begin(self, tp: TP) -> int:
        """Return the first offset that retention has kept."""
        return self.log.span(tp.topic, tp.partition).begin

    def end(self, tp: TP) -> int:
        """Return the offset that the next record gets."""
        return self.log.span(tp.topic, tp.partition).end

    def read(self, tp: TP, offset: int = 0) -> list[ConsumerRecord[Any, Any]]:
        """Return the records from an offset on that retention has kept."""
        first = max(offset, self.begin(tp))
        return [
            self._record(tp, record)
            for record in self.log.topics[tp.topic, tp.partition]
            if record.offset >= first
        ]

    def compacted(self, topic: str) -> dict[tuple[int, bytes], bytes]:
        """Return the newest value by partition and key; of a tombstone nothing is left."""
        newest: dict[tuple[int, bytes], bytes] = {}
        for partition, record in all_records(self.log, topic):
            place = partition, cast(bytes, record.key)
            newest.pop(place, None)
            if record.value is not None:
                newest[place] = record.value
        return newest

    def _record(self, tp: TP, record: StoredRecord) -> ConsumerRecord[Any, Any]:
        return ConsumerRecord(
            topic=tp.topic,
            partition=tp.partition,
            offset=record.offset,
            timestamp=record.timestamp,
            timestamp_type=0,
            key=record.key,
            value=record.value,
            checksum=None,
            serialized_key_size=len(record.key or b""),
            serialized_value_size=len(record.value or b""),
            headers=tuple(self._headers.get((tp, record.offset), {}).items()),
        )


@dataclass
class Process:
    """The steps of one worker process, which ends or meets a fault at a chosen one.

    Attributes:
        steps: What it did, in order.
        is_dead: Whether it has ended; it does nothing more then.
    """

    fault_at: int | None = None
    fault: Fault = Fault.KILL_BEFORE
    steps: list[tuple[Any, ...]] = field(default_factory=list)
    is_dead: bool = False

    def begin(self, *step: Any) -> Fault | None:
        """Note a step, and return the fault that it meets.

        Raises:
            Crash: the process has ended, or ends before this step.
        """
        if self.is_dead:
            raise Crash
        number = len(self.steps)
        self.steps.append(step)
        if number != self.fault_at:
            return None
        if self.fault is Fault.KILL_BEFORE:
            self.die()
        return self.fault

    def end(self, fault: Fault | None) -> None:
        """End the process after a step if that is its fault.

        Raises:
            Crash: it ends here.
        """
        if fault is Fault.KILL_AFTER:
            self.die()

    def die(self, _reason: str = "") -> None:
        """End the process.

        Raises:
            Crash: always.
        """
        self.is_dead = True
        raise Crash(_reason)


@dataclass
class _Write:
    tp: TP
    key: bytes | None
    value: bytes | None
    timestamp_ms: int
    headers: Mapping[str, bytes] | None
    answer: asyncio.Future[RecordMetadata]


class MemoryProducer(Producer):
    """A producer whose writes become durable one by one, in order within a partition only.

    Args:
        app: The worker's app.
        log: Where they become durable.
        process: Of which it is a part; each write is one of its steps.
        order: Chooses which partition is served next.
    """

    def __init__(
        self, app: BatchingApp, log: MemoryBroker, process: Process, order: random.Random
    ) -> None:
        super().__init__(app.transport)
        self._log = log
        self._process = process
        self._order = order
        self._queues: dict[TP, list[_Write]] = {}
        self._is_scheduled = False

    async def on_start(self) -> None:
        """Start nothing: Faust's buffer is for what is not awaited, and all of ours is."""

    async def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int | None,
        timestamp: float | None,
        headers: Any,
        **_options: Any,
    ) -> asyncio.Future[RecordMetadata]:
        """Put a record on its way; the future is set when it is acknowledged."""
        if self._process.is_dead:
            raise Crash
        loop = asyncio.get_running_loop()
        if partition is None:
            partition = partition_of(cast(bytes, key), self._log.partitions)
        tp = TP(topic, partition)
        timestamp_ms = 0 if timestamp is None else int(timestamp * 1000)
        write = _Write(tp, key, value, timestamp_ms, headers, loop.create_future())
        self._queues.setdefault(tp, []).append(write)
        if not self._is_scheduled:
            self._is_scheduled = True
            loop.call_soon(self._run_broker)
        return write.answer

    def _run_broker(self) -> None:
        self._is_scheduled = False
        writes = list(self._interleaved())
        answers: list[tuple[_Write, RecordMetadata | BaseException]] = []
        try:
            for write in writes:
                fault = self._process.begin("write", write.tp.topic, write.tp.partition, write.key)
                if fault is Fault.REFUSE:
                    answers.append((write, KafkaError("refused")))
                    continue
                offset = self._log.append(
                    write.tp, write.key, write.value, write.timestamp_ms, write.headers
                )
                self._process.end(fault)
                if fault is not Fault.SILENCE:
                    answers.append((write, _metadata(write, offset)))
        except Crash as crash:
            answers = [(write, crash) for write in writes]
        for write, answer in answers:
            if write.answer.done():
                continue
            if isinstance(answer, BaseException):
                write.answer.set_exception(answer)
            else:
                write.answer.set_result(answer)

    def _interleaved(self) -> Iterator[_Write]:
        queues, self._queues = self._queues, {}
        while queues:
            tp = self._order.choice(sorted(queues))
            yield queues[tp].pop(0)
            if not queues[tp]:
                del queues[tp]


def _metadata(write: _Write, offset: int) -> RecordMetadata:
    tp = write.tp
    return RecordMetadata(
        topic=tp.topic,
        partition=tp.partition,
        topic_partition=tp,
        offset=offset,
        timestamp=write.timestamp_ms,
        timestamp_type=0,
    )


class MemoryThread(driver.AIOKafkaConsumerThread):
    """The consumer of a worker without its thread: fetches from a log, and is given its partitions.

    Attributes:
        max_records: Records of one partition that a fetch brings at most.
        failures: Raised by the next fetches, one each.
        committed: Offsets that were committed, by any worker.
        fetched: Partitions that were asked for, of every fetch.
        subscribed: Topics that the worker wants.
    """

    def __init__(self, consumer: MemoryConsumer, log: MemoryBroker, **options: Any) -> None:
        super().__init__(consumer, **options)
        self._kafka = log
        self.max_records = 500
        self.failures: list[BaseException] = []
        self.committed = log.committed
        self.fetched: list[set[TP]] = []
        self.subscribed: tuple[str, ...] = ()
        self._offsets: dict[TP, int] = {}

    async def start(self) -> None:
        """Take part in no thread."""
        self._started.set()

    async def stop(self) -> None:
        """Take part in no thread."""

    async def subscribe(self, topics: Iterable[str]) -> None:
        self.subscribed = tuple(topics)

    async def assign(self, tps: Iterable[TP], generation: int) -> None:
        """Rebalance: take all partitions away, and give those of `tps` with their changelogs."""
        await self.revoke()
        await self.take(tps, generation)

    async def revoke(self) -> None:
        """Begin a rebalance, for which every worker gives its partitions up."""
        self.app.on_rebalance_start()
        await self.consumer.on_partitions_revoked(set(self._offsets))

    async def take(self, tps: Iterable[TP], generation: int) -> None:
        """End a rebalance; reading begins at the committed offsets."""
        app = cast(BatchingApp, self.app)
        actives: dict[str, list[int]] = {}
        for tp in sorted(tps):
            actives.setdefault(tp.topic, []).append(tp.partition)
        assignor = cast(Any, app.assignor)
        assignor._assignment = ClientAssignment(actives=cast(Any, actives), standbys={})
        assigned = {
            TP(topic, partition)
            for topic, partitions in assignor._assignment.kafka_protocol_assignment(app.tables)
            for partition in partitions
        }
        self._offsets = {tp: self.committed.get(tp, self._kafka.begin(tp)) for tp in assigned}
        app.consumer_generation_id = generation
        await self.consumer.on_partitions_assigned(assigned, generation)

    def assignment(self) -> set[TP]:
        return set(self._offsets)

    def highwater(self, tp: TP) -> int:
        return self._kafka.end(tp)

    async def highwaters(self, *partitions: TP) -> Mapping[TP, int]:
        return {tp: self._kafka.end(tp) for tp in partitions}

    async def earliest_offsets(self, *partitions: TP) -> Mapping[TP, int]:
        return {tp: self._kafka.begin(tp) for tp in partitions}

    async def position(self, tp: TP) -> int | None:
        return self._offsets[tp]

    def seek(self, partition: TP, offset: int) -> None:
        if partition not in self._offsets:
            raise IllegalStateError(f"{partition} is not assigned")
        self._offsets[partition] = offset

    async def seek_wait(self, partitions: Mapping[TP, int]) -> None:
        for tp, offset in partitions.items():
            self.seek(tp, offset)
            if offset > 0:
                self.consumer._read_offset[tp] = offset
            else:
                self.consumer._read_offset.pop(tp, None)

    async def commit(self, offsets: Mapping[TP, int]) -> bool:
        self.committed.update(offsets)
        return True

    async def getmany(self, active_partitions: set[TP] | None, timeout: float) -> Any:
        asked = set(active_partitions or self._offsets) & self._offsets.keys()
        self.fetched.append(asked)
        await asyncio.sleep(0)
        if self.failures:
            raise self.failures.pop(0)
        fetched = {
            tp: self._kafka.read(tp, self._offsets[tp])[: self.max_records]
            for tp in sorted(asked & self._offsets.keys())
        }
        fetched = {tp: records for tp, records in fetched.items() if records}
        for tp, records in fetched.items():
            self._offsets[tp] = records[-1].offset + 1
        if not fetched:
            await asyncio.sleep(min(timeout, 0.001))
        return fetched

    def topic_partitions(self, topic: str) -> int | None:
        return self._kafka.partitions

    def close(self) -> None:
        pass

    def verify_event_path(self, now: float, tp: TP) -> None:
        pass


class MemoryConsumer(BatchingConsumer):
    """The consumer of a worker over a `MemoryThread`."""

    def _new_consumer_thread(self) -> MemoryThread:
        transport = cast(MemoryTransport, self.transport)
        return MemoryThread(self, transport.log, loop=self.loop, beacon=self.beacon)


class MemoryTransport(BatchingTransport):
    """The transport of a worker over a `MemoryBroker`."""

    Consumer = MemoryConsumer
    log: MemoryBroker


def connect(app: BatchingApp, log: MemoryBroker) -> MemoryThread:
    """Put a consumer on `log` into an app, and return its thread."""
    transport = MemoryTransport(app.conf.broker_consumer, cast(Any, app))
    transport.log = log
    app.transport = cast(Any, transport)
    app.producer = cast(Any, MemoryProducer(app, log, Process(), random.Random(0)))
    return cast(MemoryThread, cast(MemoryConsumer, app.consumer)._thread)
