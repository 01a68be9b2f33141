"""Topics that others have made, or changed: refused by name, on either broker."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourceType,
)
from typer.testing import CliRunner, Result

from streams.cli.main import app
from streams.kafka.admin import create_topics, required_topics
from streams.settings import Settings
from tests.brokers.kafka import KafkaCluster
from tests.integration.api_process import api_of, run_experiment
from tests.integration.engine_ledger import Ledger, environment, workers_of
from tests.patience import PATIENCE_S, until_found

NOWHERE = "http://127.0.0.1:1"
WEEK_MS = "604800000"
REFUSED_S = 40
SETTINGS = [
    ("tallies", "cleanup.policy", "delete"),
    ("tallies", "max.message.bytes", "100000"),
    ("commands", "retention.ms", WEEK_MS),
    ("commands", "retention.bytes", "1073741824"),
]


@pytest.fixture
def admin(settings: Settings) -> AdminClient:
    return AdminClient(settings.confluent_config() | {"log_level": 0})


@pytest.fixture
def run(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Any:
    def run(*arguments: str, **changes: Any) -> Result:
        for name, value in environment(settings.model_copy(update=changes)).items():
            monkeypatch.setenv(name, value)
        return CliRunner().invoke(app, list(arguments))

    return run


def refusal_of_a_worker(settings: Settings, tmp_path: Any) -> str:
    """Return what a worker said that would not start over the topics."""
    with workers_of(settings, tmp_path) as workers:
        worker = workers.start()
        try:
            assert worker.wait(REFUSED_S) == 2, workers.log()
        except subprocess.TimeoutExpired:
            pytest.fail(f"the worker runs: {workers.log()}")
        return workers.log()


def diagnosis(result: Result) -> list[dict[str, Any]]:
    assert result.exit_code == 1, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.mark.parametrize(("topic", "setting", "value"), SETTINGS)
def test_a_setting_by_which_events_are_lost_is_refused_and_named(
    settings, admin, run, tmp_path, topic, setting, value
):
    create_topics(settings)
    name = settings.topic_prefix + topic
    entry = ConfigEntry(setting, value, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, name, incremental_configs=[entry])
    admin.incremental_alter_configs([resource])[resource].result(PATIENCE_S)
    [wanted] = [each.config[setting] for each in required_topics(settings) if each.name == name]
    clause = f"{name} has {setting}={value}, must be {wanted}"
    advice = f"--entity-name {name} --add-config {setting}={wanted}"

    said = refusal_of_a_worker(settings, tmp_path)
    assert clause in said
    assert advice in said

    refused = run("topics", "create")
    assert refused.exit_code == 2
    assert clause in refused.stderr
    assert advice in refused.stderr

    [found] = [
        each
        for each in diagnosis(run("doctor", "--json", "--api", NOWHERE))
        if each["code"] == "TOPIC_SETTINGS"
    ]
    assert found["severity"] == "error"
    assert clause in found["what"]
    assert advice in found["advice"]


def test_one_partition_too_few_is_refused_together_with_what_else_is_wrong(
    settings, admin, run, tmp_path
):
    name = f"{settings.topic_prefix}commands"
    admin.create_topics([NewTopic(name, 1, 1, config={"retention.ms": WEEK_MS})])[name].result(
        PATIENCE_S
    )

    for said in (refusal_of_a_worker(settings, tmp_path), run("topics", "create").stderr):
        assert f"{name} has partitions=1, must be {settings.partitions}" in said
        assert f"{name} has retention.ms={WEEK_MS}, must be -1" in said
        assert "EXPERIMENT_PARTITIONS" in said

    found = diagnosis(run("doctor", "--json", "--api", NOWHERE))
    assert any(
        each["code"] == "PARTITIONS_DIFFER" and f"{name} has 1" in each["what"] for each in found
    )
    assert any(f"{name} has retention.ms={WEEK_MS}" in each["what"] for each in found)
    # Nothing is made beside a topic that does not fit.
    assert own_topics(admin, settings) == [name]


@pytest.mark.kafka
async def test_what_a_broker_creates_automatically_is_noticed_though_its_partitions_fit(
    settings, run, tmp_path
):
    async with making_cluster(tmp_path / "kafka") as cluster:
        name = f"{settings.topic_prefix}commands"
        careless = Producer({"bootstrap.servers": cluster.url})
        careless.produce(name, b"made by this")
        assert await asyncio.to_thread(careless.flush, PATIENCE_S) == 0
        changes = {"kafka_url": cluster.url, "partitions": 1}

        refused = await asyncio.to_thread(run, "topics", "create", **changes)
        found = diagnosis(
            await asyncio.to_thread(run, "doctor", "--json", "--api", NOWHERE, **changes)
        )

    assert refused.exit_code == 2
    assert f"{name} has retention.ms={WEEK_MS}, must be -1" in refused.stderr
    assert f"--entity-name {name} --add-config retention.ms=-1" in refused.stderr
    assert [each["severity"] for each in found if f"{name} has retention.ms" in each["what"]] == [
        "error"
    ]
    assert "PARTITIONS_DIFFER" not in {each["code"] for each in found}


@pytest.mark.kafka  # the embedded broker adds none
@pytest.mark.parametrize("topic", ["observations", "commands"])
def test_a_worker_ends_when_a_topic_gets_more_partitions_than_there_are_tables(
    settings, admin, tmp_path, topic
):
    create_topics(settings)
    name = settings.topic_prefix + topic
    with workers_of(settings, tmp_path) as workers:
        worker = workers.start()
        Ledger(settings).start_experiment(7)  # so it reads
        added = NewPartitions(name, settings.partitions + 2)
        admin.create_partitions([added])[name].result(PATIENCE_S)

        assert worker.wait(PATIENCE_S) == 2
        assert f"{name} has partitions={settings.partitions + 2}, must be" in workers.log()


async def test_an_api_before_its_topics_makes_none_and_goes_on_when_they_are_made(
    settings, run, tmp_path
):
    await goes_on_when_topics_are_made(settings, run, tmp_path)


@pytest.mark.kafka
async def test_an_api_before_its_topics_makes_none_where_the_broker_would(settings, run, tmp_path):
    async with making_cluster(tmp_path / "kafka") as cluster:
        own = settings.model_copy(update={"kafka_url": cluster.url})
        await goes_on_when_topics_are_made(own, run, tmp_path)


async def goes_on_when_topics_are_made(settings: Settings, run: Any, tmp_path: Path) -> None:
    admin = AdminClient(settings.confluent_config() | {"log_level": 0})
    async with api_of(settings, tmp_path, until_ready=False) as (api, http):
        pid = api.pid

        async def says_topics() -> bool:
            return "topics" in (await http.get("/ready")).json()["missing"]

        await until_found(says_topics)
        body = {
            "config": {"name": "early", "type": "ucb", "primaryMetric": "click"},
            "variants": [{"name": "A", "isControl": True}, {"name": "B"}],
        }
        assert (await http.post("/experiments", json=body)).status_code == 503
        await asyncio.sleep(5)  # twice as long as it takes to look again
        answer = await http.get("/ready")
        assert answer.status_code == 503
        assert "topics" in answer.json()["missing"]
        assert own_topics(admin, settings) == []
        assert "run `experiment topics create`" in api.tail(50)

        created = await asyncio.to_thread(run, "topics", "create", kafka_url=settings.kafka_url)
        assert created.exit_code == 0, created.output
        assert len(own_topics(admin, settings)) == len(required_topics(settings))
        with workers_of(settings, tmp_path) as workers:
            workers.start()

            async def is_ready() -> bool:
                return (await http.get("/ready")).status_code == 200

            await until_found(is_ready)
            name = await run_experiment(http)
            assert (await http.post(f"/experiments/{name}/assign", json={})).status_code == 200

            async def is_counted() -> bool:
                stats = (await http.get(f"/experiments/{name}/stats")).json()
                return bool(stats["totalAssignments"] == 1)

            await until_found(is_counted)
        assert api.pid == pid


def own_topics(admin: AdminClient, settings: Settings) -> list[str]:
    return [each for each in topics_of(admin) if each.startswith(settings.topic_prefix)]


class MakingCluster(KafkaCluster):
    """A broker that makes every topic it is asked for, of one partition, kept for a week."""

    def _configure(self, index: int) -> Path:
        configuration = super()._configure(index)
        text = configuration.read_text()
        named = "auto.create.topics.enable="
        assert f"{named}false" in text
        configuration.write_text(text.replace(f"{named}false", f"{named}true"))
        return configuration


@asynccontextmanager
async def making_cluster(directory: Path) -> AsyncIterator[MakingCluster]:
    cluster = MakingCluster(directory)
    try:
        await cluster.start()
        yield cluster
    finally:
        await cluster.stop()


def topics_of(admin: AdminClient) -> list[str]:
    return sorted(admin.list_topics(timeout=PATIENCE_S).topics)
