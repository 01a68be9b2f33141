"""Records for other topics, delivered when the call returns."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import faust
from faust.types import RecordMetadata

CHUNK_RECORDS = 2_000
"""Records sent together at most: a usual batch writes less, and this takes some 20 ms."""

CHUNK_BYTES = 2 * 2**20
"""Bytes of values after which no more records are sent together."""


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

    They go in chunks, so that however many there are, other work goes on in between, and neither
    memory nor the producer's buffer has to hold them all.

    Args:
        topic: Where to.
        records: The records; taken as they are sent.
        timeout: Longest wait for a chunk, in seconds.

    Raises:
        TimeoutError: a chunk took longer.
        KafkaError: the broker refused one.
    """
    # Straight to the producer: a topic's own `send` prepares for serialisers, sensors and attached
    # messages that none of ours has, which takes longer than the producer itself.
    producer = await topic.app.maybe_start_producer()
    name = topic.get_topic_name()
    delivered: list[RecordMetadata] = []
    for chunk in chunks(records):
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
                for record in chunk
            ]
            delivered += await asyncio.gather(*sent)
    return delivered


def _seconds(timestamp_ms: int | None) -> float | None:
    """Return a time as Faust takes it, which cuts off what is below a millisecond."""
    return None if timestamp_ms is None else (timestamp_ms + 0.5) / 1000.0


def chunks(records: Iterable[Outgoing]) -> Iterator[list[Outgoing]]:
    """Yield records in order, as many at a time as are sent together."""
    chunk: list[Outgoing] = []
    size = 0
    for record in records:
        chunk.append(record)
        size += len(record.value or b"")
        if len(chunk) >= CHUNK_RECORDS or size >= CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk
