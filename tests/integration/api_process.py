"""API processes of one installation, and what they have logged."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import httpx

from streams.local.children import Child, free_port
from streams.model.events import ImpressionBatch
from streams.settings import Settings
from streams.wire.impressions import decode_impression_batch
from tests.integration.engine_ledger import environment
from tests.integration.topics import records_of
from tests.patience import PATIENCE_S


@contextlib.asynccontextmanager
async def api_of(
    settings: Settings,
    directory: Path,
    *,
    name: str = "api",
    until_ready: bool = True,
    release: Path | None = None,
    start_s: float = PATIENCE_S,
) -> AsyncIterator[tuple[Child, httpx.AsyncClient]]:
    """Start an API, of another release if asked; yield its process and a client.

    Both are gone afterwards. It is to answer within `start_s` seconds.
    """
    port = free_port()
    variables = os.environ | environment(settings) | {"EXPERIMENT_API_PORT": str(port)}
    command: tuple[str, ...] = (sys.executable, "-m", "api")
    if release is not None:
        command = (sys.executable, "-P", "-m", "api")
        variables |= {"PYTHONPATH": str(release)}
    process = Child(name, command, variables, directory, PATIENCE_S)
    await process.start()
    # Not through a proxy: the address is on this machine.
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=PATIENCE_S
    ) as http:

        async def answers() -> bool:
            with contextlib.suppress(httpx.TransportError):
                answer = await http.get("/ready" if until_ready else "/health")
                return answer.is_success
            return False

        try:
            await process.ready(answers, start_s)
            yield process, http
        finally:
            await process.stop()


async def run_experiment(
    http: httpx.AsyncClient, names: Sequence[str] = ("A", "B"), /, **config: Any
) -> str:
    """Create and start an experiment of variants with these names, and return its id."""
    body = {
        "config": {
            "name": "Hero",
            "type": "thompson_sampling",
            "primaryMetric": "click",
            **config,
        },
        "variants": [
            {"name": name, "isControl": not index, "config": {"adId": f"ad_{index + 1}"}}
            for index, name in enumerate(names)
        ],
    }
    created = await http.post("/experiments", json=body)
    assert created.status_code == 201, created.text
    name = str(created.json()["id"])
    started = await http.post(f"/experiments/{name}/start")
    assert started.status_code == 200, started.text
    return name


async def metric(http: httpx.AsyncClient, name: str) -> float:
    """Return a metric without labels; NaN if no metric has this name yet."""
    lines = (await http.get("/metrics")).text.splitlines()
    return float(next((line.split()[1] for line in lines if line.split()[0] == name), "nan"))


def logged_batches(settings: Settings) -> list[ImpressionBatch]:
    """Return every batch of impressions in the log, repetitions included."""
    return [decode_impression_batch(each.value()) for each in records_of(settings, "impressions")]


def logged_units(batches: list[ImpressionBatch]) -> list[int]:
    """Return the units of the batches, each batch once, as the workers count them."""
    once = {(batch.incarnation, batch.partition, batch.sequence): batch for batch in batches}
    return [unit for batch in once.values() for group in batch.groups for unit in group.units]
