"""Time to rebuild first receipts after Redis was emptied.

    python -m benchmarks.receipt_rebuild [--units 1000000]

The embedded broker and Valkey run on this machine, and no one else uses them. Units of one
experiment are logged in batches of a thousand; then the receipts are read from the log, signed and
kept, as a worker does.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import tempfile
import time
from pathlib import Path

from confluent_kafka import Producer

from schemas import catalogue
from streams.kafka.admin import create_topics
from streams.kafka.source import KafkaSource
from streams.local.tansu import start_tansu
from streams.local.valkey import start_valkey
from streams.model.events import Command, CommandKind, ImpressionBatch, ImpressionGroup
from streams.model.ids import experiment_id
from streams.model.quantities import PROPENSITY_ONE
from streams.model.receipts import Keyring
from streams.projection.connection import connect
from streams.projection.keys import Keys
from streams.projection.receipts import ReceiptStore
from streams.replay.partitions import FoldInputs
from streams.replay.receipts import ReceiptLog
from streams.settings import Settings
from streams.wire.batch_tags import sealer
from streams.wire.commands import encode_command
from streams.wire.impressions import encode_impression_batch
from streams.worker.receipts import ReceiptKeeper

NUMBER = 7
NOW_MS = 1_764_000_000_000
BATCH = 1_000
DEFINITION = {
    "config": {"name": "x", "type": "thompson_sampling", "primaryMetric": "c", "unit": "user"},
    "variants": [{"name": "a", "isControl": True}, {"name": "b"}],
}


def main() -> None:
    """Print how many receipts came back, in what time, and what they take."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--units", type=int, default=1_000_000)
    asyncio.run(_measure(parser.parse_args().units))


async def _measure(units: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        broker, kafka_url = await start_tansu(directory)
        valkey, redis_url = await start_valkey(directory)
        try:
            settings = Settings(
                kafka_url=kafka_url,
                redis_url=redis_url,
                partitions=4,
                receipt_keys=f"1:{secrets.token_hex(32)}",  # type: ignore[arg-type]
                data_dir=directory,
            )
            create_topics(settings)
            await asyncio.to_thread(_fill, settings, units)
            async with connect(redis_url) as redis:
                store = ReceiptStore(redis, Keys(settings.namespace), settings.sticky_ttl_s)
                log = ReceiptLog(KafkaSource(settings), FoldInputs.of(settings))
                keeper = ReceiptKeeper(store, lambda: log, "benchmark", tuple)
                began_s = time.perf_counter()
                await keeper.look()
                took_s = time.perf_counter() - began_s
                memory = int((await redis.info("memory"))["used_memory"])
            print(f"{units:,} units: {took_s:.1f} s, {units / took_s:,.0f} a second")
            print(f"{memory / units:.0f} bytes of Redis for each")
        finally:
            await valkey.stop()
            await broker.stop()


def _fill(settings: Settings, units: int) -> None:
    producer = Producer(settings.confluent_config() | {"partitioner": "murmur2_random"})
    commands = catalogue.COMMANDS.full_name(settings.topic_prefix)
    for index, kind in enumerate((CommandKind.CREATE, CommandKind.START)):
        payload = DEFINITION if kind is CommandKind.CREATE else {}
        command = Command(f"{index:032x}", NUMBER, kind, NOW_MS, payload)
        producer.produce(commands, encode_command(command), experiment_id(NUMBER))
    impressions = catalogue.IMPRESSIONS.full_name(settings.topic_prefix)
    seal = sealer(Keyring.parse(settings.signing_keys))
    for sequence in range(units // BATCH):
        group = ImpressionGroup(
            experiment=NUMBER,
            repeatable=True,
            variants=[0] * BATCH,
            propensities=[PROPENSITY_ONE // 2] * BATCH,
            allocation_versions=[3] * BATCH,
            assigned_at_ms=[NOW_MS + sequence] * BATCH,
            units=[secrets.randbits(64) for _ in range(BATCH)],
        )
        partition = sequence % settings.partitions
        batch = ImpressionBatch(1, partition, sequence, (group,))
        value = seal(catalogue.IMPRESSIONS.name, partition, encode_impression_batch(batch))
        producer.produce(impressions, value, partition=partition)
        producer.poll(0)
    producer.flush()


if __name__ == "__main__":
    main()
