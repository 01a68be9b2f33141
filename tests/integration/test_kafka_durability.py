"""Brokers of Apache Kafka die and freeze; what they had acknowledged is counted, exactly.

Each test has its own cluster, so that the others are not affected.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from streams.kafka.admin import create_topics
from streams.settings import Settings
from tests.brokers.kafka import KafkaCluster, kafka_cluster
from tests.integration.api_process import api_of, run_experiment
from tests.integration.engine_ledger import Ledger, Workers, workers_of
from tests.patience import until_found

pytestmark = pytest.mark.kafka

EXPERIMENT = 7
GAVE_UP = 70
UNREACHABLE_S = 30
SETTLE_S = 90.0

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


async def exact(ledger: Ledger, workers: Workers) -> None:
    """Return once every count is what was sent; a worker may have ended with code 70 meanwhile."""
    deadline = time.monotonic() + SETTLE_S
    while not ledger.is_exact(EXPERIMENT):
        supervise(workers)
        assert time.monotonic() < deadline, (
            f"not counted: {ledger.difference(EXPERIMENT)}\n{workers.ends_of_logs()}"
        )
        await asyncio.sleep(0.1)


def supervise(workers: Workers) -> None:
    """Start a worker when none is left, as a supervisor would."""
    assert set(workers.endings()) <= {GAVE_UP}
    if not workers.running():
        workers.start()


async def test_one_of_three_brokers_killed_and_then_another_loses_nothing(cluster_of, tmp_path):
    async with cluster_of(3) as (cluster, settings):
        with workers_of(settings, tmp_path) as workers:
            workers.start()
            workers.start()
            ledger = Ledger(settings)
            ledger.start_experiment(EXPERIMENT)

            for index in range(2):
                with ledger.traffic(EXPERIMENT):
                    await asyncio.sleep(1)
                    await cluster.kill(index)
                    await asyncio.sleep(2)
                await exact(ledger, workers)
                await cluster.restart(index)
                await cluster.in_sync()

            with ledger.traffic(EXPERIMENT):
                await asyncio.sleep(1)
            await exact(ledger, workers)


async def test_a_broker_killed_with_its_log_goes_on_where_it_was(cluster_of, tmp_path):
    async with cluster_of(1) as (cluster, settings):
        with workers_of(settings, tmp_path) as workers:
            workers.start()
            ledger = Ledger(settings)
            ledger.start_experiment(EXPERIMENT)

            with ledger.traffic(EXPERIMENT):
                await asyncio.sleep(1)
                await cluster.kill(0)
                await asyncio.sleep(2)
                await cluster.restart(0)
                await asyncio.sleep(1)

            await exact(ledger, workers)


async def test_a_broker_unreachable_for_30_s_costs_no_answer_and_no_count(cluster_of, tmp_path):
    async with cluster_of(1) as (cluster, settings):
        with workers_of(settings, tmp_path) as workers:
            workers.start()
            ledger = Ledger(settings)
            ledger.start_experiment(EXPERIMENT)
            async with api_of(settings, tmp_path) as (_, http):
                name = await run_experiment(http, type="bayesian_ab", unit="impression")
                sent: Counter[str] = Counter()
                with ledger.traffic(EXPERIMENT, pause_s=0.1):
                    cluster.freeze(0)
                    end = time.monotonic() + UNREACHABLE_S
                    while time.monotonic() < end:
                        assigned = await http.post(f"/experiments/{name}/assign", json={})
                        assert assigned.status_code == 200, assigned.text
                        click = {
                            "assignmentId": assigned.json()["id"],
                            "metric": "click",
                            "value": 1,
                            "eventId": "once",
                        }
                        for _ in range(2):
                            observed = await http.post("/observations", json=click)
                            assert observed.status_code == 202, observed.text
                        sent[assigned.json()["variantName"]] += 1
                        await asyncio.sleep(0.1)
                    cluster.thaw(0)

                async def counted() -> bool:
                    supervise(workers)
                    stats = (await http.get(f"/experiments/{name}/stats")).json()
                    variants = {each["name"]: each["stats"] for each in stats["variants"]}
                    return all(
                        variants[variant][what] == count
                        for variant, count in sent.items()
                        for what in ("assignments", "observations")
                    )

                await until_found(counted)
            await exact(ledger, workers)
