"""`experiment api --processes`: several processes behind one port, as one API."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections import Counter
from pathlib import Path

import httpx
import psutil

from streams.kafka.admin import create_topics
from streams.local.children import Child, free_port
from streams.settings import Settings
from tests.integration.api_process import logged_batches, logged_units, run_experiment
from tests.integration.engine_ledger import environment, workers_of
from tests.patience import PATIENCE_S, until_found

N_ASSIGNMENTS = 60


async def test_processes_share_a_port_and_one_that_dies_is_replaced(
    settings: Settings, tmp_path: Path
) -> None:
    create_topics(settings)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    variables = os.environ | environment(settings) | {"EXPERIMENT_API_PORT": str(port)}
    command = (sys.executable, "-m", "streams.cli", "api", "--processes", "2")
    api = Child("api", command, variables, tmp_path, PATIENCE_S)

    async def answer(method: str, path: str, **options: object) -> httpx.Response:
        """Return the answer on a new connection, which the kernel gives to either process."""
        async with httpx.AsyncClient(
            base_url=url,
            trust_env=False,
            verify=False,  # reading the certificates costs more than the call
            timeout=PATIENCE_S,
        ) as http:
            return await http.request(method, path, **options)  # type: ignore[arg-type]

    async def processes() -> Counter[str]:
        """Return which processes answer, by the label of their metrics."""
        texts = await asyncio.gather(*(answer("GET", "/metrics") for _ in range(16)))
        return Counter(each.text.partition('process="')[2].partition('"')[0] for each in texts)

    async def both_are_ready() -> bool:
        with contextlib.suppress(httpx.TransportError):
            looks = await asyncio.gather(*(answer("GET", "/ready") for _ in range(16)))
            return all(look.is_success for look in looks) and (await processes()).keys() == {
                "1",
                "2",
            }
        return False

    with workers_of(settings, tmp_path) as workers:
        workers.start()
        await api.start()
        try:
            await api.ready(both_are_ready, PATIENCE_S)
            async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=PATIENCE_S) as http:
                name = await run_experiment(http, key="hero")
            path = f"/experiments/{name}/assign"

            async def all_assign() -> bool:
                looks = await asyncio.gather(*(answer("POST", path, json={}) for _ in range(16)))
                return all(look.is_success for look in looks)

            await until_found(all_assign)
            before = len(logged_units(logged_batches(settings)))
            assigned = [
                (await answer("POST", path, json={})).status_code for _ in range(N_ASSIGNMENTS)
            ]
            family = psutil.Process(api.pid).children()
            family[0].kill()
            await until_found(both_are_ready)
            replaced = psutil.Process(api.pid).children()
            os.kill(api.pid or 0, signal.SIGTERM)
            ending = await api.ended()
            logged = len(logged_units(logged_batches(settings))) - before
        finally:
            await api.stop()

    assert set(assigned) == {200}
    assert logged == N_ASSIGNMENTS  # also those of the process that was killed: by its spool
    assert {each.pid for each in replaced} != {each.pid for each in family}
    assert ending == "exited with code 0"
    assert not any(each.is_running() for each in replaced)
