"""Delivery of spooled records to Kafka: in order, repeated until they are acknowledged."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Protocol

from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, KafkaError, KafkaException

from api.spool.entries import SpoolRecord
from api.spool.spool import DamagedRecordError, Spool, SpoolPosition
from streams.kafka.producers import Retirable, is_fatal, retire
from streams.process.outages import outage

MAX_IN_FLIGHT_BYTES = 32 * 2**20
"""Bytes that librdkafka may hold; the rest of a backlog waits in the spool, not in memory."""

RETRY_PAUSE_S = 1.0
"""Pause before records that librdkafka failed to deliver are queued again."""

DRAIN_STEP_S = 0.1
"""Interval of the checks of a stopping process."""

_log = logging.getLogger(__name__)

PRODUCER_CONFIG: Mapping[str, str | int | bool] = {
    "enable.idempotence": True,
    "acks": "all",
    "message.timeout.ms": 0,  # never dropped because of its age: the spool is bounded, not the time
    # Every batch is a separate request, and makes each later read of its partition slower for the
    # embedded broker; a record that waits is safe in the spool.
    "linger.ms": 20,
    "compression.type": "lz4",
    "partitioner": "murmur2_random",
    "queue.buffering.max.messages": 200_000,
    "queue.buffering.max.kbytes": 2 * MAX_IN_FLIGHT_BYTES // 1024,
    "topic.metadata.propagation.max.ms": 5_000,
}
"""Settings of the producer, besides addresses and credentials."""


class Producer(Retirable, Protocol):
    """The part of `confluent_kafka.Producer` that delivery uses."""

    def produce(
        self,
        topic: str,
        value: bytes,
        *,
        partition: int,
        on_delivery: Callable[[KafkaError | None, object], None],
    ) -> None:
        """Queue a record; raise BufferError when the queue is full."""

    def flush(self, timeout: float) -> int:
        """Wait for everything queued, and return how much is left."""


class Delivery:
    """Hands records of the spool to Kafka and trims it as Kafka acknowledges.

    Attributes:
        acknowledged: Records that Kafka has acknowledged.
        failed: Records that librdkafka failed to deliver, and that were queued again.
        in_flight_bytes: Bytes passed to librdkafka and not acknowledged.
        last_acknowledged_s: Monotonic time of the newest acknowledgement; None before the first.
        clock_refusals: Records that Kafka refused because their timestamp, taken from this
            machine's clock, is too far ahead of Kafka's clock; they stay in the spool and are sent
            again.
        skew_ms: This machine's clock minus Kafka's, at the newest acknowledgement that had Kafka's
            time; None before, or where Kafka gives none.
        refused_s: Monotonic time of the newest refusal of a timestamp; None without one, or after a
            later acknowledgement of the topic.
    """

    def __init__(
        self,
        spool: Spool,
        new_producer: Callable[[], Producer],
        topics: Sequence[str],
        clock: Callable[[], float] = time.monotonic,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        """Take the parts.

        Args:
            spool: Where records are.
            new_producer: Creates a producer; called again after a fatal error.
            topics: Full names, by their number in the spool.
            clock: Monotonic seconds.
            now_ms: The time of this machine's clock, in milliseconds since the epoch.
        """
        self.acknowledged = 0
        self.failed = 0
        self.in_flight_bytes = 0
        self.last_acknowledged_s: float | None = None
        self.clock_refusals = 0
        self.skew_ms: int | None = None
        self.refused_s: float | None = None
        self._refusing_topic: int | None = None
        self._spool = spool
        self._new_producer = new_producer
        self._producer = new_producer()
        self._topics = topics
        self._clock = clock
        self._now_ms = now_ms
        self._in_flight = 0
        # Records before this position were passed to librdkafka; None if all were.
        self._backlog: SpoolPosition | None = spool.start
        self._again: deque[SpoolPosition] = deque()
        self._again_at_s = 0.0
        self._is_broken = False

    @property
    def depth(self) -> int:
        """Number of unacknowledged records, including those to be sent again."""
        return self._in_flight + len(self._again)

    @property
    def is_caught_up(self) -> bool:
        """Whether Kafka has acknowledged everything."""
        return self._backlog is None and not self.depth

    def offer(self, positions: Sequence[SpoolPosition], records: Sequence[SpoolRecord]) -> None:
        """Pass on records that were just appended, or leave them for `pump`."""
        if self._backlog is not None:
            return
        for position, record in zip(positions, records, strict=True):
            if not self._hand_over(position, record):
                self._backlog = position
                return
        segment = positions[-1].segment
        if segment is not self._spool.end.segment:
            segment.is_handed_out = True

    def pump(self) -> None:
        """Process acknowledgements and pass on waiting records; called many times a second."""
        self._producer.poll(0)
        if self._is_broken:
            self._replace_producer()
        if self._again and self._clock() >= self._again_at_s:
            self._hand_over_again()
        if self._backlog is not None:
            self._hand_over_backlog()
        if self.is_caught_up:
            self._spool.empty_active()

    def drain(self, timeout_s: float) -> bool:
        """Wait until Kafka has everything, for `timeout_s` seconds at most; return whether it has.

        Unacknowledged records stay in the spool.
        """
        deadline = self._clock() + timeout_s
        while not self.is_caught_up and (left_s := deadline - self._clock()) > 0:
            self._producer.flush(min(left_s, DRAIN_STEP_S))
            self.pump()
            if not self._in_flight and not self.is_caught_up:
                time.sleep(min(left_s, DRAIN_STEP_S))  # refused records wait for their retry
        return self.is_caught_up

    def _hand_over(self, position: SpoolPosition, record: SpoolRecord) -> bool:
        size = len(record.payload)
        if record.topic >= len(self._topics):
            self._quarantine(position, f"topic number {record.topic} is unknown")
            return True
        if self.in_flight_bytes + size > MAX_IN_FLIGHT_BYTES and self._in_flight:
            return False
        try:
            self._producer.produce(
                self._topics[record.topic],
                record.payload,
                partition=record.partition,
                on_delivery=partial(self._delivered, position, size, record.topic),
            )
        except BufferError:
            return False
        except KafkaException as error:
            if error.args[0].code() == KafkaError.MSG_SIZE_TOO_LARGE:
                self._quarantine(position, error.args[0].str())
                return True
            # Refused at once: a broken producer, or a partition that is not known yet.
            self._queue_again(position, error.args[0])
            position.segment.unacknowledged += 1
            return True
        position.segment.unacknowledged += 1
        self._in_flight += 1
        self.in_flight_bytes += size
        return True

    def _delivered(
        self,
        position: SpoolPosition,
        size: int,
        topic: int,
        error: KafkaError | None,
        message: object,
    ) -> None:
        self._in_flight -= 1
        self.in_flight_bytes -= size
        segment = position.segment
        if error is not None and error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
            self._quarantine(position, error.str())  # no retry makes it smaller
        elif error is not None:
            self._log_refusal(topic, error)
            self._queue_again(position, error)
            return
        else:
            self.acknowledged += 1
            self.last_acknowledged_s = self._clock()
            if topic == self._refusing_topic:
                self.refused_s = self._refusing_topic = None
            self._measure_skew(message)
        segment.unacknowledged -= 1
        if not segment.unacknowledged:
            self._spool.trim(segment)

    def _log_refusal(self, topic: int, error: KafkaError) -> None:
        if error.code() == KafkaError.INVALID_TIMESTAMP:
            self.clock_refusals += 1
            self.refused_s, self._refusing_topic = self._clock(), topic
        _log.error(
            "Kafka refused a record for %s, which is sent again: %s",
            self._topics[topic],
            error.str(),
            extra=outage("kafka", error.name()),
        )

    def _measure_skew(self, message: object) -> None:
        """Compare the clocks, if Kafka has set the time of a record."""
        timestamp = getattr(message, "timestamp", None)
        if timestamp is None:
            return
        kind, broker_ms = timestamp()
        if kind == TIMESTAMP_LOG_APPEND_TIME:
            self.skew_ms = self._now_ms() - broker_ms

    def _queue_again(self, position: SpoolPosition, error: KafkaError) -> None:
        self.failed += 1
        self._again.append(position)
        self._again_at_s = self._clock() + RETRY_PAUSE_S
        if is_fatal(error) and not self._is_broken:
            self._is_broken = True
            _log.error("the producer is broken and will be replaced: %s", error.str())

    def _quarantine(self, position: SpoolPosition, reason: str) -> None:
        # Delivery of the rest continues; the file it is in is kept.
        self._spool.quarantine(position.segment, position.offset, reason)

    def _replace_producer(self) -> None:
        # All records are sent again; sequence numbers make duplicates harmless.
        retire(self._producer)
        self._producer = self._new_producer()
        self._is_broken = False

    def _hand_over_again(self) -> None:
        for _ in range(len(self._again)):
            position = self._again[0]  # kept if the disk fails
            segment = position.segment
            try:
                record = self._spool.read(position)
            except DamagedRecordError as error:
                record = None
                self._quarantine(position, error.message)
            self._again.popleft()
            segment.unacknowledged -= 1
            is_done = record is None or self._hand_over(position, record)
            if not is_done:
                segment.unacknowledged += 1
                self._again.appendleft(position)
                return
            if not segment.unacknowledged:
                self._spool.trim(segment)

    def _hand_over_backlog(self) -> None:
        for position, record in self._waiting():
            if not self._hand_over(position, record):
                self._backlog = position
                return
        self._backlog = None

    def _waiting(self) -> Iterator[tuple[SpoolPosition, SpoolRecord]]:
        return iter(()) if self._backlog is None else self._spool.records_from(self._backlog)
