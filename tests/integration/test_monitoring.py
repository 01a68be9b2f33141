"""Every query of `deploy/`, by a real Prometheus that scrapes a running stack."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import yaml

from streams.kafka.admin import create_topics
from streams.local.children import Child, free_port
from streams.settings import Settings
from tests.deploy.queries import DEPLOY, alarms, of_alerts, of_dashboards, without_data
from tests.integration.api_process import api_of, run_experiment
from tests.integration.engine_ledger import environment, workers_of
from tests.integration.webhooks_process import webhooks_of
from tests.patience import PATIENCE_S, until_found

RATE_INTERVAL = "1m"


@contextlib.asynccontextmanager
async def prometheus_of(directory: Path, **targets: int) -> AsyncIterator[httpx.Client]:
    """Start a Prometheus with the rules of `deploy/`; it scrapes a port by the name of its job."""
    if shutil.which("prometheus") is None:
        reason = "no prometheus; install Debian's package of this name"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    configuration = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    configuration["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    configuration["rule_files"] = [str(DEPLOY / "prometheus" / "alerts.yml")]
    for job in configuration["scrape_configs"]:
        del job["dns_sd_configs"]
        job["static_configs"] = [{"targets": [f"127.0.0.1:{targets.pop(job['job_name'])}"]}]
    assert not targets
    file = directory / "prometheus.yml"
    file.write_text(yaml.safe_dump(configuration))
    port = free_port()
    options = (
        f"--config.file={file}",
        f"--storage.tsdb.path={directory}/prometheus",
        f"--web.listen-address=127.0.0.1:{port}",
    )
    process = Child("prometheus", ("prometheus", *options), os.environ, directory, 5.0)
    await process.start()
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:

        async def answers() -> bool:
            with contextlib.suppress(httpx.TransportError):
                return (await asyncio.to_thread(client.get, "/-/ready")).is_success
            return False

        try:
            await process.ready(answers, PATIENCE_S)
            yield client
        finally:
            await process.stop()


@contextlib.asynccontextmanager
async def dashboard_of(settings: Settings, directory: Path) -> AsyncIterator[None]:
    command = (sys.executable, "-m", "dashboard")
    process = Child("dashboard", command, os.environ | environment(settings), directory)
    await process.start()
    try:
        yield
    finally:
        await process.stop()


async def test_every_query_finds_data_and_a_stack_at_rest_raises_no_alarm(
    settings: Settings, tmp_path: Path
) -> None:
    ports = {name: free_port() for name in ("api", "worker", "webhooks", "dashboard")}
    settings = settings.model_copy(
        update={
            "api_metrics_port": ports["api"],
            "worker_metrics_port": ports["worker"],
            "webhooks_metrics_port": ports["webhooks"],
            "dashboard_metrics_port": ports["dashboard"],
            "dashboard_port": free_port(),
        }
    )
    create_topics(settings)
    with workers_of(settings, tmp_path) as workers, webhooks_of(settings):
        workers.start()
        async with (
            api_of(settings, tmp_path) as (_, http),
            dashboard_of(settings, tmp_path),
            prometheus_of(tmp_path, **ports) as prometheus,
        ):
            name = await run_experiment(http)
            for user in range(20):
                place = f"/experiments/{name}/assign"
                assigned = await http.post(place, json={"userId": f"user-{user}"})
                click = {"assignmentId": assigned.json()["id"], "metric": "click", "value": 1}
                assert (await http.post("/observations", json=click)).is_success
            queries = [*of_dashboards(RATE_INTERVAL), *of_alerts()]

            async def have_all_data() -> bool:
                await asyncio.sleep(1.0)  # of a scrape
                return not await asyncio.to_thread(without_data, prometheus, queries)

            with contextlib.suppress(TimeoutError):
                await until_found(have_all_data)
            missing = without_data(prometheus, queries)
            raised = alarms(prometheus)

    assert missing == []
    assert raised == []
