"""Real servers for the integration tests: embedded, Apache Kafka by Java, containers, by URL."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import NoReturn
from unittest.mock import patch

import hypothesis
import pytest

from schemas import library
from streams.local.children import free_port
from streams.local.tansu import start_tansu
from streams.local.valkey import start_valkey
from streams.settings import Settings
from streams.wire.records import SINGLE_OBJECT
from streams.wire.schema_gate import readable
from tests.brokers.kafka import kafka_cluster
from tests.brokers.maven import ProgramMissingError
from tests.directory_nodes import pytest_collect_directory  # noqa: F401 - a hook
from tests.processes.forked import ForkServer, forking
from tests.schemas.next_version import copy_with_next_version

KAFKA_IMAGE = "apache/kafka:4.1.1"  # both as in docker-compose.yml
REDIS_IMAGE = "redis:8-alpine"

SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
"""Signals that a command of this project handles."""

MAX_NAME = 100
"""Characters of a value that names a test, at most."""

# A slow machine is not a wrong answer; what an example may cost is bounded by the test's timeout.
# Examples are the same in every run of the same tests, as Hypothesis does in CI: a run says
# something of a change. The profile `searching` draws new ones, for who reads what they find.
for _name, _is_same in (("patient", True), ("searching", False)):
    hypothesis.settings.register_profile(
        _name,
        deadline=None,
        suppress_health_check=[hypothesis.HealthCheck.too_slow],
        derandomize=_is_same,
    )
hypothesis.settings.load_profile("patient")


@dataclass(frozen=True, slots=True)
class Servers:
    """Addresses of a running Kafka and Redis.

    Attributes:
        broker_pid: Process of the broker, where it is one of this machine's own.
    """

    kafka_url: str
    redis_url: str
    broker_pid: int | None = None


class _Turn(IntEnum):
    """Order of a file within a run.

    What waits for servers and restarts comes first, while nothing beside it takes the processor,
    and many short files come last, so that no process has a long one left at the end.
    """

    SERVERS = 0
    SCHEDULES = 1
    SIMULATING = 2
    COMPUTING = 3


def _turn(item: pytest.Item) -> _Turn:
    if "faults" in item.path.parts:
        return _Turn.SCHEDULES
    if item.get_closest_marker("integration") or "servers" in getattr(item, "fixturenames", ()):
        return _Turn.SERVERS
    return _Turn.SIMULATING if item.get_closest_marker("statistical") else _Turn.COMPUTING


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--stack",
        choices=("embedded", "kafka", "docker", "url"),
        default="embedded",
        help="where the integration tests find Kafka and Redis; kafka is Apache Kafka by Java and "
        "Maven beside the embedded Valkey; url reads "
        "EXPERIMENT_TEST_KAFKA_URL and EXPERIMENT_TEST_REDIS_URL",
    )
    parser.addoption(
        "--fault-seed",
        type=int,
        action="append",
        help="random schedules of faults to run, instead of the usual ones; may be repeated",
    )
    parser.addoption(
        "--long",
        action="store_true",
        help="run the tests that take minutes of processor time, too",
    )
    parser.addoption(
        "--soak-minutes",
        type=float,
        default=0.0,
        help="run new random schedules of faults for so long",
    )


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name a long value by its length: every process of a run keeps the names of all tests."""
    if isinstance(val, str | bytes) and len(val) > MAX_NAME:
        return f"{argname} of {len(val)}"
    return None


@pytest.hookimpl(tryfirst=True)  # pytest-xdist reads the groups in this hook, too
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if {"integration", "faults"} & set(item.path.parts):
            item.add_marker("integration")
        if "faults" not in item.path.parts:  # those wait most of the time, and may run side by side
            item.add_marker(pytest.mark.xdist_group(str(item.path.relative_to(config.rootpath))))
    turns: dict[Path, int] = {}
    for item in items:
        turns[item.path] = min(_turn(item), turns.get(item.path, _Turn.COMPUTING))
    items.sort(key=lambda item: turns[item.path])
    # None of these is part of `make test`; each has a separate command.
    unwanted = {
        name
        for name, is_wanted in (
            ("kafka", config.getoption("--stack") == "kafka"),
            ("long", config.getoption("--long")),
            ("soak", bool(config.getoption("--soak-minutes"))),
        )
        if not is_wanted
    }
    others = [item for item in items if unwanted & {mark.name for mark in item.iter_markers()}]
    config.hook.pytest_deselected(items=others)
    items[:] = [item for item in items if item not in set(others)]


@pytest.fixture(scope="session")
def servers(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    fork_server: ForkServer,
) -> Iterator[Servers]:
    """A Kafka and a Redis that answer, shared by all tests of the run; see `settings`."""
    fork_server.start()  # it imports while these start
    match request.config.getoption("--stack"):
        case "kafka":
            running = _kafka_servers(tmp_path_factory.mktemp("servers"))
        case "docker":
            running = _docker_servers()
        case "url":
            running = _servers_by_url()
        case _:
            running = _embedded_servers(tmp_path_factory.mktemp("servers"))
    with running as addresses:
        yield addresses


@pytest.fixture(scope="session")
def kafka_url(servers: Servers) -> str:
    return servers.kafka_url


@pytest.fixture(scope="session")
def redis_url(servers: Servers) -> str:
    return servers.redis_url


@pytest.fixture
def settings(servers: Servers, tmp_path: Path) -> Settings:
    """A separate installation on the shared servers: prefix, namespace, key and directory."""
    name = f"test-{secrets.token_hex(4)}"
    return Settings(
        kafka_url=servers.kafka_url,
        redis_url=servers.redis_url,
        topic_prefix=f"{name}-",
        namespace=name,
        partitions=4,
        session_timeout_s=6,
        receipt_keys=f"1:{secrets.token_hex(32)}",  # type: ignore[arg-type]
        api_port=0,
        data_dir=tmp_path / "data",
    )


