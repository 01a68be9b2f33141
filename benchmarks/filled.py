"""Servers with filled topics, worker processes over them, and when their work became durable."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from benchmarks.fold import EXPERIMENTS, NOW_MS, PARTITIONS, VARIANTS, Logged
from schemas import catalogue
from streams.kafka.admin import create_topics
from streams.local.children import Child
from streams.local.tansu import start_tansu
from streams.local.valkey import start_valkey
from streams.model.events import Command, CommandKind
from streams.model.ids import experiment_id
from streams.settings import ENVIRONMENT_PREFIX, Settings
from streams.wire.commands import encode_command
from streams.worker.partition_processor import progress_key
from streams.worker.tables import unpack

ROOT = Path(__file__).resolve().parent.parent
LOOK_EVERY_S = 0.2
PATIENCE_S = 180.0
WORKER_GRACE_S = 8.0
SESSION_S = 10  # the default
EMBEDDED_SESSION_S = 6  # as `experiment up` has it: the broker takes half of it to form a group
VARIANT_NAMES = "abcdefgh"


@dataclass(frozen=True, slots=True)
class Filled:
    """An installation whose source topic is full before any worker starts.

    Attributes:
        settings: How to reach it.
        directory: For the logs of the processes.
        topic: The source topic.
        records: How many it holds.
        events: How many those hold.
    """

    settings: Settings
    directory: Path
    topic: catalogue.Topic
    records: int
    events: int

    @property
    def name(self) -> str:
        """Full name of the topic."""
        return self.topic.full_name(self.settings.topic_prefix)


@contextlib.asynccontextmanager
async def filled(
    topic: catalogue.Topic, records: Sequence[Logged], events: int, kafka_url: str | None = None
) -> AsyncIterator[Filled]:
    """Start the servers, append the commands that start 100 experiments, and fill `topic`.

    Args:
        topic: The source topic.
        records: What it receives; records without a key go round.
        events: How many events they hold.
        kafka_url: A Kafka to use instead of the embedded broker. What is made there is removed.
    """
    async with contextlib.AsyncExitStack() as resources:
        directory = Path(
            resources.enter_context(tempfile.TemporaryDirectory(prefix="experiment-benchmark-"))
        )
        if kafka_url is None:
            broker, url = await start_tansu(directory)
            resources.push_async_callback(broker.stop)
        else:
            url = kafka_url
        valkey, redis_url = await start_valkey(directory)
        resources.push_async_callback(valkey.stop)
        settings = Settings(
            kafka_url=url,
            redis_url=redis_url,
            topic_prefix=f"bench-{secrets.token_hex(4)}-",
            partitions=PARTITIONS,
            receipt_keys=f"1:{bytes(range(32)).hex()}",  # type: ignore[arg-type]  # parsed
            data_dir=directory / "data",
            session_timeout_s=EMBEDDED_SESSION_S if kafka_url is None else SESSION_S,
        )
        await asyncio.to_thread(create_topics, settings)
        if kafka_url is not None:
            resources.push_async_callback(asyncio.to_thread, _delete_topics, settings)
        installation = Filled(settings, directory, topic, len(records), events)
        await asyncio.to_thread(_fill, installation, records)
        yield installation


def _fill(installation: Filled, records: Sequence[Logged]) -> None:
    settings = installation.settings
    commands = catalogue.COMMANDS.full_name(settings.topic_prefix)
    producer = Producer(
        settings.confluent_config()
        | {"linger.ms": 20, "partitioner": "murmur2_random", "compression.type": "lz4"}
    )
    for number in range(EXPERIMENTS):
        for command in commands_of(number):
            producer.produce(commands, encode_command(command), experiment_id(number))
    for number, record in enumerate(records):
        partition = number % PARTITIONS if record.key is None else -1
        while True:
            try:
                producer.produce(installation.name, record.value, record.key, partition)
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    if producer.flush(60):
        raise AssertionError("the broker has not taken all records")


def commands_of(number: int) -> Iterator[Command]:
    """Yield what makes an experiment and starts it."""
    config = {"name": f"Benchmark {number}", "type": "thompson_sampling", "primaryMetric": "click"}
    variants = [
        {"name": name, "isControl": index == 0}
        for index, name in enumerate(VARIANT_NAMES[:VARIANTS])
    ]
    payload = {"config": config, "variants": variants}
    yield Command(secrets.token_hex(16), number, CommandKind.CREATE, NOW_MS, payload)
    yield Command(secrets.token_hex(16), number, CommandKind.START, NOW_MS)


def _delete_topics(settings: Settings) -> None:
    admin = AdminClient(settings.confluent_config())
    names = [name for name in admin.list_topics().topics if name.startswith(settings.topic_prefix)]
    for answer in admin.delete_topics(names).values():
        answer.result()


def worker(installation: Filled, name: str) -> Child:
    """Return a worker process, which is not started yet."""
    settings = installation.settings
    variables = {
        "KAFKA_URL": settings.kafka_url,
        "REDIS_URL": settings.redis_url,
        "TOPIC_PREFIX": settings.topic_prefix,
        "PARTITIONS": str(settings.partitions),
        "SESSION_TIMEOUT_S": str(settings.session_timeout_s),
        "RECEIPT_KEYS": settings.signing_keys,
        "DATA_DIR": str(settings.data_dir / name),
        "LOG_LEVEL": "WARNING",
    }
    environment = {f"{ENVIRONMENT_PREFIX}{key}": value for key, value in variables.items()}
    return Child(
        name,
        (sys.executable, "-m", "streams.worker"),
        os.environ | environment | {"PYTHONPATH": str(ROOT)},
        installation.directory,
        WORKER_GRACE_S,
    )


@contextlib.asynccontextmanager
async def running(children: Sequence[Child]) -> AsyncIterator[None]:
    """Run processes while the block does."""
    async with contextlib.AsyncExitStack() as resources:
        for child in children:
            await child.start()
            resources.push_async_callback(child.stop)
        yield


@dataclass(frozen=True, slots=True)
class Step:
    """A progress record of a worker: so much of a partition is durable.

    Attributes:
        at_s: When it was written, seconds since the epoch.
        partition: The partition.
        records: How many of its records are durable.
    """

    at_s: float
    partition: int
    records: int


@dataclass(slots=True)
class SourceProgress:
    """Progress on the source topic by the changelog.

    It is the worker's own record, written alone and last, and has the time in it: so the worker
    need not be asked, and looking seldom costs no exactness.

    Attributes:
        steps: Everything read so far, in order of time.
    """

    installation: Filled
    steps: list[Step] = field(default_factory=list)

    @property
    def records(self) -> int:
        """Number of durable records."""
        return sum({step.partition: step.records for step in self.steps}.values())

    async def until(self, condition: Callable[[], bool]) -> None:
        """Read on until `condition` holds.

        Raises:
            TimeoutError: it takes too long.
        """
        settings, topic = self.installation.settings, self.installation.topic.name
        changelog = catalogue.changelog(f"{topic}-state").full_name(settings.topic_prefix)
        consumer = Consumer(
            settings.confluent_config()
            | {"group.id": secrets.token_hex(8), "enable.auto.commit": False}
        )
        self.steps.clear()
        consumer.assign([TopicPartition(changelog, p, 0) for p in range(PARTITIONS)])
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not condition():
                    await asyncio.sleep(LOOK_EVERY_S)
                    await asyncio.to_thread(self._read, consumer)
        finally:
            await asyncio.to_thread(consumer.close)

    def _read(self, consumer: Consumer) -> None:
        keys = {progress_key(self.installation.name, p): p for p in range(PARTITIONS)}
        while messages := consumer.consume(10_000, LOOK_EVERY_S):
            for message in messages:
                key, value = message.key(), message.value()
                if key in keys and value is not None:
                    at_s = message.timestamp()[1] / 1000
                    self.steps.append(Step(at_s, keys[key], unpack(value)[0] + 1))
        self.steps.sort(key=lambda step: (step.at_s, step.partition, step.records))

    def rate(self) -> float:
        """Return the events per second from the first durable progress to the last one.

        The first batch of every partition does not count: it may have been folded by then.
        """
        first: dict[int, int] = {}
        for step in self.steps:
            first.setdefault(step.partition, step.records)
        records = self.records - sum(first.values())
        seconds = self.steps[-1].at_s - self.steps[0].at_s
        return records / seconds * self.installation.events / self.installation.records


async def killed_at_half(installation: Filled) -> float:
    """Return the seconds from the SIGKILL of a worker in mid-work to the next durable batch.

    Another one is started at once, as a supervisor does. It waits for the session of the dead one
    to time out, and recovers its tables.
    """
    first, second = worker(installation, "killed"), worker(installation, "next")
    progress = SourceProgress(installation)
    async with running([first]):
        await progress.until(lambda: progress.records >= installation.records / 2)
        assert first.pid is not None, first.tail()  # noqa: S101 - it has just written
        os.kill(first.pid, signal.SIGKILL)
        killed_s = time.time()
        async with running([second]):
            await progress.until(lambda: bool(_after(progress.steps, killed_s)))
    return min(step.at_s for step in _after(progress.steps, killed_s)) - killed_s


def _after(steps: Sequence[Step], at_s: float) -> list[Step]:
    return [step for step in steps if step.at_s > at_s]
