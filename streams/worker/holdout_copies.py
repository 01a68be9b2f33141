"""Copying of observations for holdouts, by the workers that own one."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from schemas.catalogue import COMMANDS, OBSERVATIONS
from streams.fold.holdout_copies import Coverage, copies_of
from streams.kafka.headers import headers_of
from streams.kafka.outages import logging_outages
from streams.kafka.positions import HOLDOUTS_GROUP
from streams.kafka.records import LogError, LogSource
from streams.kafka.settings import KafkaSettings
from streams.kafka.tail import LogTail
from streams.model.errors import DependencyError
from streams.model.events import Observation
from streams.model.receipts import Keyring
from streams.wire.framing import Framing
from streams.wire.observations import encode_observation
from streams.worker import metrics
from streams.worker.copy_marks import is_copy, marked

LOOK_S = 1.0
"""Interval of looking for holdouts, and pause after a failure."""

POLL_S = 0.5
"""Longest wait for observations."""

PAUSE_S = 0.2
"""Pause between two readings: each reads the end of `commands` as well."""

READ_TOGETHER = 10_000

FLUSH_S = 30.0
"""Longest wait for the acknowledgement of copies."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Record:
    """Fields of a Kafka record that folding uses."""

    offset: int
    timestamp: int
    value: bytes | None


class HoldoutCopier:
    """A loop that copies observations of the units of holdouts, while this worker owns a holdout.

    Observations that count for a holdout were made after its `create` was durable. So `commands` is
    read to its end after observations were read and before they are copied, and no holdout is
    missed. Offsets are committed once the copies are durable; repeated copies count once, also
    those of several workers that own holdouts, each of which copies for all.

    Args:
        settings: Where Kafka is.
        source: The log.
        framing: Encodes and decodes records.
        keyring: Verifies and signs receipts.
        is_needed: Returns whether this worker has a holdout that is not archived.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        source: LogSource,
        framing: Framing,
        keyring: Keyring,
        is_needed: Callable[[], bool],
    ) -> None:
        self._settings = settings
        self._framing = framing
        self._keyring = keyring
        self._is_needed = is_needed
        self._topic = settings.topic_name(OBSERVATIONS)
        self._tail = LogTail(source, COMMANDS.name, framing)
        self._coverage = Coverage()
        self._consumer: Consumer | None = None
        self._producer: Producer | None = None

    async def run(self) -> None:
        """Copy observations, indefinitely."""
        try:
            while True:
                try:
                    if not self._is_needed():
                        await self._close()
                        await asyncio.sleep(LOOK_S)
                        continue
                    await self._copy_next()
                    await asyncio.sleep(PAUSE_S)
                except (DependencyError, LogError, KafkaException) as error:
                    logger.warning("observations are not copied for holdouts now: %s", error)
                    await self._close()
                    await asyncio.sleep(LOOK_S)
                except Exception:
                    logger.exception("copying for holdouts: not expected, and tried again")
                    await self._close()
                    await asyncio.sleep(LOOK_S)
        finally:
            consumer, self._consumer = self._consumer, None
            if consumer is not None:
                consumer.close()

    async def _copy_next(self) -> None:
        """Copy the next observations, and commit their offsets."""
        if self._consumer is None:
            await self._learn()
            self._consumer = await asyncio.to_thread(self._begun)
        messages = await asyncio.to_thread(self._consumer.consume, READ_TOGETHER, POLL_S)
        for each in messages:
            error = each.error()
            if error is not None and not error.retriable():
                raise KafkaException(error)
        by_partition: defaultdict[int, list[_Record]] = defaultdict(list)
        for each in messages:
            if each.error() is None and not is_copy(self._keyring, headers_of(each), each.value()):
                record = _Record(each.offset() or 0, each.timestamp()[1], each.value())
                by_partition[each.partition() or 0].append(record)
        if by_partition:
            await self._learn()
            await self._framing.prepare(
                record.value for found in by_partition.values() for record in found
            )
            copies = await asyncio.to_thread(self._copies, by_partition)
            await asyncio.to_thread(self._send, copies)
            metrics.HOLDOUT_COPIES.inc(len(copies))
        if messages:
            await asyncio.to_thread(self._consumer.commit, asynchronous=False)

    async def _learn(self) -> None:
        """Read `commands` to its end."""
        await self._tail.take(
            lambda partition, records, codec: self._coverage.take(
                partition, records, codec, self._keyring
            )
        )

    def _begun(self) -> Consumer:
        """Return a consumer of all partitions.

        It does not join the group, which only keeps the offsets: who copies follows from who owns a
        holdout. As a member it would wait until the group has noticed that a frozen worker is gone,
        which the embedded broker may never do.
        """
        consumer = Consumer(
            self._settings.group_config(self._settings.topic_prefix + HOLDOUTS_GROUP)
            | logging_outages(self._settings, "copying observations for holdouts")
        )
        try:
            consumer.assign(self._beginnings(consumer))
        except BaseException:
            consumer.close()
            raise
        return consumer

    def _beginnings(self, consumer: Consumer) -> list[TopicPartition]:
        """Return where to begin: where was stopped, or else when the first holdout began."""
        timeout_s = self._settings.kafka_timeout_s
        found = consumer.list_topics(self._topic, timeout=timeout_s).topics[self._topic]
        partitions = [TopicPartition(self._topic, each) for each in sorted(found.partitions)]
        committed = consumer.committed(partitions, timeout=timeout_s)
        new = [each for each in committed if each.offset < 0]
        since_ms = self._coverage.since_ms
        if new and since_ms is not None:
            for each in new:
                # Before the look-up: records that arrive in the meantime must not be skipped.
                _, high = consumer.get_watermark_offsets(each, timeout=timeout_s)
                asked = TopicPartition(each.topic, each.partition, max(0, since_ms))
                [first] = consumer.offsets_for_times([asked], timeout=timeout_s)
                each.offset = first.offset if first.offset >= 0 else high
        return committed

    def _copies(self, by_partition: dict[int, list[_Record]]) -> list[Observation]:
        return [
            copy
            for partition, records in by_partition.items()
            for copy in copies_of(
                records, partition, self._framing.codec, self._keyring, self._coverage
            )
        ]

    def _send(self, copies: list[Observation]) -> None:
        """Send copies, and wait until they are durable.

        Raises:
            DependencyError: they are not acknowledged in time, or Kafka refuses them.
        """
        if self._producer is None:
            self._producer = Producer(
                self._settings.confluent_config()
                | {"enable.idempotence": True, "acks": "all", "partitioner": "murmur2_random"}
            )
        producer = self._producer
        failed: list[KafkaError] = []

        def note(error: KafkaError | None, _: Message) -> None:
            if error is not None:
                failed.append(error)

        for copy in copies:
            value = encode_observation(copy, self._framing.codec)
            while True:
                try:
                    producer.produce(
                        self._topic,
                        value,
                        key=copy.assignment_id.encode(),
                        headers=marked(self._keyring, value),
                        on_delivery=note,
                    )
                    break
                except BufferError:
                    producer.poll(0.1)
            producer.poll(0)
        left = producer.flush(FLUSH_S)
        if left or failed:
            self._producer = None
            why = failed[0].str() if failed else f"{left} are not acknowledged"
            raise DependencyError("kafka", f"copies for holdouts: {why}")

    async def _close(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await asyncio.to_thread(consumer.close)
