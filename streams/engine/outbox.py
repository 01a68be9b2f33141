"""Records for other topics, delivered when the call returns."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

import faust


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One record. Without `partition`, the key chooses it, by murmur2 as in every Kafka client."""

    key: bytes
    value: bytes
    partition: int | None = None


async def deliver(topic: faust.TopicT, records: Iterable[Outgoing], timeout: float) -> None:
    """Return once all in-sync replicas have the records.

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
        await asyncio.gather(*sent)
