"""A whole worker over a broker in memory: its real app, agents, tables and tasks."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

import faust
import pytest
from faust.types import TP

from schemas import catalogue
from streams.model.events import (
    Answer,
    Command,
    CommandKind,
    ImpressionBatch,
    ImpressionGroup,
    Observation,
)
from streams.model.generations import Generations
from streams.model.ids import experiment_id
from streams.model.partitioning import partition_of
from streams.model.quantities import MICRO, PROPENSITY_ONE
from streams.model.receipts import Keyring, Receipt
from streams.settings import Settings
from streams.wire.batch_tags import sealer
from streams.wire.commands import encode_command
from streams.wire.dead_letters import decode_dead_letter
from streams.wire.framing import Framing
from streams.wire.impressions import encode_impression_batch
from streams.wire.observations import encode_observation
from streams.wire.records import SINGLE_OBJECT
from streams.worker import topology
from streams.worker.app import make_app
from streams.worker.identities import TopicIdentities
from streams.worker.projector import Projector
from streams.worker.tables import DurableTable
from streams.worker.transport import BatchingTransport
from tests.patience import patience
from tests.twins.kafka import MemoryBroker, MemoryThread, connect
from tests.twins.projection import MemoryProjection

T = TypeVar("T")
EXPERIMENT = 7
NAME = experiment_id(EXPERIMENT)
NOW_MS = 1_700_000_000_000
KEYRING = Keyring({1: bytes(range(32))})
SEAL = sealer(KEYRING)
DEFINITION: dict[str, Any] = {
    "config": {"name": "test", "type": "thompson_sampling", "primaryMetric": "click"},
    "variants": [{"name": "a", "isControl": True}, {"name": "b"}],
}
SOURCES = (catalogue.COMMANDS, catalogue.TALLIES, catalogue.IMPRESSIONS, catalogue.OBSERVATIONS)


@dataclass
class Follower:
    """The only generation there is."""

    is_active: bool = True
    generation: int = 1
    generations: Generations = field(default_factory=Generations)

    def fence(self, _topic: str, _partition: int) -> None:
        return None


class Installation:
    """A broker and a Redis in memory, and what producers send."""

    def __init__(self, directory: Path) -> None:
        self.settings = Settings(
            partitions=2, data_dir=directory, commit_interval_s=0.05, tally_emit_interval_ms=10
        )
        self.broker = MemoryBroker(2)
        self.projection = MemoryProjection()
        self.generation = 0
        self._sequence = 0

    def command(self, kind: CommandKind, payload: Any = None) -> str:
        command_id = secrets.token_hex(16)
        made = Command(command_id, EXPERIMENT, kind, NOW_MS, payload or {})
        self._send(catalogue.COMMANDS, NAME.encode(), encode_command(made))
        return command_id

    def assign(self, *units: int) -> None:
        """Send a batch of impressions; even units have the first variant."""
        group = ImpressionGroup(
            experiment=EXPERIMENT,
            repeatable=False,
            variants=[unit % 2 for unit in units],
            propensities=[PROPENSITY_ONE // 2] * len(units),
            allocation_versions=[2] * len(units),
            assigned_at_ms=[NOW_MS] * len(units),
            units=list(units),
        )
        batch = ImpressionBatch(1, 0, self._sequence, [group])
        self._sequence += 1
        self._send(
            catalogue.IMPRESSIONS,
            None,
            SEAL(catalogue.IMPRESSIONS.name, 0, encode_impression_batch(batch)),
            0,
        )

    def observe(self, unit: int, partition: int | None = None) -> None:
        """Send a click; the same one each time."""
        receipt = KEYRING.sign(
            Receipt(EXPERIMENT, unit % 2, PROPENSITY_ONE // 2, 2, NOW_MS, unit, 86_400)
        )
        click = Observation(receipt, "click", MICRO, f"click of {unit}", NOW_MS + 1)
        self._send(catalogue.OBSERVATIONS, receipt.encode(), encode_observation(click), partition)

    def send_poison(self) -> None:
        self._send(catalogue.OBSERVATIONS, b"", b"poison", 1)

    def _send(
        self, topic: catalogue.Topic, key: bytes | None, value: bytes, partition: int | None = None
    ) -> None:
        if partition is None:
            partition = partition_of(cast(bytes, key), self.broker.partitions)
        self.broker.append(TP(self.settings.topic_name(topic), partition), key, value, NOW_MS)

    def counts(self) -> list[tuple[int, int]]:
        """Return (units, clicks) of each variant, as Redis has them."""
        snapshot = self.projection.find(NAME)
        return (
            [] if snapshot is None else [(v.assignments, v.observations) for v in snapshot.variants]
        )

    async def reach(self, counts: Sequence[tuple[int, int]]) -> None:
        """Wait until Redis has these counts."""
        await until(lambda: self.counts() == list(counts))

    def answer(self, command_id: str) -> Answer | None:
        return self.projection.answers.get(command_id)

    def letters(self) -> set[str]:
        """Return the codes of the dead letters."""
        return {
            decode_dead_letter(record.value).code
            for partition in range(2)
            for record in self.broker.read(TP(catalogue.DEAD_LETTERS.name, partition))
        }

    @property
    def is_committed(self) -> bool:
        """Whether everything that was sent is committed."""
        ends = {tp: self.broker.end(tp) for tp in self.tps(0, 1)}
        return all(self.broker.committed.get(tp, 0) == end for tp, end in ends.items())

    async def rebalance(self, partitions: Mapping[MemoryThread, Sequence[int]]) -> None:
        """Distribute the partitions among the workers again."""
        self.generation += 1
        for thread in partitions:
            await thread.revoke()
        for thread, numbers in partitions.items():
            await thread.take(self.tps(*numbers), self.generation)

    def tps(self, *partitions: int) -> list[TP]:
        """Return the source partitions of these numbers."""
        return [
            TP(self.settings.topic_name(topic), partition)
            for topic in SOURCES
            for partition in partitions
        ]


@asynccontextmanager
async def worker(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, *partitions: int
) -> AsyncIterator[MemoryThread]:
    """Run a worker that has these partitions."""
    settings, broker = installation.settings, installation.broker
    monkeypatch.setattr(topology, "KafkaSource", lambda _: broker.log)
    app = make_app(settings)
    app.loop = asyncio.get_running_loop()
    topology.attach(
        app,
        settings,
        Framing(SINGLE_OBJECT),
        KEYRING,
        Projector(cast(Any, installation.projection.writer()), "worker"),
        cast(Any, Follower()),
        TopicIdentities(settings, []),
    )
    thread = connect(app, broker)
    app.finalize()
    starting = asyncio.create_task(app.start())
    try:
        await until(lambda: thread.subscribed)
        if partitions:
            await installation.rebalance({thread: partitions})
        yield thread
    finally:
        starting.cancel()
        await app.stop()


async def until(condition: Callable[[], T]) -> T:
    """Return the first truthy value of `condition`."""
    async with patience():
        while not (value := condition()):  # noqa: ASYNC110 - of whatever the worker does
            await asyncio.sleep(0.01)
    return value


@pytest.fixture
def installation(tmp_path) -> Installation:
    return Installation(tmp_path)


async def test_events_become_statistics_and_nothing_counts_twice(installation, monkeypatch):
    create = installation.command(CommandKind.CREATE, DEFINITION)
    start = installation.command(CommandKind.START)
    async with worker(installation, monkeypatch, 0, 1):
        await until(lambda: installation.answer(start))
        installation.assign(*range(20))
        for unit in (0, 1, 2, 3, 1):
            installation.observe(unit)
        installation.observe(5, partition=0)
        installation.observe(5, partition=1)  # one of the two is misplaced, and moved
        installation.send_poison()
        await installation.reach([(10, 2), (10, 3)])
        await until(lambda: installation.is_committed)

    assert installation.answer(create).accepted
    assert installation.letters() == {"UNDECODABLE_RECORD"}
    assert installation.projection.heartbeats()


async def test_the_next_worker_goes_on_where_the_last_one_ended(installation, monkeypatch):
    installation.command(CommandKind.CREATE, DEFINITION)
    installation.command(CommandKind.START)
    installation.assign(*range(20))
    for unit in (0, 1, 2, 3):
        installation.observe(unit)
    async with worker(installation, monkeypatch, 0, 1):
        await installation.reach([(10, 2), (10, 2)])
    installation.projection.flush()

    installation.observe(3)
    installation.observe(5)
    async with worker(installation, monkeypatch, 0, 1):
        await installation.reach([(10, 2), (10, 3)])
        await until(lambda: installation.is_committed)


async def test_a_partition_that_moves_between_workers_counts_what_it_counted(
    installation, monkeypatch
):
    """The one that gives it up, the one that takes it, and the first one again."""
    installation.command(CommandKind.CREATE, DEFINITION)
    installation.command(CommandKind.START)
    installation.assign(*range(20))
    installation.observe(0)
    async with (
        worker(installation, monkeypatch, 0, 1) as first,
        worker(installation, monkeypatch) as second,
    ):
        await installation.reach([(10, 1), (10, 0)])
        for unit, (of_first, of_second) in enumerate((((0,), (1,)), ((1,), (0,)), ((0, 1), ()))):
            await installation.rebalance({first: of_first, second: of_second})
            installation.observe(2 * unit + 1)
            installation.observe(2 * unit + 2)
            installation.observe(0)  # counted before
            expected = [(10, unit + 2), (10, unit + 1)]
            await installation.reach(expected)
        await until(lambda: installation.is_committed)


async def test_the_first_subscription_has_every_source_and_changelog(installation, monkeypatch):
    """Faust adds what comes later after 45 s."""
    async with worker(installation, monkeypatch) as thread:
        wanted = (*SOURCES, *catalogue.CHANGELOGS)
        assert set(thread.subscribed) == {installation.settings.topic_name(t) for t in wanted}


def test_the_app_has_the_settings_that_its_guarantees_depend_on(installation):
    app = make_app(installation.settings)
    conf = app.conf

    assert isinstance(app.transport, BatchingTransport)
    assert conf.producer_acks == -1
    assert not conf.producer_threaded
    assert str(conf.store) == "memory:"
    assert conf.consumer_auto_offset_reset == "earliest"
    assert (conf.key_serializer, conf.value_serializer) == ("raw", "raw")
    assert (conf.topic_allow_declare, conf.table_standby_replicas) == (False, 0)
    assert conf.broker_session_timeout < conf.broker_request_timeout
    assert conf.broker_credentials is None


def test_every_agent_has_a_durable_table_of_the_partitions_of_its_sources(
    installation, monkeypatch
):
    app = make_app(installation.settings)
    topology.attach(
        app,
        installation.settings,
        Framing(SINGLE_OBJECT),
        KEYRING,
        Projector(cast(Any, installation.projection.writer()), "worker"),
        cast(Any, Follower()),
        TopicIdentities(installation.settings, []),
    )

    assert app.resume.keys() == {topic.name for topic in SOURCES}
    assert {
        (table.changelog_topic_name, type(table), table.partitions) for table in app.tables.values()
    } == {(topic.name, DurableTable, 2) for topic in catalogue.CHANGELOGS}


@pytest.mark.parametrize(
    ("protocol", "kind"),
    [
        ("PLAINTEXT", type(None)),
        ("SSL", faust.SSLCredentials),
        ("SASL_PLAINTEXT", faust.SASLCredentials),
        ("SASL_SSL", faust.SASLCredentials),
    ],
)
def test_the_credentials_are_those_of_the_security_protocol(protocol, kind):
    security: Any = {"security_protocol": protocol}
    if protocol.startswith("SASL"):
        security |= {
            "sasl_mechanism": "SCRAM-SHA-256",
            "sasl_username": "worker",
            "sasl_password": "secret",
        }

    credentials: Any = make_app(Settings(**security)).conf.broker_credentials

    assert type(credentials) is kind
    if kind is faust.SASLCredentials:
        assert (credentials.username, credentials.password) == ("worker", "secret")
        assert credentials.mechanism.value == "SCRAM-SHA-256"
        assert (credentials.ssl_context is not None) == (protocol == "SASL_SSL")
    if kind is faust.SSLCredentials:
        assert credentials.context is not None
