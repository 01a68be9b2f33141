"""An idempotent Kafka producer of one topic that waits when it is full and hides no failure."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from typing import Self

from confluent_kafka import KafkaError, KafkaException, Message

from experiment_streams_client.forks import ForkedError, watch_forks
from streams.kafka.producers import RenewableProducer
from streams.model.errors import DependencyError, quoted

KafkaConfig = Mapping[str, str | int | float | bool]

DELIVERY: KafkaConfig = {
    # Each record once and in order, acknowledged by every replica in sync.
    "enable.idempotence": True,
    "acks": "all",
    "compression.type": "lz4",
    # A fetch of 20 ms of records costs the broker and the worker little more than that of one.
    "linger.ms": 20,
    # Java's partitioner: one key goes to one partition, independent of the producer.
    "partitioner": "murmur2_random",
}

CHOSEN_BY_KEY = -1
"""librdkafka's number for the partition that the partitioner chooses."""

_POLL_S = 0.05


class DeliveryError(DependencyError):
    """Records were handed over and not delivered.

    Attributes:
        failed: How many.
    """

    def __init__(self, failed: int, reason: str, code: str = "NOT_DELIVERED") -> None:
        super().__init__("kafka", f"{failed} records were not delivered: {reason}", code=code)
        self.failed = failed


class Outbox:
    """Records on their way to one topic.

    After a failure that no producer recovers from, the records it held are reported as not
    delivered, and what is put after that goes through a fresh one. It is of the process
    that made it.

    Args:
        kafka: Addresses, as `host:port,host:port`, or a configuration of librdkafka.
        topic: Where the records go.
        queue_timeout_s: How long a full queue may stay full before `put` gives up, in seconds.
    """

    def __init__(
        self, kafka: str | KafkaConfig, topic: str, *, queue_timeout_s: float = 30.0
    ) -> None:
        chosen: KafkaConfig = {"bootstrap.servers": kafka} if isinstance(kafka, str) else kafka
        self.topic = topic
        # A topic that a broker creates automatically lacks the settings that exact counts need.
        made = {"allow.auto.create.topics": False}
        self._producer = RenewableProducer({**made, **chosen, **DELIVERY})
        self._queue_timeout_s = queue_timeout_s
        self._failed = 0
        self._reason = ""
        self._is_forked = False
        watch_forks(self)

    def after_fork(self) -> None:
        """Take nothing more: a producer sends nothing after a fork."""
        self._is_forked = True

    def check_process(self) -> None:
        """Refuse to be used in a process that was forked from the one that made it.

        Raises:
            ForkedError: it is.
        """
        if self._is_forked:
            raise ForkedError(self)

    def put(self, value: bytes, *, key: bytes | None = None, partition: int | None = None) -> None:
        """Hand a record over; waits while the queue is full.

        Raises:
            DeliveryError: an earlier record was not delivered, or the queue stays full.
            ForkedError: this process was forked from the one that made it.
        """
        for _ in self._attempts(value, key, partition):
            self._producer.poll(_POLL_S)

    async def put_async(
        self, value: bytes, *, key: bytes | None = None, partition: int | None = None
    ) -> None:
        """Do as `put`, and let others run while the queue is full."""
        for _ in self._attempts(value, key, partition):
            await asyncio.sleep(_POLL_S)

    def flush(self, timeout_s: float = 30.0) -> None:
        """Wait until everything handed over is acknowledged.

        Raises:
            DeliveryError: something was not, in `timeout_s` seconds.
        """
        self.check_process()
        remaining = self._producer.flush(timeout_s)
        self._raise_failures()
        if remaining:
            raise DeliveryError(remaining, f"no acknowledgement in {timeout_s:g} s")

    def close(self) -> None:
        """Drop what was not delivered, and the connections."""
        if self._is_forked:
            return
        self._producer.close()

    def count_partitions(self, timeout_s: float) -> int:
        """Return the number of partitions of the topic.

        Raises:
            DependencyError: Kafka does not answer, or has no such topic.
        """
        try:
            topic = self._producer.list_topics(self.topic, timeout_s).topics[self.topic]
        except KafkaException as error:
            raise DependencyError("kafka", str(error.args[0])) from error
        if topic.error is not None:
            raise DependencyError("kafka", f"topic {quoted(self.topic)}: {topic.error}")
        return len(topic.partitions)

    def _attempts(self, value: bytes, key: bytes | None, partition: int | None) -> Iterator[None]:
        """Try to hand a record over; yield after each attempt that found the queue full."""
        self.check_process()
        deadline = time.monotonic() + self._queue_timeout_s
        place = CHOSEN_BY_KEY if partition is None else partition
        while True:
            # What was delivered meanwhile makes room, and what failed is reported.
            self._producer.poll(0)
            self._raise_failures()
            try:
                self._producer.produce(
                    self.topic, value, key=key, partition=place, on_delivery=self._delivered
                )
            except BufferError as error:
                if time.monotonic() > deadline:
                    raise DeliveryError(
                        1, f"the queue was full for {self._queue_timeout_s:g} s", "QUEUE_FULL"
                    ) from error
                yield
            except KafkaException as error:
                raise DeliveryError(1, str(error.args[0])) from error
            else:
                return

    def _delivered(self, error: KafkaError | None, _: Message) -> None:
        if error is not None:
            self._failed += 1
            self._reason = self._reason or error.str()

    def _raise_failures(self) -> None:
        if self._failed:
            failed, reason = self._failed, self._reason
            self._failed, self._reason = 0, ""
            raise DeliveryError(failed, reason)


class Publisher:
    """Base of publishers: flushes its outbox, at the latest at the end of its block."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox

    def flush(self, timeout_s: float = 30.0) -> None:
        """Wait until everything published is acknowledged.

        Raises:
            DeliveryError: something was not, in `timeout_s` seconds.
        """
        self._outbox.flush(timeout_s)

    async def flush_async(self, timeout_s: float = 30.0) -> None:
        """Do as `flush`, and let others run meanwhile."""
        await asyncio.to_thread(self.flush, timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Flush and close, also after an error: what was published before it did happen."""
        try:
            self.flush()
        finally:
            self._outbox.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Flush and close, also after an error."""
        try:
            await self.flush_async()
        finally:
            self._outbox.close()


def now_ms() -> int:
    """Return the time, in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000
