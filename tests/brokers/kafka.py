"""Apache Kafka by Java and Maven: brokers that keep their log over a kill, without Docker."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import secrets
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

from confluent_kafka.admin import AdminClient

from streams.local.children import Child, free_port
from streams.local.tansu import answers_kafka
from tests.brokers.maven import fetched
from tests.patience import PATIENCE_S

HOST = "127.0.0.1"
START_TIMEOUT_S = 60.0
POLL_S = 0.2

_HERE = Path(__file__).parent
_POM = _HERE / "pom.xml"


def resolve_kafka() -> Path:
    """Return the folder with the jars of a broker, fetched the first time.

    Raises:
        ProgramMissingError: Java or Maven is not installed, or Maven cannot resolve the broker.
    """
    return jars_of(_POM)


def jars_of(pom: Path) -> Path:
    """Return the folder with the jars that a project needs, fetched the first time.

    Raises:
        ProgramMissingError: Java or Maven is not installed, or Maven cannot resolve them.
    """
    # The others inherit from the first.
    return fetched("Apache Kafka", "kafka", list(dict.fromkeys((_POM, pom))))


class KafkaCluster:
    """Brokers that are controllers too (KRaft), each with its own log in `directory`.

    Args:
        directory: Receives configurations, logs and the brokers' data.
        n_brokers: How many.
    """

    def __init__(self, directory: Path, n_brokers: int = 1) -> None:
        self._directory = directory
        ports = iter(free_ports(2 * n_brokers))
        self._ports = list(zip(ports, ports, strict=True))
        self._brokers: list[Child] = []

    @property
    def addresses(self) -> list[str]:
        """Addresses of the brokers, as host:port."""
        return [f"{HOST}:{client}" for client, _ in self._ports]

    @property
    def url(self) -> str:
        """All addresses, as clients take them."""
        return ",".join(self.addresses)

    async def start(self) -> None:
        """Format the data directories, start every broker, and return when all answer.

        Raises:
            ProgramMissingError: this machine cannot run it.
            ChildFailedError: a broker ended or stayed silent; the error holds the tail of its log.
        """
        jars = await asyncio.to_thread(resolve_kafka)
        # 16 bytes, of which the first is such that the text does not begin with a dash.
        cluster = base64.urlsafe_b64encode(b"\0" + secrets.token_bytes(15)).decode().rstrip("=")
        java = (
            "java",
            "-Xmx384m",
            "-XX:TieredStopAtLevel=1",  # half the start, and tests are short
            f"-Dlog4j2.configurationFile={_HERE / 'log4j2.properties'}",
            "-cp",
            f"{jars}/*",
        )
        for index in range(len(self._ports)):
            configuration = self._configure(index)
            storage = (*java, "kafka.tools.StorageTool", "format")
            await asyncio.to_thread(
                _run, (*storage, "-t", cluster, "-c", str(configuration), *self._format_options())
            )
            command = (*java, "kafka.Kafka", str(configuration))
            broker = Child(f"kafka-{index}", command, os.environ, self._directory, grace_s=15.0)
            self._brokers.append(broker)
            await broker.start()
        for index in range(len(self._brokers)):
            await self._ready(index)

    async def kill(self, index: int) -> None:
        """End a broker without warning; what it had acknowledged is in its log."""
        self._signal(index, signal.SIGKILL)
        await self._brokers[index].ended()

    async def restart(self, index: int) -> None:
        """Start a killed broker again on its log, and return when it answers."""
        await self._brokers[index].start()
        await self._ready(index)

    async def in_sync(self) -> None:
        """Return when every replica has what its leader has.

        Raises:
            TimeoutError: that takes too long.
        """
        async with asyncio.timeout(START_TIMEOUT_S):
            while not await asyncio.to_thread(_is_in_sync, self.url):  # noqa: ASYNC110 - Kafka's
                await asyncio.sleep(POLL_S)

    def freeze(self, index: int) -> None:
        """Have a broker stop answering, connections and all, until it is thawed."""
        self._signal(index, signal.SIGSTOP)

    def thaw(self, index: int) -> None:
        """Have a frozen broker continue."""
        self._signal(index, signal.SIGCONT)

    async def stop(self) -> None:
        """Stop every broker."""
        await asyncio.gather(*(broker.stop() for broker in self._brokers))

    def pid(self, index: int) -> int:
        """Return the process of a running broker."""
        pid = self._brokers[index].pid
        assert pid is not None, "the broker does not run"
        return pid

    def _signal(self, index: int, number: signal.Signals) -> None:
        os.kill(self.pid(index), number)

    async def _ready(self, index: int) -> None:
        address = self.addresses[index]
        await self._brokers[index].ready(lambda: answers_kafka(address), START_TIMEOUT_S)

    def _format_options(self) -> tuple[str, ...]:
        """Return further options of the tool that formats the data directories."""
        return ()

    def _configure(self, index: int) -> Path:
        client, controller = self._ports[index]
        voters = ",".join(f"{n}@{HOST}:{port}" for n, (_, port) in enumerate(self._ports))
        replicas = len(self._ports)
        in_sync = max(1, replicas - 1)
        configuration = self._directory / f"kafka-{index}.properties"
        configuration.parent.mkdir(parents=True, exist_ok=True)
        configuration.write_text(
            f"""\
process.roles=broker,controller
node.id={index}
controller.quorum.voters={voters}
controller.listener.names=CONTROLLER
listeners=CLIENT://{HOST}:{client},CONTROLLER://{HOST}:{controller}
listener.security.protocol.map=CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=CLIENT
log.dirs={self._directory / f"kafka-{index}-data"}
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
offsets.topic.num.partitions=4
offsets.topic.replication.factor={replicas}
transaction.state.log.replication.factor={replicas}
transaction.state.log.min.isr={in_sync}
# Tests write records of years ago, which retention would take from under them: at the first check,
# 30 s after the start, and at every further one.
log.initial.task.delay.ms=86400000
log.retention.check.interval.ms=86400000
"""
        )
        return configuration


def _run(command: tuple[str, ...]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def free_ports(count: int) -> list[int]:
    """Return different ports that servers can listen on."""
    return [free_port(HOST) for _ in range(count)]


def _is_in_sync(url: str) -> bool:
    topics = (
        AdminClient({"bootstrap.servers": url, "log_level": 0})
        .list_topics(timeout=PATIENCE_S)
        .topics
    )
    return all(
        len(partition.isrs) == len(partition.replicas)
        for topic in topics.values()
        for partition in topic.partitions.values()
    )


@contextlib.asynccontextmanager
async def kafka_cluster(directory: Path, n_brokers: int = 1) -> AsyncIterator[KafkaCluster]:
    """Yield a running cluster that is gone afterwards."""
    cluster = KafkaCluster(directory, n_brokers)
    try:
        await cluster.start()
        yield cluster
    finally:
        await cluster.stop()
