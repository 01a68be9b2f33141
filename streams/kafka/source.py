"""The log as Kafka has it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import stamina
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from streams.kafka.answers import explained
from streams.kafka.records import OffsetRange, StoredRecord, incomplete, truncated
from streams.kafka.rights import check_readable, log_group
from streams.kafka.settings import KafkaSettings
from streams.model.errors import DependencyError

BATCH_RECORDS = 10_000
_PASSING = {KafkaError.LEADER_NOT_AVAILABLE, KafkaError.NOT_LEADER_FOR_PARTITION}
WAIT_S = 0.1
"""Longest wait for a batch to become full."""


@dataclass(frozen=True, slots=True)
class KafkaSource:
    """Topics of an installation on its broker.

    It never trusts the end that a broker reports: the embedded one reports the first offset of the
    last batch plus one.

    Attributes:
        settings: Where Kafka is, and the prefix of topics and groups.
        prefix: Prefix of the topics, where it is another than that of the settings.
    """

    settings: KafkaSettings
    prefix: str | None = None

    def spans(self, topic: str) -> Mapping[int, OffsetRange]:
        """Return what is there of every partition, by reading the last batch of each."""
        name = self._full_name(topic)
        with self._consumer(name) as consumer:
            spans: dict[int, OffsetRange] = {}
            for partition in self._partitions(consumer, name):
                low, high = self._watermarks(consumer, name, partition)
                spans[partition] = OffsetRange(low, max(low, high))
            tails = {
                partition: max(span.begin, span.end - 1)
                for partition, span in spans.items()
                if span.end > span.begin
            }
            if not tails:
                check_readable(self.settings, name)
            for partition, end in self._ends(consumer, name, tails).items():
                spans[partition] = OffsetRange(
                    spans[partition].begin, max(spans[partition].end, end)
                )
        return spans

    def read(
        self, topic: str, partition: int, begin: int, end: int
    ) -> Iterator[Sequence[StoredRecord]]:
        """Yield the records in [begin, end)."""
        name = self._full_name(topic)
        if begin >= end:
            return
        with self._consumer(name) as consumer:
            low, _ = self._watermarks(consumer, name, partition)
            if low > begin:
                raise truncated(topic, partition, begin, low)
            consumer.assign([TopicPartition(name, partition, begin)])
            position = begin
            # Not the end of the partition ends the read, but the wanted offset, or silence.
            patience = _ProgressTimeout(self.settings.kafka_timeout_s)
            while position < end:
                records = []
                before = position
                for message in consumer.consume(min(BATCH_RECORDS, end - position), WAIT_S):
                    reached = _reached(message)
                    position = max(position, reached)
                    if message.error() is None and reached <= end:
                        records.append(_stored(message))
                if records:
                    yield records
                if position > before:
                    patience.renew()  # however long the caller took
                elif patience.is_over():
                    raise incomplete(topic, partition, end, position)

    def _full_name(self, topic: str) -> str:
        prefix = self.settings.topic_prefix if self.prefix is None else self.prefix
        return prefix + topic

    def _ends(self, consumer: Consumer, name: str, tails: Mapping[int, int]) -> dict[int, int]:
        """Return the offset after the last record of each partition, from near its end on.

        Records that come meanwhile may be in or not.

        Args:
            consumer: Reads the ends.
            name: The topic.
            tails: Offset of the last record by partition, or of the first one of its batch.
        """
        ends = dict(tails)
        waiting = set(tails)
        if not waiting:
            return {}
        consumer.assign([TopicPartition(name, *tail) for tail in tails.items()])
        patience = _ProgressTimeout(self.settings.kafka_timeout_s)
        while waiting:
            for message in consumer.consume(BATCH_RECORDS, WAIT_S):
                reached, partition = _reached(message), message.partition()
                if partition not in ends or not reached:
                    continue
                ends[partition] = max(ends[partition], reached)
                if message.error() is not None:
                    waiting.discard(partition)
            # A partition that is written all the time has no end. But once there is another batch,
            # the one that was the last begins and ends before it.
            for partition in sorted(waiting):
                _, high = self._watermarks(consumer, name, partition)
                if high - 1 > tails[partition]:
                    ends[partition] = max(ends[partition], high - 1)
                    waiting.discard(partition)
            if patience.is_over():
                raise DependencyError("kafka", f"Kafka does not give the end of {name}")
        return ends

    def _partitions(self, consumer: Consumer, name: str) -> list[int]:
        for attempt in self._attempts():
            with attempt:
                found = consumer.list_topics(name, timeout=self.settings.kafka_timeout_s)
                topic = found.topics[name]
                if topic.error is not None:
                    raise KafkaException(topic.error)
        return sorted(topic.partitions)

    def _watermarks(self, consumer: Consumer, name: str, partition: int) -> tuple[int, int]:
        place = TopicPartition(name, partition)
        for attempt in self._attempts():
            with attempt:
                low, high = consumer.get_watermark_offsets(
                    place, timeout=self.settings.kafka_timeout_s
                )
        return low, high

    def _attempts(self) -> Iterable[stamina.Attempt]:
        """Try again while a topic is new or a leader is being elected."""
        return stamina.retry_context(
            on=_is_passing, attempts=None, timeout=self.settings.kafka_timeout_s, wait_max=1.0
        )

    @contextmanager
    def _consumer(self, topic: str) -> Iterator[Consumer]:
        consumer = Consumer(
            self.settings.reading_config()
            | {
                "group.id": f"{log_group(self.settings)}{secrets.token_hex(8)}",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "error",
                # As the workers do: what a transaction has aborted was never said.
                "isolation.level": "read_committed",
                "max.partition.fetch.bytes": 8 * 2**20,
                # The end of a partition is worth no wait, and neither is a queue that was full: the
                # default of a second would be half of the time it takes to read a million records.
                "fetch.wait.max.ms": 50,
                "fetch.queue.backoff.ms": 10,
                "log_level": 0,
            }
        )
        try:
            yield consumer
        except KafkaException as error:
            what = f"reading {topic} by a group {log_group(self.settings)}..."
            raise explained(self.settings, error.args[0], what) from error
        finally:
            consumer.close()


def _is_passing(error: Exception) -> bool:
    """Return whether a broker may answer otherwise in a moment."""
    return isinstance(error, KafkaException) and (
        error.args[0].retriable() or error.args[0].code() in _PASSING
    )


class _ProgressTimeout:
    """Limit of the time without progress."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self.renew()

    def renew(self) -> None:
        self._until = time.monotonic() + self._timeout_s

    def is_over(self) -> bool:
        return time.monotonic() > self._until


def _reached(message: Message) -> int:
    """Return the offset that comes after a message, or that the end of the partition is at."""
    error = message.error()
    offset = message.offset()
    if error is None:
        assert offset is not None  # noqa: S101 - a record has one
        return offset + 1
    if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - its public name
        return offset or 0
    if error.retriable() or error.code() in {
        KafkaError._TRANSPORT,  # noqa: SLF001
        KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001
    }:
        return 0  # librdkafka retries
    raise KafkaException(error)


def _stored(message: Message) -> StoredRecord:
    offset = message.offset()
    assert offset is not None  # noqa: S101 - a record has one
    return StoredRecord(offset, message.timestamp()[1], message.key(), message.value())
