"""The running API against its own OpenAPI document, by schemathesis."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from api.http.endpoints import ENDPOINTS
from streams.api_keys import new_key
from streams.kafka.admin import create_topics
from streams.settings import Settings
from tests.integration.api_process import api_of, run_experiment
from tests.integration.engine_ledger import workers_of

SECONDS = 30
"""For all operations together, with ids made up and with those of real experiments; each."""

SEED = os.environ.get("SCHEMATHESIS_SEED", "1")

ENDLESS = ("/ofrep/v1/events", "/experiments/{experiment_id}/stream")
"""Streams of events."""

EXCLUDED = (
    # What a schema cannot say (weights sum to 1, one control) makes a 422 of what fits it.
    "positive_data_acceptance",
)

# What is too long for a head is refused before its parameters are read: 414 and 431.
CHECKS = """
[checks.negative_data_rejection]
expected-statuses = [400, 401, 403, 404, 405, 406, 409, 413, 414, 415, 422, 428, 429, 431]
"""


@pytest.mark.timeout(700)
async def test_the_api_answers_as_its_document_says(settings: Settings, tmp_path: Path) -> None:
    key, entry = new_key("all", ["assign", "observe", "manage", "read", "metrics"])
    keys = tmp_path / "keys.json"
    keys.write_text(f'{{"keys": [{entry.model_dump_json()}]}}')
    settings = settings.model_copy(update={"api_keys_file": keys, "command_timeout_s": 20.0})
    create_topics(settings)
    with workers_of(settings, tmp_path) as workers:
        workers.start()
        async with api_of(settings, tmp_path) as (_, http):
            http.headers["Authorization"] = f"Bearer {key}"
            url = str(http.base_url)
            (tmp_path / "schemathesis.toml").write_text(CHECKS)
            made_up = await asyncio.to_thread(fuzz, url, key, tmp_path)
            assert made_up.returncode == 0, report(made_up)
            configuration = real_ids(await run_experiment(http), await run_experiment(http))
            (tmp_path / "schemathesis.toml").write_text(CHECKS + configuration)
            real = await asyncio.to_thread(fuzz, url, key, tmp_path)
            assert real.returncode == 0, report(real)
            alive = await http.get("/health")

    assert alive.status_code == 200
    for done in (made_up, real):
        assert f"{len(ENDPOINTS) - len(ENDLESS)}/{len(ENDPOINTS)}" in done.stdout, report(done)


def real_ids(changed: str, running: str) -> str:
    """Return schemathesis's configuration: commands for one experiment, all else for another."""
    calls = ("get", "get /stats", "post /assign")
    return f"[parameters]\nexperiment_id = {changed!r}\n" + "".join(
        f"""
[[operations]]
include-name = "{method.upper()} /experiments/{{experiment_id}}{path}"
parameters = {{ experiment_id = {running!r} }}
"""
        for method, _, path in (call.partition(" ") for call in calls)
    )


def fuzz(url: str, key: str, directory: Path) -> subprocess.CompletedProcess[str]:
    command = (
        *(str(Path(sys.executable).with_name("st")), "run", f"{url}/openapi.json"),
        *("--header", f"Authorization: Bearer {key}"),
        *("--phases", "examples,coverage,fuzzing,stateful", "--max-time", str(SECONDS)),
        *(word for path in ENDLESS for word in ("--exclude-path", path)),
        *("--checks", "all", "--exclude-checks", ",".join(EXCLUDED)),
        *("--max-examples", "40", "--request-timeout", "90", "--seed", SEED),
        *("--generation-database", "none", "--no-color"),
    )
    return subprocess.run(
        command, cwd=directory, capture_output=True, text=True, check=False, timeout=300,
        env=os.environ | {"NO_PROXY": "*", "COLUMNS": "160"},
    )  # fmt: skip


def report(done: subprocess.CompletedProcess[str]) -> str:
    return f"{done.stdout[-20_000:]}\n{done.stderr[-4_000:]}"