@contextlib.contextmanager
def _embedded_servers(directory: Path) -> Iterator[Servers]:
    with asyncio.Runner() as runner:
        broker, kafka_url = runner.run(start_tansu(directory))
        try:
            valkey, redis_url = runner.run(start_valkey(directory))
            try:
                yield Servers(kafka_url, redis_url, broker.pid)
            finally:
                runner.run(valkey.stop())
        finally:
            runner.run(broker.stop())


@contextlib.contextmanager
def _kafka_servers(directory: Path) -> Iterator[Servers]:
    with asyncio.Runner() as runner:
        stack = contextlib.AsyncExitStack()
        try:
            cluster = runner.run(stack.enter_async_context(kafka_cluster(directory)))
            valkey, redis_url = runner.run(start_valkey(directory))
            stack.push_async_callback(valkey.stop)
            yield Servers(cluster.url, redis_url, cluster.pid(0))
        except ProgramMissingError as error:
            _missing(str(error))
        finally:
            runner.run(stack.aclose())


@contextlib.contextmanager
def _docker_servers() -> Iterator[Servers]:
    import docker  # noqa: PLC0415 - only this option needs Docker's client
    from testcontainers.community.redis import RedisContainer  # noqa: PLC0415
    from testcontainers.core.container import DockerContainer  # noqa: PLC0415
    from testcontainers.core.wait_strategies import LogMessageWaitStrategy  # noqa: PLC0415

    try:
        docker.from_env().ping()
    except docker.errors.DockerException as error:
        _missing(f"Docker does not answer: {error}")
    port = free_port()  # the broker must know, before it starts, how it is reached
    kafka = (
        DockerContainer(KAFKA_IMAGE)
        .with_bind_ports(9092, port)
        .with_envs(
            KAFKA_NODE_ID="1",
            KAFKA_PROCESS_ROLES="broker,controller",
            KAFKA_CONTROLLER_QUORUM_VOTERS="1@localhost:9093",
            KAFKA_CONTROLLER_LISTENER_NAMES="CONTROLLER",
            KAFKA_LISTENERS="CLIENT://:9092,CONTROLLER://:9093",
            KAFKA_ADVERTISED_LISTENERS=f"CLIENT://localhost:{port}",
            KAFKA_LISTENER_SECURITY_PROTOCOL_MAP="CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            KAFKA_INTER_BROKER_LISTENER_NAME="CLIENT",
            KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR="1",
            KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR="1",
            KAFKA_TRANSACTION_STATE_LOG_MIN_ISR="1",
            KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS="0",
        )
        .waiting_for(LogMessageWaitStrategy("Kafka Server started"))
    )
    with kafka, RedisContainer(REDIS_IMAGE) as redis:
        redis_url = f"redis://{redis.get_container_host_ip()}:{redis.get_exposed_port(6379)}/0"
        yield Servers(f"localhost:{port}", redis_url)


@contextlib.contextmanager
def _servers_by_url() -> Iterator[Servers]:
    variables = ("EXPERIMENT_TEST_KAFKA_URL", "EXPERIMENT_TEST_REDIS_URL")
    kafka_url, redis_url = (os.environ.get(variable) for variable in variables)
    if not kafka_url or not redis_url:
        _missing(f"--stack=url needs {' and '.join(variables)}")
    yield Servers(kafka_url, redis_url)


def _missing(reason: str) -> NoReturn:
    """Skip where a person chose not to have it; fail in CI, where the gap would go unnoticed."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session", autouse=True)
def fork_server() -> Iterator[ForkServer]:
    """Fork the engine's processes that tests start from one that has imported it."""
    server = ForkServer()
    with patch.object(subprocess, "Popen", forking(server)):
        yield server
    server.stop()


@pytest.fixture(autouse=True)
def process_state() -> Iterator[None]:
    """Undo what a command that runs within the test has set for its whole process.

    The log's handlers and levels, the hook of uncaught exceptions, the environment, handlers of
    signals and the collector of garbage: else a test, and a process that it starts, would find them
    as the one before has left them. It must not use `monkeypatch`, which would
    then undo what a test has patched after every other fixture, of which some read it once more.
    """
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    levels = {logger: logger.level for logger in _loggers()}
    handled = {number: signal.getsignal(number) for number in SIGNALS}
    thresholds = gc.get_threshold()
    with patch.object(sys, "excepthook", sys.excepthook), patch.dict(os.environ):
        yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for logger in _loggers():
        logger.setLevel(levels.get(logger, logging.NOTSET))
    for number, handler in handled.items():
        signal.signal(number, handler)
    gc.set_threshold(*thresholds)
    gc.unfreeze()


def _loggers() -> list[logging.Logger]:
    known = list(logging.root.manager.loggerDict.values())
    return [logger for logger in known if isinstance(logger, logging.Logger)]


@pytest.fixture(autouse=True)
def newest_schemas() -> Iterator[None]:
    """Undo what a gate of the test has allowed: all of a process share the codec it governs."""
    yield
    SINGLE_OBJECT.write(readable())


@pytest.fixture
def next_version(tmp_path: Path) -> Iterator[None]:
    """Give every schema a further version, for codecs that are made from now on."""
    copy_with_next_version(tmp_path / "schemas")
    with patch.object(library, "DIRECTORY", tmp_path / "schemas"):
        library.versions.cache_clear()
        yield
    library.versions.cache_clear()
