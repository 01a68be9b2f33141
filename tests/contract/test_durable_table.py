"""A worker's table and its changelog: on a broker in memory and on Kafka."""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

import pytest
from faust.types import TP

from schemas import catalogue
from streams.kafka.admin import create_topics
from streams.kafka.records import StoredRecord
from streams.kafka.source import KafkaSource
from streams.model.partitioning import partition_of
from streams.settings import Settings
from streams.worker.app import make_app
from streams.worker.outbox import CHUNK_RECORDS, Outgoing, deliver
from streams.worker.tables import DurableTable, unpack
from streams.worker.transport import BatchingApp
from tests.patience import PATIENCE_S
from tests.twins.kafka import MemoryBroker, MemoryProducer, Process

TABLE = "observations-state"
TOPIC = catalogue.OBSERVATIONS
GENERATION = 3


class Broker:
    """Broker in memory that keeps the tables of worker processes.

    Attributes:
        settings: Of all processes.
    """

    def __init__(self) -> None:
        self.settings = Settings(partitions=4)
        self.log = MemoryBroker(self.settings.partitions)
        self.apps: list[BatchingApp] = []

    def app(self) -> BatchingApp:
        """Return the app of another worker process."""
        app = make_app(self.settings)
        app.consumer = cast(Any, SimpleNamespace(generation_id=GENERATION))
        app.consumer_generation_id = GENERATION
        self.apps.append(app)
        self.connect(app)
        return app

    def connect(self, app: BatchingApp) -> None:
        app.producer = cast(Any, MemoryProducer(app, self.log, Process(), random.Random(0)))

    def table(self) -> DurableTable:
        """Return the table of another worker process, which knows nothing yet."""
        return DurableTable(
            self.app(),
            name=TABLE,
            key_type=bytes,
            value_type=bytes,
            partitions=self.settings.partitions,
        )

    async def logged(self, topic: str, partition: int) -> list[StoredRecord]:
        """Return the records of a topic, named as in the catalogue."""
        return [
            StoredRecord(each.offset, each.timestamp, each.key, each.value)
            for each in self.log.read(TP(f"{self.settings.topic_prefix}{topic}", partition))
        ]

    async def changelog(self, partition: int) -> list[tuple[bytes | None, bytes | None]]:
        """Return keys and values in the changelog of a partition."""
        found = await self.logged(catalogue.changelog(TABLE).name, partition)
        return [(each.key, each.value) for each in found]

    async def recover(self, table: DurableTable, *partitions: int, since: int = 0) -> None:
        """Have a table read the changelog of partitions, as a recovery does."""
        for partition in partitions:
            found = await self.logged(catalogue.changelog(TABLE).name, partition)
            take(table, partition, [each for each in found if each.offset >= since])

    async def stop(self) -> None:
        """Stop the producers."""


