"""Rights that Kafka takes from the API and gives back: commands continue without a restart."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from pydantic import SecretStr

from api.command_log import REFUSAL_S, KafkaCommandLog
from schemas.catalogue import COMMANDS
from streams.kafka.admin import create_topics
from streams.model.errors import DependencyError
from streams.model.events import Command, CommandKind
from streams.settings import Settings
from streams.wire.commands import encode_command
from tests.brokers.rights import Right
from tests.brokers.secure import ADMIN, PASSWORD, SecureCluster, secure_cluster

pytestmark = pytest.mark.kafka

SETTLE_S = 60.0


def of_user(settings: Settings, cluster: SecureCluster, user: str) -> Settings:
    return settings.model_copy(
        update={
            "kafka_url": cluster.url,
            "security_protocol": "SASL_SSL",
            "sasl_mechanism": "SCRAM-SHA-512",
            "sasl_username": user,
            "sasl_password": SecretStr(PASSWORD),
            "ssl_cafile": cluster.ca,
            "replication_factor": 1,
            "min_insync_replicas": 1,
        }
    )


async def test_commands_are_written_again_once_the_right_is_back(
    settings: Settings, tmp_path: Path
) -> None:
    async with secure_cluster(tmp_path / "kafka") as cluster:
        await asyncio.to_thread(create_topics, of_user(settings, cluster, ADMIN))
        mine = of_user(settings, cluster, "api")
        topic = COMMANDS.full_name(settings.topic_prefix)
        may_write = Right("topic", topic, ("WRITE",))
        log = KafkaCommandLog(mine.confluent_config(), topic, encode_command, 4.0)
        command = Command("a" * 32, 1, CommandKind.START, 5)
        try:
            # Without any right: the producer is refused, and probing says so.
            for _ in range(2):
                with pytest.raises(DependencyError):
                    await log.append(command)
            with pytest.raises(DependencyError):
                await asyncio.to_thread(log.probe)

            cluster.grant("api", [may_write])
            await until_written(log, command)
            await until_ready(log)

            cluster.revoke("api", may_write)
            await until_refused(log, command)
            with pytest.raises(DependencyError):
                await asyncio.to_thread(log.probe)

            cluster.grant("api", [may_write])
            await until_written(log, command)
            await until_ready(log)
        finally:
            await log.close()


async def until_written(log: KafkaCommandLog, command: Command) -> None:
    """Write until it succeeds: brokers learn of rights one after the other."""
    deadline = time.monotonic() + SETTLE_S
    while True:
        try:
            await log.append(command)
        except DependencyError:
            assert time.monotonic() < deadline
        else:
            return


async def until_refused(log: KafkaCommandLog, command: Command) -> None:
    deadline = time.monotonic() + SETTLE_S
    while True:
        try:
            await log.append(command)
        except DependencyError:
            return
        assert time.monotonic() < deadline


async def until_ready(log: KafkaCommandLog) -> None:
    deadline = time.monotonic() + REFUSAL_S + SETTLE_S
    while True:
        try:
            await asyncio.to_thread(log.probe)
        except DependencyError:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.5)
        else:
            return
