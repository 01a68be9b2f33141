"""Memory of a worker and an API while experiments come, run, are archived and end.

    python -m benchmarks.archived [--rounds 20] [--experiments 20] [--units 500] [--keep-s 0]

The whole stack of `experiment up`. Each round creates and starts experiments, assigns units and
observes one click of each, concludes and archives them, and waits until all have ended. With a
`--keep-s` longer than the run nothing ends. Units are impressions:
the receipts of users that an API holds besides are bounded apart (`api/receipts/cache.py`).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import numpy as np
import psutil

START_S = 120.0
ENDED_S = 90.0
POLL_S = 0.2
MIB = 2**20
PARTS = {"worker": "streams.worker", "api": "api"}
"""Module that each part of the stack runs."""


async def main() -> int:
    """Run the rounds, and print memory after each and its growth over the second half."""
    arguments = _arguments()
    rows: list[dict[str, float]] = []
    async with _stack(arguments.keep_s) as (url, pid), aiohttp.ClientSession(url) as session:
        for number in range(arguments.rounds):
            await _round(session, arguments.experiments, arguments.units)
            left = await _left(session, wait=not arguments.keep_s)
            rows.append(_memory(pid) | {"listed": left})
            said = ", ".join(f"{name} {value:.1f}" for name, value in rows[-1].items())
            print(f"round {number + 1}: {said}", flush=True)
    half = rows[len(rows) // 2 :]
    for name in PARTS:
        rounds = np.arange(len(half))
        slope = float(np.polyfit(rounds, [row[name] for row in half], 1)[0])
        per_experiment = slope * 1024 / arguments.experiments
        print(f"{name}: {slope:+.2f} MiB a round, {per_experiment:+.1f} KiB an experiment")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--experiments", type=int, default=20)
    parser.add_argument("--units", type=int, default=500)
    parser.add_argument("--keep-s", type=int, default=0)
    return parser.parse_args()


@contextlib.asynccontextmanager
async def _stack(keep_s: int) -> AsyncIterator[tuple[str, int]]:
    with tempfile.TemporaryDirectory(prefix="experiment-benchmark-") as directory:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "streams.cli", "up", "--no-dashboard"),
            *("--port", "0", "--data-dir", directory),
            stdout=asyncio.subprocess.PIPE,
            env=os.environ
            | {
                "EXPERIMENT_ARCHIVED_KEEP_S": str(keep_s),
                "EXPERIMENT_SNAPSHOT_SWEEP_S": "1",
                "EXPERIMENT_MAX_EXPERIMENTS": "100000",
            },
        )
        try:
            assert process.stdout is not None  # noqa: S101 - asked for above
            line = await asyncio.wait_for(process.stdout.readline(), START_S)
            yield line.decode().split()[1], process.pid
        finally:
            process.terminate()
            await process.wait()


async def _round(session: aiohttp.ClientSession, experiments: int, units: int) -> None:
    names = [await _experiment(session) for _ in range(experiments)]
    for name in names:
        body = {
            "experimentIds": [name],
            "units": [{}] * units,
        }
        answer = await _posted(session, "/assign", body)
        clicks = [
            {"assignmentId": row[0]["id"], "metric": "click", "value": 1, "eventId": "c"}
            for row in answer["assignments"]
        ]
        await _posted(session, "/observations", clicks)
    for name in names:
        await _posted(session, f"/experiments/{name}/conclude", {})
        await _posted(session, f"/experiments/{name}/archive", {})


async def _experiment(session: aiohttp.ClientSession) -> str:
    config = {
        "name": "archived",
        "type": "thompson_sampling",
        "primaryMetric": "click",
        "attributionWindow": 5,
    }
    variants = [{"name": "A", "isControl": True}, {"name": "B"}]
    body = {"config": config, "variants": variants}
    name = str((await _posted(session, "/experiments", body))["id"])
    await _posted(session, f"/experiments/{name}/start", {})
    return name


async def _posted(session: aiohttp.ClientSession, path: str, body: Any) -> Any:
    async with session.post(path, json=body) as answer:
        answer.raise_for_status()
        return await answer.json()


async def _left(session: aiohttp.ClientSession, *, wait: bool) -> int:
    """Return how many experiments the API lists; once none is left, if asked to wait."""
    async with asyncio.timeout(ENDED_S):
        while True:
            async with session.get("/experiments") as answer:
                listed = len((await answer.json())["experiments"])
            if not wait or not listed:
                return listed
            await asyncio.sleep(POLL_S)


def _memory(pid: int) -> dict[str, float]:
    """Return the resident memory of each part, in MiB."""
    found = {}
    for process in psutil.Process(pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            words = process.cmdline()
            for name, module in PARTS.items():
                if words[-2:] == ["-m", module]:
                    found[name] = process.memory_info().rss / MIB
    return found


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
