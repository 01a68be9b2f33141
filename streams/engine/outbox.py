"""Records for other topics, delivered when the call returns."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

import faust
from faust.types import RecordMetadata


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One record; without a value it is a tombstone.

    Without `partition` the key chooses it, by murmur2 as in every Kafka client.
    """

    key: bytes
    value: bytes | None
    partition: int | None = None


async def deliver(
    topic: faust.TopicT, records: Iterable[Outgoing], timeout: float
) -> list[RecordMetadata]:
    """Return where the records are, once all in-sync replicas have them.

    Raises:
        TimeoutError: it took longer than `timeout` seconds.
        KafkaError: the broker refused one.
    """
    async with asyncio.timeout(timeout):
        sent = [
            await topic.send(
                key=record.key,
                value=record.value,
                partition=record.partition,
                key_serializer="raw",
                value_serializer="raw",
            )
            for record in records
        ]
        return await asyncio.gather(*sent)
