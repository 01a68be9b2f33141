"""A Kafka inside one process: a log, a producer that fails on demand, and what a worker did."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, cast

from aiokafka.errors import KafkaError
from aiokafka.structs import ConsumerRecord
from faust.types import TP, RecordMetadata

from streams.model.partitioning import partition_of


class Crash(BaseException):
    """The end of the process, in place of `os._exit`."""


class Fault(Enum):
    """What happens at one step of a process."""

    KILL_BEFORE = auto()
    KILL_AFTER = auto()
    REFUSE = auto()
    """The broker refuses the write, and takes those that are on their way beside it."""
    SILENCE = auto()
    """The broker takes the write, and its answer never comes."""


@dataclass
class MemoryLog:
    """The records that a broker has made durable.

    Attributes:
        records: By topic and partition, in order of offset.
        begin: First offset that retention has kept.
    """

    partitions: int
    records: defaultdict[TP, list[ConsumerRecord[Any, Any]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    begin: dict[TP, int] = field(default_factory=dict)
    _ends: dict[TP, int] = field(default_factory=dict)

    def append(
        self,
        tp: TP,
        key: bytes | None,
        value: bytes | None,
        timestamp_ms: int = 0,
        headers: Mapping[str, bytes] | None = None,
    ) -> int:
        """Append a record and return its offset."""
        offset = self.end(tp)
        self._ends[tp] = offset + 1
        self.records[tp].append(
            ConsumerRecord(
                topic=tp.topic,
                partition=tp.partition,
                offset=offset,
                timestamp=timestamp_ms,
                timestamp_type=0,
                key=key,
                value=value,
                checksum=None,
                serialized_key_size=len(key or b""),
                serialized_value_size=len(value or b""),
                headers=tuple((headers or {}).items()),
            )
        )
        return offset

    def skip(self, tp: TP) -> None:
        """Use up an offset without a record, as a transaction marker does."""
        self._ends[tp] = self.end(tp) + 1

    def end(self, tp: TP) -> int:
        """Return the offset that the next record gets."""
        return self._ends.get(tp, 0)

    def read(self, tp: TP, offset: int = 0) -> list[ConsumerRecord[Any, Any]]:
        """Return the records from an offset on that retention has kept."""
        first = max(offset, self.begin.get(tp, 0))
        return [record for record in self.records[tp] if record.offset >= first]

    def compacted(self, topic: str) -> dict[tuple[int, bytes], bytes]:
        """Return the newest value by partition and key; of a tombstone nothing is left."""
        newest: dict[tuple[int, bytes], bytes] = {}
        for tp in sorted(tp for tp in self.records if tp.topic == topic):
            for record in self.records[tp]:
                place = tp.partition, cast(bytes, record.key)
                newest.pop(place, None)
                if record.value is not None:
                    newest[place] = record.value
        return newest


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


class MemoryProducer:
    """A producer whose writes become durable one by one, in order within a partition only.

    Args:
        log: Where they become durable.
        process: Of which it is a part; each write is one of its steps.
        order: Chooses which partition is served next.
    """

    def __init__(self, log: MemoryLog, process: Process, order: random.Random) -> None:
        self._log = log
        self._process = process
        self._order = order
        self._queues: dict[TP, list[_Write]] = {}
        self._is_scheduled = False

    async def maybe_start(self) -> None:
        """Do nothing: it is always started."""

    async def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int | None,
        timestamp: float | None,
        headers: Mapping[str, bytes] | None,
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
