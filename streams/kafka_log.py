"""Reads a topic from a place to its end, and stops: what a command does, and no worker.

The end is not taken from the broker's word alone. The embedded one reports the first offset of its
last batch plus one, so a partition that is said to have ended is polled once more.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from streams.domain.errors import DependencyError
from streams.kafka_settings import KafkaSettings

_FURTHER_POLL_S = 0.25
_FETCH_BYTES = 8 * 2**20


@dataclass(frozen=True, slots=True)
class Span:
    """Offsets [begin, end) that a partition has."""

    begin: int
    end: int


def read_topic(settings: KafkaSettings, topic: str) -> Iterator[Message]:
    """Yield every record a topic has now, each partition in order.

    Args:
        settings: Where Kafka is.
        topic: Full name of the topic.

    Raises:
        DependencyError: Kafka does not answer, or does not have the topic.
    """
    with _consumer(settings) as consumer:
        spans = _reported(consumer, settings, topic)
        starts = {partition: span.begin for partition, span in spans.items()}
        yield from _read(consumer, settings, topic, starts)


def spans_of(settings: KafkaSettings, topic: str) -> dict[int, Span]:
    """Return what every partition of a topic has, by partition; reads the last batch of each.

    Raises:
        DependencyError: Kafka does not answer, or does not have the topic.
    """
    with _consumer(settings) as consumer:
        spans = _reported(consumer, settings, topic)
        tails = {
            partition: span.end - 1 for partition, span in spans.items() if span.end > span.begin
        }
        ends = {partition: span.end for partition, span in spans.items()}
        for message in _read(consumer, settings, topic, tails):
            partition, offset = message.partition(), message.offset()
            if partition is not None and offset is not None:  # as every record that was read
                ends[partition] = max(ends[partition], offset + 1)
        return {partition: Span(span.begin, ends[partition]) for partition, span in spans.items()}


def _reported(consumer: Consumer, settings: KafkaSettings, topic: str) -> dict[int, Span]:
    metadata = consumer.list_topics(topic, timeout=settings.kafka_timeout_s).topics[topic]
    if metadata.error is not None:
        raise DependencyError("kafka", f"topic {topic}: {metadata.error.str()}")
    spans = {}
    for partition in sorted(metadata.partitions):
        low, high = consumer.get_watermark_offsets(
            TopicPartition(topic, partition), timeout=settings.kafka_timeout_s
        )
        spans[partition] = Span(low, max(low, high))
    return spans


def _read(
    consumer: Consumer, settings: KafkaSettings, topic: str, starts: Mapping[int, int]
) -> Iterator[Message]:
    consumer.assign([TopicPartition(topic, partition, at) for partition, at in starts.items()])
    waiting = set(starts)
    while True:
        message = consumer.poll(settings.kafka_timeout_s if waiting else _FURTHER_POLL_S)
        if message is None:
            if not waiting:
                return
            raise DependencyError("kafka", f"Kafka does not give the end of {topic}")
        error = message.error()
        if error is None:
            yield message
        elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - its public name
            waiting.discard(message.partition())
        elif error.fatal() or not error.retriable():
            raise KafkaException(error)


@contextmanager
def _consumer(settings: KafkaSettings) -> Iterator[Consumer]:
    consumer = Consumer(
        settings.confluent_config()
        | {
            # Never committed and never joined; librdkafka asks for a name all the same.
            "group.id": f"{settings.topic_prefix}look-{secrets.token_hex(8)}",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_uncommitted",  # as the workers read
            "max.partition.fetch.bytes": _FETCH_BYTES,
            "log_level": 0,
        }
    )
    try:
        yield consumer
    except KafkaException as error:
        raise DependencyError(
            "kafka", f"Kafka at {settings.kafka_url}: {error.args[0].str()}"
        ) from error
    finally:
        consumer.close()
