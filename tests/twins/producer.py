"""A producer of librdkafka and its broker, in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from confluent_kafka import TIMESTAMP_CREATE_TIME, KafkaError, KafkaException

FATAL = KafkaError(KafkaError._FATAL)

_FOR_GOOD = {
    KafkaError._FATAL,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
}


@dataclass(frozen=True)
class MemoryMessage:
    """Delivery report of a record."""

    payload: bytes
    time: tuple[int, int] = (TIMESTAMP_CREATE_TIME, 0)

    def value(self) -> bytes:
        return self.payload

    def timestamp(self) -> tuple[int, int]:
        return self.time


Delivered = Callable[[KafkaError | None, Any], object]


class Queued(NamedTuple):
    """A record that a producer holds."""

    value: bytes
    on_delivery: Delivered


@dataclass
class MemoryKafka:
    """State shared by producers.

    Attributes:
        is_there: Whether it answers.
        room: Records that a producer may hold.
        error: Reported for every record instead of its delivery.
        refusal: Raised as a record is handed over.
        time: Time that it reports of a record, as `Message.timestamp` does.
        delivered: Values that it has taken, in order.
        producers: Those that were made, in order.
    """

    is_there: bool = True
    room: int = 1_000_000
    error: KafkaError | None = None
    refusal: KafkaError | None = None
    time: tuple[int, int] = (TIMESTAMP_CREATE_TIME, 0)
    delivered: list[bytes] = field(default_factory=list)
    producers: list[MemoryProducer] = field(default_factory=list)

    def make(self, _config: Mapping[str, Any] = {}) -> Any:
        """Return a new producer, as `confluent_kafka.Producer` does."""
        self.producers.append(MemoryProducer(self))
        return self.producers[-1]


class MemoryProducer:
    """A producer that stays fatal once it was refused, as librdkafka's idempotent one does.

    Attributes:
        queue: Records that it holds.
        is_fatal: Whether it gives back whatever it is handed.
        is_closed: Whether it was closed.
    """

    def __init__(self, broker: MemoryKafka) -> None:
        self.queue: deque[Queued] = deque()
        self.is_fatal = False
        self.is_closed = False
        self._broker = broker
        self._purged: deque[Queued] = deque()

    def produce(
        self,
        topic: str,
        value: bytes,
        key: bytes | None = None,
        partition: int = -1,
        *,
        on_delivery: Delivered,
    ) -> None:
        refusal = FATAL if self.is_fatal else self._broker.refusal
        if refusal is not None:
            raise KafkaException(refusal)
        if len(self.queue) >= self._broker.room:
            raise BufferError
        self.queue.append(Queued(value, on_delivery))

    def poll(self, timeout: float = 0) -> int:
        """Report what was delivered or given back; return how much."""
        reported = 0
        for _ in range(len(self._purged)):
            self._report(self._purged.popleft(), KafkaError(KafkaError._PURGE_QUEUE))
            reported += 1
        while self.queue and self._broker.is_there:
            error = FATAL if self.is_fatal else self._broker.error
            record = self.queue.popleft()
            if error is None:
                self._broker.delivered.append(record.value)
            elif error.fatal() or error.code() in _FOR_GOOD:
                self.is_fatal = True
            self._report(record, error)
            reported += 1
        return reported

    def flush(self, timeout: float = 0) -> int:
        """Report what there is to report; return how many records are left."""
        self.poll(timeout)
        return len(self.queue)

    def purge(self) -> None:
        """Give everything back at the next `poll`, also what a broker may have."""
        self._purged += self.queue
        self.queue.clear()

    def close(self) -> None:
        self.is_closed = True

    def _report(self, record: Queued, error: KafkaError | None) -> None:
        record.on_delivery(error, MemoryMessage(record.value, self._broker.time))
