"""`experiment doctor` on real servers."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from typer.testing import CliRunner

from streams.cli.main import app
from streams.kafka.admin import create_topics
from tests.integration.api_process import api_of
from tests.integration.engine_ledger import Ledger, environment, workers_of
from tests.patience import PATIENCE_S, until

EXPERIMENT = 7


@pytest.fixture
def environ(settings, monkeypatch):
    create_topics(settings)
    for name, value in environment(settings).items():
        monkeypatch.setenv(name, value)


def diagnosis(api: str) -> dict[str, dict[str, Any]]:
    result = CliRunner().invoke(app, ["doctor", "--json", "--api", api])
    found = {each["code"]: each for each in map(json.loads, result.stdout.splitlines())}
    assert result.exit_code == (1 if found else 0), result.stderr
    return found


@pytest.mark.usefixtures("environ")
async def test_it_finds_nothing_where_all_is_well_and_then_what_was_done(settings, tmp_path):
    ledger = Ledger(settings)
    with workers_of(settings, tmp_path) as workers:
        worker = workers.start()
        async with api_of(settings, tmp_path) as (_, http):
            api = str(http.base_url)
            await asyncio.to_thread(ledger.start_experiment, EXPERIMENT)
            for partition in range(4):
                ledger.observe(ledger.assign(EXPERIMENT, partition)[0])
            ledger.producer.flush()
            await asyncio.to_thread(until, lambda: ledger.is_exact(EXPERIMENT))
            assert await asyncio.to_thread(diagnosis, api) == {}
            assert (await http.get("/health")).headers["date"]  # by which it knows the API's clock

            ledger.produce("observations", b"{", partition=0)
            ledger.producer.flush()
            await asyncio.to_thread(until, lambda: ledger.read("dead-letters"))
            found = await asyncio.to_thread(diagnosis, api)
            assert found.keys() == {"DEAD_LETTERS"}
            assert (
                "1 event of the last 24 h could not be used: INVALID_JSON"
                in (found["DEAD_LETTERS"]["what"])
            )

            worker.terminate()
            await asyncio.to_thread(worker.wait, PATIENCE_S)
            for _ in range(3):
                ledger.assign(EXPERIMENT, 1)
            ledger.producer.flush()
            ledger.redis.delete(*ledger.redis.keys(f"{settings.namespace}:*"))
            found = await asyncio.to_thread(diagnosis, api)
            assert found.keys() == {"STALLED", "NO_WORKER", "SNAPSHOTS_MISSING", "DEAD_LETTERS"}
            assert "3 records wait" in found["STALLED"]["what"]


def test_it_says_which_servers_do_not_answer(monkeypatch):
    monkeypatch.setenv("EXPERIMENT_KAFKA_URL", "127.0.0.1:1")
    monkeypatch.setenv("EXPERIMENT_REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("EXPERIMENT_KAFKA_TIMEOUT_S", "1")
    monkeypatch.delenv("EXPERIMENT_RECEIPT_KEYS", raising=False)

    assert diagnosis("http://127.0.0.1:1").keys() == {
        "KAFKA_UNREACHABLE",
        "REDIS_UNREACHABLE",
        "API_UNREACHABLE",
        "RECEIPT_KEYS",
    }
