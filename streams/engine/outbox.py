"""Records for other topics, delivered when the call returns."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import faust
from faust.types import RecordMetadata


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One record; without a value it is a tombstone.

    Without `partition` the key chooses it, by murmur2 as in every Kafka client; without
    `timestamp_ms` its time is now.
    """

    key: bytes
    value: bytes | None
    partition: int | None = None
    timestamp_ms: int | None = None
    headers: Mapping[str, bytes] | None = None


async def deliver(
    topic: faust.TopicT, records: Iterable[Outgoing], timeout: float
) -> list[RecordMetadata]:
    """Return where the records are, once all in-sync replicas have them.

    Raises:
        TimeoutError: it took longer than `timeout` seconds.
        KafkaError: the broker refused one.
    """
    # Straight to the producer: a topic's own `send` prepares for serialisers, sensors and attached
    # messages that none of ours has, which takes longer than the producer itself.
    producer = await topic.app.maybe_start_producer()
    name = topic.get_topic_name()
    async with asyncio.timeout(timeout):
        sent = [
            await producer.send(
                name,
                record.key,
                record.value,
                record.partition,
                _seconds(record.timestamp_ms),
                record.headers,
            )
            for record in records
        ]
        delivered: list[RecordMetadata] = await asyncio.gather(*sent)
    return delivered


def _seconds(timestamp_ms: int | None) -> float | None:
    """Return a time as Faust takes it, which cuts off what is below a millisecond."""
    return None if timestamp_ms is None else (timestamp_ms + 0.5) / 1000.0
