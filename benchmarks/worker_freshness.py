"""Freshness within a worker, on a clock that others do not disturb: processor time and waits.

    python -m benchmarks.worker_freshness [--seconds 8] [--rate 500] [--experiments 10] [--speed 1]
        [--round-trip 0.002] [--partitions 2]

`benchmarks.freshness` measures the whole stack, and on a machine that others use, mostly them.
Here a whole worker, its real app, agents, tables and tasks, runs over a broker and a Redis in
memory. The clock counts the processor time of its thread and the waits of its timers. The broker
looks for records at the beginning, the middle and the end of the time for which it may hold a
fetch, as the embedded one does, and acknowledges a write after `--round-trip` seconds. What is not
in it: the API, the network, and the threads of the clients.

Background traffic is `rate` single observations a second to `experiments` Thompson experiments; a
probe is one to one more experiment, until its new snapshot is announced.
"""

# ruff: noqa: I001 - the clock comes first
from __future__ import annotations

from benchmarks.virtual_time import CLOCK, VirtualLoop

import argparse
import asyncio
import bisect
import gc
import itertools
import os
import random
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, cast

import numpy as np
from aiokafka.structs import ConsumerRecord
from faust.types import TP

from schemas import catalogue
from streams.local.plan import EMBEDDED_PARTITIONS
from streams.model.events import Command, CommandKind, Observation
from streams.model.generations import Generations
from streams.model.ids import experiment_id
from streams.model.partitioning import partition_of
from streams.model.quantities import MICRO, PROPENSITY_ONE
from streams.model.receipts import Keyring, Receipt
from streams.settings import Settings
from streams.wire.commands import encode_command
from streams.wire.framing import Framing
from streams.wire.observations import encode_observation
from streams.wire.records import SINGLE_OBJECT
from streams.worker import metrics, topology
from streams.worker.app import make_app
from streams.worker.identities import TopicIdentities
from streams.worker.projector import Projector
from streams.worker.transport import MAX_BATCH_RECORDS, BatchingApp, FetchWait
from tests.twins.kafka import (
    MemoryBroker,
    MemoryConsumer,
    MemoryProducer,
    MemoryThread,
    MemoryTransport,
    Process,
)
from tests.twins.projection import MemoryProjection

HALF_TRIP_S = 0.0007
"""Time of a fetch from a process to the other."""

LOOKS = 3
NOW_MS = 1_700_000_000_000
LOOK_S = 0.1
SETTLE_S = 3.0
PAUSES_S = 0.08, 0.12
PATIENCE_S = 30.0
KEYRING = Keyring({1: bytes(range(32))})
DEFINITION = {
    "config": {"name": "test", "type": "thompson_sampling", "primaryMetric": "click"},
    "variants": [{"name": "A", "isControl": True}, {"name": "B"}, {"name": "C"}],
}
HOPS = ("to its cell durable", "to announced")


class Appended(NamedTuple):
    """A record that a worker has written."""

    at_s: float
    topic: str
    key: bytes | None


class Broker(MemoryBroker):
    """A log in memory that is read from an offset on without a look at what is before."""

    def __init__(self, partitions: int) -> None:
        super().__init__(partitions)
        self.appended: list[Appended] = []
        self.fetches = 0

    def append(self, tp: TP, key: bytes | None, *args: Any, **options: Any) -> int:
        """Append a record, note when, and return its offset."""
        self.appended.append(Appended(CLOCK(), tp.topic, key))
        return super().append(tp, key, *args, **options)

    def has(self, tp: TP, offset: int) -> bool:
        """Return whether there is a record at an offset or behind it."""
        return self.end(tp) > offset

    def read(self, tp: TP, offset: int = 0) -> list[ConsumerRecord[Any, Any]]:
        """Return the records from an offset on."""
        records = self.log.topics[tp.topic, tp.partition]
        first = bisect.bisect_left(records, offset, key=lambda record: record.offset)
        return [self._record(tp, each) for each in records[first : first + MAX_BATCH_RECORDS]]


