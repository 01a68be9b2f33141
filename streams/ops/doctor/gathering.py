"""Facts of Kafka, Redis and the API, asked in an order that makes a difference mean something.

What is upstream is read first: cells, then snapshots, then Redis. A later look may only know more,
so one that knows less is a finding and no race.
"""

from __future__ import annotations

import asyncio
import time

from streams.kafka.records import LogError
from streams.kafka.schema_levels import levels_of
from streams.kafka.source import KafkaSource
from streams.model.errors import DependencyError, EngineError
from streams.model.receipts import Keyring
from streams.ops.doctor.api_facts import asked_api
from streams.ops.doctor.facts import ApiFacts, Facts, KafkaFacts, RedisFacts
from streams.ops.doctor.kafka_facts import kafka_facts
from streams.ops.doctor.schemas import SchemaFacts
from streams.ops.doctor.snapshot_facts import snapshot_facts
from streams.ops.doctor.webhooks import WebhookFacts, webhook_facts
from streams.projection.connection import connect, redis_errors
from streams.projection.keys import Keys
from streams.projection.presence import live_processes
from streams.projection.reader import ProjectionReader
from streams.projection.refusals import last_refusal
from streams.receipt_keys import keyring_of
from streams.settings import Settings


async def gather(
    settings: Settings, api: str | ApiFacts, hours: int, api_key: str | None = None
) -> Facts:
    """Return what is there now; takes a few commit intervals where workers have not taken all.

    Args:
        settings: Where Kafka and Redis are.
        api: Address of the API, or what it says of itself.
        hours: How far back dead letters are counted.
        api_key: Key for the API's metrics, where it asks for one.
    """
    kafka, newest, tallies = await kafka_facts(settings, hours)
    redis, versions = await _redis(settings)
    now_ms = time.time_ns() // 1_000_000
    keys, keys_error = _receipt_keys(settings)
    return Facts(
        prefix=settings.topic_prefix,
        wanted_partitions=settings.partitions,
        hours=hours,
        receipt_keys_error=keys_error,
        receipt_keys=() if keys is None else keys.ids,
        limited_receipt_keys=frozenset(() if keys is None else keys.limits),
        spool_files_bytes=_files_bytes(settings),
        spool_files_damaged=_damaged_files(settings),
        kafka=kafka,
        redis=redis,
        api=api if isinstance(api, ApiFacts) else await asked_api(api, api_key),
        snapshots=snapshot_facts(newest, versions, tallies, now_ms)
        if kafka.is_whole and redis.error is None
        else (),
        schemas=await _schemas(settings) if kafka.error is None and redis.error is None else None,
        webhooks=await _webhooks(settings, kafka),
    )


async def _redis(settings: Settings) -> tuple[RedisFacts, dict[str, int]]:
    client = connect(settings.redis_url)
    try:
        reader = ProjectionReader(client, Keys(settings.namespace))
        with redis_errors():
            asked_ms = time.time_ns() / 1e6
            seconds, micros = await client.time()
            here_ms = (asked_ms + time.time_ns() / 1e6) / 2
        workers = await reader.live_workers()
        projected = await reader.newer({})
        versions = {each.experiment.id: each.version for each in projected.snapshots}
        skew_ms = round(seconds * 1000 + micros / 1000 - here_ms)
        return (
            RedisFacts(
                workers=len(workers),
                skew_ms=skew_ms,
                unreadable=tuple(sorted(projected.unreadable)),
                misplaced=await reader.misplaced(),
                lacking=await reader.lacking(),
                refusal=await last_refusal(client, Keys(settings.namespace)),
            ),
            versions,
        )
    except DependencyError as error:
        return RedisFacts(error=error.message), {}
    finally:
        await client.aclose()


async def _schemas(settings: Settings) -> SchemaFacts | None:
    client = connect(settings.redis_url)
    try:
        levels = await asyncio.to_thread(levels_of, settings)
        return SchemaFacts(levels, await live_processes(client, Keys(settings.namespace)))
    except (DependencyError, LogError):
        return None
    finally:
        await client.aclose()


async def _webhooks(settings: Settings, kafka: KafkaFacts) -> tuple[WebhookFacts, ...]:
    if kafka.error is not None or kafka.missing or kafka.denied:
        return ()
    try:
        return await asyncio.to_thread(webhook_facts, KafkaSource(settings))
    except (DependencyError, LogError):
        return ()


def _receipt_keys(settings: Settings) -> tuple[Keyring | None, str | None]:
    try:
        return keyring_of(settings), None
    except EngineError as error:
        return None, error.message


def _files_bytes(settings: Settings) -> int:
    return sum(path.stat().st_size for path in settings.spool_dir.glob("*/*.segment"))


def _damaged_files(settings: Settings) -> tuple[str, ...]:
    return tuple(sorted(map(str, settings.spool_dir.glob("*/*.segment.damaged"))))