class KafkaBroker(Broker):
    """The same on the broker of the run."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.settings = settings
        create_topics(settings)

    def connect(self, app: BatchingApp) -> None:
        """Leave the producer that the app makes."""

    async def logged(self, topic: str, partition: int) -> list[StoredRecord]:
        source = KafkaSource(self.settings)
        span = source.spans(topic)[partition]
        pieces = source.read(topic, partition, span.begin, span.end)
        return [record for piece in pieces for record in piece]

    async def stop(self) -> None:
        for app in self.apps:
            await app.producer.stop()


@pytest.fixture
async def broker(real: Settings | None) -> AsyncIterator[Broker]:
    made = Broker() if real is None else KafkaBroker(real)
    yield made
    await made.stop()


@dataclass(frozen=True)
class Event:
    message: Any


def take(
    table: DurableTable,
    partition: int,
    records: Sequence[StoredRecord],
    generation: int = GENERATION,
) -> None:
    table.apply_changelog_batch(
        [
            cast(
                Any,
                Event(
                    SimpleNamespace(
                        key=each.key,
                        value=each.value,
                        partition=partition,
                        offset=each.offset,
                        generation_id=generation,
                    )
                ),
            )
            for each in records
        ]
    )


def contents(table: DurableTable, partition: int) -> dict[bytes, tuple[int, bytes]]:
    return {key: unpack(value) for key, value in table.entries(partition).items()}


async def test_an_entry_is_seen_at_once_and_durable_behind_the_barrier(broker: Broker) -> None:
    table = broker.table()
    table.put(1, b"a", 5, b"body")
    assert table.get_entry(1, b"a") == (5, b"body")
    assert await broker.changelog(1) == []

    await table.barrier(1, PATIENCE_S)

    [(key, value)] = await broker.changelog(1)
    assert (key, unpack(value or b"")) == (b"a", (5, b"body"))
    assert table.get_entry(1, b"b") is None
    assert table.get_entry(2, b"a") is None


async def test_a_barrier_is_of_one_partition(broker: Broker) -> None:
    table = broker.table()
    table.put(0, b"a", 1, b"zero")
    table.put(1, b"a", 1, b"one")

    await table.barrier(0, PATIENCE_S)
    await table.barrier(3, PATIENCE_S)  # there is nothing to wait for

    assert [len(await broker.changelog(partition)) for partition in range(4)] == [1, 0, 0, 0]


async def test_another_process_recovers_what_was_durable_and_no_more(broker: Broker) -> None:
    first = broker.table()
    for offset, key in enumerate((b"a", b"b", b"c", b"a")):
        first.put(1, key, offset, b"body %d" % offset)
    first.forget(1, b"b")
    first.forget(1, b"never was there")
    await first.barrier(1, PATIENCE_S)
    first.put(1, b"c", 9, b"lost")

    second = broker.table()
    await broker.recover(second, 1)

    assert contents(second, 1) == {b"a": (3, b"body 3"), b"c": (2, b"body 2")}
    assert len(await broker.changelog(1)) == 5
    assert second.persisted_offset(TP(second.changelog_topic_name, 1)) == 4
    assert second.records_read == 5


async def test_more_writes_than_go_together_keep_their_order(broker: Broker) -> None:
    n = CHUNK_RECORDS + 3
    table = broker.table()
    for offset in range(n):
        table.put(0, b"%d" % (offset % 7), offset, b"")

    await table.barrier(0, PATIENCE_S)

    assert [unpack(value or b"")[0] for _, value in await broker.changelog(0)] == list(range(n))


async def test_what_a_process_wrote_it_need_not_read_unless_another_wrote_between(
    broker: Broker,
) -> None:
    first, other = broker.table(), broker.table()
    tp = TP(first.changelog_topic_name, 1)
    assert first.persisted_offset(tp) == -1

    for table, key in ((first, b"a"), (first, b"b"), (other, b"c"), (first, b"d")):
        table.put(1, key, 1, key)
        await table.barrier(1, PATIENCE_S)

    assert first.persisted_offset(tp) == 1
    assert other.persisted_offset(tp) == -1
    await broker.recover(first, 1, since=2)
    assert contents(first, 1).keys() == {b"a", b"b", b"c", b"d"}
    assert first.persisted_offset(tp) == 3


async def test_an_older_entry_that_a_frozen_worker_wrote_last_does_not_win(broker: Broker) -> None:
    frozen, follower = broker.table(), broker.table()
    frozen.put(1, b"a", 5, b"old")
    follower.put(1, b"a", 9, b"new")
    follower.put(1, b"b", 9, b"first")
    for table in (follower, frozen):
        await table.barrier(1, PATIENCE_S)
    follower.put(1, b"b", 9, b"second")  # of the same offset the later one is right
    await follower.barrier(1, PATIENCE_S)

    fresh = broker.table()
    await broker.recover(fresh, 1)

    assert contents(fresh, 1) == {b"a": (9, b"new"), b"b": (9, b"second")}


async def test_what_was_read_before_a_rebalance_is_not_taken(broker: Broker) -> None:
    table = broker.table()
    table.put(1, b"a", 5, b"body")
    await table.barrier(1, PATIENCE_S)
    late = broker.table()

    take(late, 1, await broker.logged(catalogue.changelog(TABLE).name, 1), GENERATION - 1)

    assert contents(late, 1) == {}
    assert late.persisted_offset(TP(late.changelog_topic_name, 1)) == -1


async def test_partitions_of_others_are_dropped_and_recovered_from_the_beginning(
    broker: Broker,
) -> None:
    table = broker.table()
    for partition in (0, 1):
        table.put(partition, b"a", 5, b"body")
        await table.barrier(partition, PATIENCE_S)
    name = table.changelog_topic_name

    await table.on_rebalance({TP(name, 0), TP("another topic", 1)}, {TP(name, 1)}, set())

    assert contents(table, 0) == {b"a": (5, b"body")}
    assert contents(table, 1) == {}
    assert [table.persisted_offset(TP(name, partition)) for partition in (0, 1)] == [0, -1]


async def test_records_for_other_topics_go_by_their_key_with_their_time(broker: Broker) -> None:
    topic = broker.app().topic(
        TOPIC.full_name(broker.settings.topic_prefix), key_serializer="raw", value_serializer="raw"
    )
    keys = [b"exp_%013d" % number for number in range(20)]
    at_ms = time.time_ns() // 1_000_000 - 5_001  # retention would delete an old one

    delivered = await deliver(
        topic,
        [Outgoing(key, b"to " + key, timestamp_ms=at_ms) for key in keys],
        PATIENCE_S,
    )

    assert [each.partition for each in delivered] == [partition_of(key, 4) for key in keys]
    for partition in range(4):
        mine = [key for key in keys if partition_of(key, 4) == partition]
        found = await broker.logged(TOPIC.name, partition)
        assert [(each.key, each.value) for each in found] == [(key, b"to " + key) for key in mine]
        assert {each.timestamp for each in found} <= {at_ms}
        offsets = [each.offset for each in delivered if each.partition == partition]
        assert offsets == [each.offset for each in found]