class Thread(MemoryThread):
    """A thread of which one fetch is always on its way."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._fetch_wait = FetchWait(CLOCK)
        self._fetching: asyncio.Task[None] | None = None

    async def getmany(self, active_partitions: set[TP] | None, timeout: float) -> Any:
        """Return what the fetch has brought, and begin the next one."""
        if self._fetching is None:
            self._fetching = asyncio.create_task(self._fetch())
        done, _ = await asyncio.wait([self._fetching], timeout=timeout)
        if not done:
            return {}
        asked = (active_partitions or self._offsets.keys()) & self._offsets.keys()
        fetched = {tp: self._kafka.read(tp, self._offsets[tp]) for tp in sorted(self._ready(asked))}
        self._offsets |= {tp: records[-1].offset + 1 for tp, records in fetched.items()}
        self._fetching = asyncio.create_task(self._fetch())
        return fetched

    async def _fetch(self) -> None:
        broker, has_records = cast(Broker, self._kafka), False
        while not has_records:
            broker.fetches += 1
            wait_s = self._fetch_wait.after_fetch(has_records=False) / 1e3
            await asyncio.sleep(HALF_TRIP_S)
            for look in range(LOOKS):
                has_records = bool(self._ready(self._offsets.keys()))
                if has_records or look == LOOKS - 1:
                    break
                await asyncio.sleep(wait_s / (LOOKS - 1))
            await asyncio.sleep(HALF_TRIP_S)
        self._fetch_wait.after_fetch(has_records=True)

    def _ready(self, tps: Any) -> set[TP]:
        return {tp for tp in tps if cast(Broker, self._kafka).has(tp, self._offsets[tp])}


class Consumer(MemoryConsumer):
    """A consumer over a `Thread`."""

    def _new_consumer_thread(self) -> MemoryThread:
        log = cast(MemoryTransport, self.transport).log
        return Thread(self, log, loop=self.loop, beacon=self.beacon)


class Transport(MemoryTransport):
    """The transport of a worker over a `Broker`."""

    Consumer = Consumer


class Producer(MemoryProducer):
    """A producer whose writes are acknowledged after a round trip.

    Attributes:
        round_trip_s: Time until a write is acknowledged.
    """

    round_trip_s: ClassVar[float]

    def _run_broker(self) -> None:
        asyncio.get_running_loop().call_later(self.round_trip_s, super()._run_broker)


@dataclass
class Follower:
    """The only generation there is."""

    is_active: bool = True
    generation: int = 1
    generations: Generations = Generations()  # noqa: RUF009 - immutable

    def fence(self, _topic: str, _partition: int) -> None:
        """Have everything read."""


class Traffic:
    """Records of producers, on their way to the broker.

    Args:
        settings: Names of topics.
        broker: Where it goes.
    """

    def __init__(self, settings: Settings, broker: Broker) -> None:
        self._settings = settings
        self._broker = broker
        self._units = itertools.count(1)

    def create(self, number: int) -> str:
        """Have an experiment created and started, and return the id of the last command."""
        commands: dict[CommandKind, Any] = {CommandKind.CREATE: DEFINITION, CommandKind.START: {}}
        for index, (kind, payload) in enumerate(commands.items()):
            made = Command(f"{2 * number + index:032x}", number, kind, NOW_MS, payload)
            self._send(catalogue.COMMANDS, experiment_id(number).encode(), encode_command(made))
        return made.command_id

    def click(self, number: int) -> tuple[bytes, bytes]:
        """Return the key and the value of an observation of another unit."""
        unit = next(self._units)
        receipt = Receipt(number, unit % 3, PROPENSITY_ONE // 3, 2, NOW_MS, unit, 86_400)
        signed = KEYRING.sign(receipt)
        click = Observation(signed, "click", MICRO, f"click of {unit}", NOW_MS + 1)
        return signed.encode(), encode_observation(click)

    def observe(self, key: bytes, value: bytes) -> None:
        """Send an observation."""
        self._send(catalogue.OBSERVATIONS, key, value)

    async def load(self, clicks: Sequence[tuple[bytes, bytes]], rate: float) -> None:
        """Send observations at a steady rate."""
        began_s = CLOCK()
        for number, click in enumerate(clicks):
            await asyncio.sleep(began_s + number / rate - CLOCK())
            self.observe(*click)

    def _send(self, topic: catalogue.Topic, key: bytes, value: bytes) -> None:
        tp = TP(self._settings.topic_name(topic), partition_of(key, self._settings.partitions))
        self._broker.append(tp, key, value, NOW_MS)


async def main(arguments: argparse.Namespace, directory: Path) -> None:
    """Measure, and print a table."""
    settings = Settings(partitions=arguments.partitions, data_dir=directory)
    broker, redis = Broker(settings.partitions), MemoryProjection()
    traffic = Traffic(settings, broker)
    probed = arguments.experiments + 1
    last = [traffic.create(number) for number in range(1, probed + 1)][-1]
    thread, app = _worker(settings, broker, redis)
    starting = asyncio.create_task(app.start())
    while not thread.subscribed:  # noqa: ASYNC110
        await asyncio.sleep(LOOK_S)
    sources = (catalogue.COMMANDS, catalogue.TALLIES, catalogue.IMPRESSIONS, catalogue.OBSERVATIONS)
    names = [settings.topic_name(topic) for topic in sources]
    await thread.assign([TP(name, n) for name in names for n in range(settings.partitions)], 1)
    await starting
    while last not in redis.answers:  # noqa: ASYNC110 - of whatever the worker does
        await asyncio.sleep(LOOK_S)
    numbers = itertools.cycle(range(1, probed))
    wanted = int(arguments.rate * (arguments.seconds + PATIENCE_S))
    clicks = [traffic.click(next(numbers)) for _ in range(wanted)]
    gc.collect()
    gc.freeze()
    background = asyncio.create_task(traffic.load(clicks, arguments.rate))
    await asyncio.sleep(SETTLE_S)
    announced: asyncio.Queue[tuple[str, int]] = asyncio.Queue()
    redis._subscribers.append(announced)  # noqa: SLF001 - a reader would poll
    evaluations = metrics.EVALUATIONS._value.get()  # noqa: SLF001 - no other way
    began_s, used_s, fetches = CLOCK(), CLOCK.used_s, broker.fetches
    hops: list[list[float]] = []
    while CLOCK() < began_s + arguments.seconds:
        hops.append(await _probe(traffic, probed, broker, redis, announced))
        await asyncio.sleep(random.uniform(*PAUSES_S))
    took_s = CLOCK() - began_s
    background.cancel()
    totals = np.array([sum(each) for each in hops]) * 1e3
    print(f"{len(hops)} probes, {_spread(totals)}, max {totals.max():.0f} ms")
    for name, times in zip(HOPS, np.array(hops).T, strict=True):
        print(f"  {name:20} {_spread(times * 1e3)}")
    print(
        f"a second: {(CLOCK.used_s - used_s) / took_s / arguments.speed:.2f} s of the processor, "
        f"{(broker.fetches - fetches) / took_s:.0f} fetches, "
        f"{(metrics.EVALUATIONS._value.get() - evaluations) / took_s:.0f} evaluations"  # noqa: SLF001
    )


def _worker(
    settings: Settings, broker: Broker, redis: MemoryProjection
) -> tuple[MemoryThread, BatchingApp]:
    vars(topology)["KafkaSource"] = lambda _: broker.log
    app = make_app(settings)
    app.loop = asyncio.get_running_loop()
    projector = Projector(cast(Any, redis.writer()), "worker")
    topology.attach(
        app,
        settings,
        Framing(SINGLE_OBJECT),
        KEYRING,
        projector,
        cast(Any, Follower()),
        TopicIdentities(settings, []),
    )
    thread = _connect(app, broker)
    app.finalize()
    return thread, app


def _connect(app: BatchingApp, broker: Broker) -> MemoryThread:
    transport = Transport(app.conf.broker_consumer, cast(Any, app))
    transport.log = broker
    app.transport = cast(Any, transport)
    app.producer = cast(Any, Producer(app, broker, Process(), random.Random(0)))
    return cast(MemoryThread, cast(MemoryConsumer, app.consumer)._thread)  # noqa: SLF001


async def _probe(
    traffic: Traffic,
    number: int,
    broker: Broker,
    redis: MemoryProjection,
    announced: asyncio.Queue[tuple[str, int]],
) -> list[float]:
    """Send an observation, and return the seconds of its hops, in the order of `HOPS`."""
    name = experiment_id(number)
    counted = _counted(redis, name)
    key, value = traffic.click(number)
    broker.appended.clear()
    posted_s = CLOCK()
    traffic.observe(key, value)
    async with asyncio.timeout(PATIENCE_S):
        while (await announced.get())[0] != name or _counted(redis, name) == counted:
            pass
    heard_s = CLOCK()
    entry = catalogue.changelog("observations-state").name, f"c/{name}".encode()
    durable_s = next(each.at_s for each in broker.appended if (each.topic, each.key) == entry)
    times = (posted_s, durable_s, heard_s)
    return [end - begin for begin, end in itertools.pairwise(times)]


def _counted(redis: MemoryProjection, name: str) -> int:
    return sum(variant.observations for variant in redis.snapshot(name).variants)


def _spread(times: np.ndarray[Any, Any]) -> str:
    p50, p90, p99 = np.percentile(times, [50, 90, 99])
    return f"p50 {p50:.0f} ms, p90 {p90:.0f} ms, p99 {p99:.0f} ms"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--rate", type=float, default=500.0)
    parser.add_argument("--experiments", type=int, default=10)
    parser.add_argument("--round-trip", type=float, default=0.002, help="of a write, in seconds")
    parser.add_argument("--partitions", type=int, default=EMBEDDED_PARTITIONS)
    parser.add_argument("--speed", type=float, default=1.0, help="of the processor, over this one")
    return parser.parse_args()


if __name__ == "__main__":
    given = _arguments()
    CLOCK.speed = given.speed
    Producer.round_trip_s = given.round_trip
    with tempfile.TemporaryDirectory() as made, asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(main(given, Path(made)))
        sys.stdout.flush()
        os._exit(0)  # nothing is left that would have to be stopped
