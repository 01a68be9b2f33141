"""Commands take visible effect whatever the statistics do, before and after a restart."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from streams.kafka.admin import create_topics
from streams.settings import Settings
from tests.integration.api_process import api_of, run_experiment
from tests.integration.engine_ledger import environment
from tests.patience import PATIENCE_S, until_found

FAULT = """
import sys
from pathlib import Path
from streams.fold import experiment_state

evaluate, fault = experiment_state.evaluate, Path(sys.argv[1])

def broken(experiment, tally, cells):
    # What was published before the fault, as time series have it, can be evaluated again.
    has_begun = experiment.version > 2
    if has_begun and fault.exists() and experiment.id in fault.read_text():
        raise ZeroDivisionError("injected")
    return evaluate(experiment, tally, cells)

experiment_state.evaluate = broken
"""
WORKER = f"{FAULT}from streams.worker.main import main\nmain()\n"
VERIFY = f"""{FAULT}
sys.argv = ["experiment", "replay", "verify", "--json", "--api", "http://127.0.0.1:1"]
import runpy
runpy.run_module("streams.cli", run_name="__main__")
"""


@contextmanager
def worker(settings: Settings, directory: Path, fault: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a worker that cannot evaluate the experiments that a file names."""
    with (directory / "worker.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", WORKER, str(fault)],
            env=os.environ | environment(settings) | {"PYTHONPATH": str(Path.cwd())},
            cwd=directory,
            stdout=log,
            stderr=log,
        )
    try:
        yield process
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
    finally:
        process.kill()
        process.wait()


def verified(settings: Settings, fault: Path) -> tuple[int, dict[str, Any]]:
    """Compare what is live with the log, by a program with the same fault."""
    ended = subprocess.run(
        [sys.executable, "-c", VERIFY, str(fault)],
        env=environment(settings) | {"PATH": "", "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert ended.stdout, ended.stderr.decode()
    report: dict[str, Any] = json.loads(ended.stdout)
    return ended.returncode, report


async def stats(http: httpx.AsyncClient, name: str) -> dict[str, Any]:
    answer = await http.get(f"/experiments/{name}/stats")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def at_rest(http: httpx.AsyncClient, name: str) -> dict[str, Any]:
    """Return the statistics when an evaluation that was in hand has been published."""
    found = await stats(http, name)
    while True:
        await asyncio.sleep(1.0)
        last, found = found, await stats(http, name)
        if last["version"] == found["version"]:
            return found


def allocations(found: dict[str, Any]) -> list[float]:
    return [each["stats"]["allocation"] for each in found["variants"]]


async def command(http: httpx.AsyncClient, name: str, verb: str, body: Any = None) -> str:
    answer = await http.post(f"/experiments/{name}/{verb}", json=body or {})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["status"])


async def assigned(http: httpx.AsyncClient, name: str, n: int, prefix: str) -> list[str]:
    receipts = []
    for unit in range(n):
        answer = await http.post(f"/experiments/{name}/assign", json={"userId": f"{prefix}{unit}"})
        assert answer.status_code == 200, answer.text
        receipts.append(str(answer.json()["id"]))
    return receipts


@pytest.mark.timeout(480)
async def test_commands_take_effect_while_an_evaluation_fails(
    settings: Settings, tmp_path: Path
) -> None:
    create_topics(settings)
    fault = tmp_path / "fault"
    with worker(settings, tmp_path, fault):
        async with api_of(settings, tmp_path) as (_, http):
            name = await run_experiment(http, unit="user")
            other = await run_experiment(http, unit="user")
            receipts = await assigned(http, name, 20, "u")
            clicks = [{"assignmentId": each, "metric": "click", "value": 1} for each in receipts]
            sent = await http.post("/observations", json=clicks)
            assert sent.status_code == 202, sent.text

            async def is_counted() -> bool:
                found = await stats(http, name)
                return bool((found["totalAssignments"], found["totalObservations"]) == (20, 20))

            await until_found(is_counted)
            fault.write_text(name)
            good = await at_rest(http, name)
            good_version = (good["failure"] or {"statisticsVersion": good["version"]})[
                "statisticsVersion"
            ]

            assert await command(http, name, "pause") == "paused"
            failing = await stats(http, name)
            assert failing["status"] == "paused"
            assert failing["recommendedAction"] == "investigate"
            assert failing["failure"]["code"] == "EVALUATION_FAILED"
            assert failing["failure"]["error"] == "ZeroDivisionError"
            assert failing["failure"]["statisticsVersion"] == good_version
            assert [each["stats"] for each in failing["variants"]] == [
                each["stats"] for each in good["variants"]
            ]
            ready = await http.get("/ready")
            assert ready.status_code == 200
            assert f"evaluation:{name}" in ready.json()["degraded"]
            refused = await http.post(f"/experiments/{name}/assign", json={"userId": "late"})
            assert refused.status_code == 409

            assert await command(http, name, "resume") == "running"
            await assigned(http, name, 10, "v")
            assert allocations(await stats(http, name)) == allocations(good)
            assert await command(http, other, "pause") == "paused"
            assert (await stats(http, other))["failure"] is None

    # A worker that has never evaluated it, and an API that has never seen it.
    with worker(settings, tmp_path, fault):
        async with api_of(settings, tmp_path, name="again") as (_, http):
            await assigned(http, name, 10, "w")
            winner = good["variants"][1]["id"]
            assert await command(http, name, "conclude", {"winnerVariantId": winner}) == "concluded"
            concluded = await stats(http, name)
            assert concluded["winner"]["id"] == winner
            assert concluded["failure"]["statisticsVersion"] == good_version

            code, report = await asyncio.to_thread(verified, settings, fault)
            assert (code, report["difference"]) == (0, None), report
            code, report = await asyncio.to_thread(verified, settings, tmp_path / "no fault")
            assert code == 1
            found = report["difference"]
            assert (found["path"], found["live"], found["replayed"]) == (
                "failure",
                "EVALUATION_FAILED",
                None,
            )

            assert await command(http, name, "archive") == "archived"
