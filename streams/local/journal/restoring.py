"""The records of a journal written to a broker that has just been started."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from streams.kafka.generations import generations_of
from streams.kafka.settings import KafkaSettings
from streams.local.journal.keeping import groups_of
from streams.local.journal.store import Journal, JournalRecord, Offsets
from streams.model.errors import ConfigurationError, DependencyError
from streams.settings import ENVIRONMENT_PREFIX

QUEUE_RECORDS = 50_000
"""Most records that are on their way to the broker; each has its bytes in memory."""

LARGEST_BYTES = 1_000_000_000
"""Largest record that librdkafka can be set to send. By default it is a megabyte, and records were
compressed when the broker took them first."""

POLL_S = 0.1


@dataclass(slots=True)
class _Restoring:
    """Records that the broker has acknowledged.

    Attributes:
        ends: Offset after the last record, by topic and partition.
        positions: The same by reader, of the records that were below its position.
        failure: The first error.
    """

    ends: dict[tuple[str, int], int] = field(default_factory=dict)
    positions: dict[str, dict[tuple[str, int], int]] = field(default_factory=dict)
    failure: KafkaError | None = None


def restore(
    journal: Journal,
    settings: KafkaSettings,
    advance: Callable[[int], None],
    is_stopping: Callable[[], bool] = lambda: False,
) -> None:
    """Write all records to a broker whose topics are empty, and how far their readers had come.

    Records keep their partition, order, time, headers and bytes. Their offsets are the same, too,
    unless a transaction had left offsets without a record.

    Args:
        journal: Has the records; its offsets are those of the new log afterwards.
        settings: Where the broker is.
        advance: Called with the number of records that were written, now and then.
        is_stopping: Returns whether to return early; then the broker is of no use.

    Raises:
        ConfigurationError: topics have another number of partitions than they had.
        JournalError: the journal cannot be read.
        DependencyError: the broker does not take them.
    """
    known = journal.ends
    kept = journal.partitions
    needed = kept or 1 + max((partition for _, partition in known), default=0)
    if needed > settings.partitions or kept not in {None, settings.partitions}:
        raise ConfigurationError(
            f"{journal.path} has records of {needed} partitions, and there are "
            f"{settings.partitions} now; set {ENVIRONMENT_PREFIX}PARTITIONS={needed}, or take "
            "another directory",
            f"{ENVIRONMENT_PREFIX}PARTITIONS",
        )
    before = journal.positions
    found = _Restoring()
    producer = Producer(
        settings.confluent_config()
        | {
            "enable.idempotence": True,
            "linger.ms": 5,
            "queue.buffering.max.messages": QUEUE_RECORDS,
            "message.max.bytes": LARGEST_BYTES,
            "log_level": 0,
        }
    )
    written = 0
    try:
        for record in journal.records():
            _produce(producer, settings, record, before, found)
            written += 1
            if written % QUEUE_RECORDS == 0:
                advance(written)
            if is_stopping():
                return
            if found.failure is not None:
                break
        left = _flush(producer, settings.kafka_timeout_s * 3, is_stopping)
    except KafkaException as error:
        raise DependencyError("kafka", f"the log is not restored: {error}") from error
    if found.failure is not None or left:
        reason = found.failure.str() if found.failure is not None else "the broker does not answer"
        raise DependencyError("kafka", f"the log is not restored: {reason}")
    advance(written)
    journal.move(found.ends, found.positions)
    _commit(settings, found.positions)


def _produce(
    producer: Producer,
    settings: KafkaSettings,
    record: JournalRecord,
    positions: Mapping[str, Offsets],
    found: _Restoring,
) -> None:
    place = record.topic, record.partition
    readers = [
        reader for reader, offsets in positions.items() if record.offset < offsets.get(place, 0)
    ]

    def delivered(error: KafkaError | None, message: Message) -> None:
        if error is not None:
            found.failure = found.failure or error
            return
        offset = message.offset()
        assert offset is not None  # noqa: S101 - it was delivered
        found.ends[place] = offset + 1
        for reader in readers:
            found.positions.setdefault(reader, {})[place] = offset + 1

    while True:
        try:
            producer.produce(
                settings.topic_prefix + record.topic,
                record.value,
                key=record.key,
                partition=record.partition,
                timestamp=record.timestamp,
                headers=[*record.headers],
                on_delivery=delivered,
            )
            producer.poll(0)
        except BufferError:
            producer.poll(POLL_S)
        else:
            return


def _flush(producer: Producer, timeout_s: float, is_stopping: Callable[[], bool]) -> int:
    """Wait for what is on its way, `timeout_s` without an acknowledgement; return what is left."""
    left, since = len(producer), time.monotonic()
    while left and not is_stopping() and time.monotonic() - since < timeout_s:
        now_left = producer.flush(POLL_S)
        if now_left < left:
            left, since = now_left, time.monotonic()
    return left


def _commit(settings: KafkaSettings, positions: Mapping[str, Offsets]) -> None:
    """Commit how far the readers of the active generation had come, as if they still ran."""
    groups = groups_of(settings, generations_of(settings)[0].active)
    for reader, offsets in positions.items():
        consumer = Consumer(
            settings.confluent_config()
            | {"group.id": groups[reader], "enable.auto.commit": False, "log_level": 0}
        )
        places = [
            TopicPartition(settings.topic_prefix + topic, partition, offset)
            for (topic, partition), offset in offsets.items()
        ]
        try:
            consumer.commit(offsets=places, asynchronous=False)
        except KafkaException as error:
            raise DependencyError("kafka", f"the log is not restored: {error}") from error
        finally:
            consumer.close()
