"""Brokers of Apache Kafka die and freeze; what they had acknowledged is counted, exactly.

Each test has a cluster of its own, so that the others do not feel it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from streams.kafka_admin import create_topics
from streams.settings import Settings
from tests.brokers.kafka import KafkaCluster, kafka_cluster
from tests.integration.api_process import api_of, logged_batches, logged_units, run_experiment
from tests.integration.api_process import until as until_async
from tests.integration.engine_ledger import Ledger, until, workers_of

pytestmark = pytest.mark.kafka

EXPERIMENT = 7
PARTITIONS = 4
UNREACHABLE_S = 30

Cluster = Callable[[int], AbstractAsyncContextManager[tuple[KafkaCluster, Settings]]]


@pytest.fixture
def cluster_of(settings: Settings, tmp_path: Path) -> Cluster:
    """A cluster of some brokers, and settings for it: all but one must have what is written."""

    @asynccontextmanager
    async def run(n_brokers: int) -> AsyncIterator[tuple[KafkaCluster, Settings]]:
        async with kafka_cluster(tmp_path / "kafka", n_brokers) as cluster:
            changed = {
                "kafka_url": cluster.url,
                "replication_factor": n_brokers,
                "min_insync_replicas": max(1, n_brokers - 1),
            }
            own = settings.model_copy(update=changed)
            create_topics(own)
            yield cluster, own

    return run


def send(ledger: Ledger) -> None:
    """Send some batches and observations to every partition, and return when Kafka has them."""
    for partition in range(PARTITIONS):
        for _ in range(5):
            for receipt in ledger.assign(EXPERIMENT, partition)[::5]:
                ledger.observe(receipt, times=2)
    assert ledger.producer.flush(60) == 0


async def test_one_of_three_brokers_killed_and_then_another_loses_nothing(cluster_of, tmp_path):
    async with cluster_of(3) as (cluster, settings):
        with workers_of(settings, tmp_path) as workers:
            workers.start()
            workers.start()
            ledger = Ledger(settings)
            ledger.start_experiment(EXPERIMENT)
            send(ledger)

            for index in range(2):
                await cluster.kill(index)
                send(ledger)
                until(lambda: ledger.is_exact(EXPERIMENT), 90)
                await cluster.restart(index)
                send(ledger)

            until(lambda: ledger.is_exact(EXPERIMENT), 90)


async def test_a_broker_killed_with_its_log_goes_on_where_it_was(cluster_of, tmp_path):
    async with cluster_of(1) as (cluster, settings):
        with workers_of(settings, tmp_path) as workers:
            first = workers.start()
            ledger = Ledger(settings)
            ledger.start_experiment(EXPERIMENT)
            send(ledger)

            await cluster.kill(0)
            await asyncio.sleep(2)
            await cluster.restart(0)
            if first.poll() is not None:  # its supervisor would
                workers.start()
            send(ledger)

            until(lambda: ledger.is_exact(EXPERIMENT), 90)
            first.kill()
            workers.start()
            send(ledger)

            until(lambda: ledger.is_exact(EXPERIMENT), 90)


async def test_a_broker_unreachable_for_30_s_costs_no_answer_and_no_count(cluster_of, tmp_path):
    async with cluster_of(1) as (cluster, settings):
        with workers_of(settings, tmp_path) as workers:
            worker = workers.start()
            async with api_of(settings, tmp_path) as (_, http):
                name = await run_experiment(http)
                cluster.freeze(0)
                deadline = asyncio.get_running_loop().time() + UNREACHABLE_S
                answered = 0
                while asyncio.get_running_loop().time() < deadline:
                    answer = await http.post(f"/experiments/{name}/assign", json={"userId": "u"})
                    assert answer.status_code == 200, answer.text
                    answered += 1
                    await asyncio.sleep(0.1)
                cluster.thaw(0)
                if worker.poll() is not None:
                    workers.start()

                async def counted() -> bool:
                    if worker.poll() is not None and len(workers.running()) == 0:
                        workers.start()
                    stats = (await http.get(f"/experiments/{name}/stats")).json()
                    return int(stats["totalAssignments"]) == answered

                await until_async(counted, 90)
        assert len(logged_units(logged_batches(settings))) == answered
