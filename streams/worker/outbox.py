"""Awaited delivery of records to Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import faust
from faust.exceptions import NotReady
from faust.types import RecordMetadata

from streams.model.errors import DependencyError

CHUNK_RECORDS = 2_000
"""Most records sent together: more than a usual batch writes, in some 20 ms."""

CHUNK_BYTES = 2 * 2**20
"""Bytes of values that end a chunk."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One record to be sent; a tombstone without a value.

    Without `partition` the key determines it, by murmur2 as in every Kafka client; without
    `timestamp_ms` the producer sets the current time.
    """

    key: bytes
    value: bytes | None
    partition: int | None = None
    timestamp_ms: int | None = None
    headers: Mapping[str, bytes] | None = None


async def deliver(
    topic: faust.TopicT, records: Iterable[Outgoing], timeout: float
) -> list[RecordMetadata]:
    """Send records in chunks, and return their metadata once all in-sync replicas have them.

    Between chunks other tasks run, and neither memory nor the producer's buffer holds all records.

    Args:
        topic: The topic.
        records: The records; consumed as they are sent.
        timeout: Longest wait for a chunk, in seconds.

    Raises:
        TimeoutError: a chunk took longer.
        KafkaError: the broker refused one.
        DependencyError: the worker stops, and its producer has stopped.
    """
    # Directly to the producer: a topic's `send` supports serializers, sensors and attachments, and
    # takes longer than the producer itself.
    producer = await topic.app.maybe_start_producer()
    name = topic.get_topic_name()
    delivered: list[RecordMetadata] = []
    for chunk in chunks(records):
        async with asyncio.timeout(timeout):
            try:
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
            except NotReady as error:
                raise DependencyError("kafka", str(error)) from error
            delivered += await asyncio.gather(*sent)
    return delivered


def _seconds(timestamp_ms: int | None) -> float | None:
    """Return a time in seconds that Faust, which truncates, converts to the same millisecond."""
    return None if timestamp_ms is None else (timestamp_ms + 0.5) / 1000.0


def chunks(records: Iterable[Outgoing]) -> Iterator[list[Outgoing]]:
    """Split records into chunks, in order."""
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
