"""From an answered observation to the changed snapshot that assignments use.

    python -m benchmarks.freshness [--seconds 30] [--rate 500] [--experiments 10]

The whole stack of `experiment up`. Background traffic posts `rate` single observations a second to
`experiments` Thompson experiments, each for an assignment made before. A probe posts one
observation to one more experiment and asks for that experiment's statistics until the observation
is in; they are read from the snapshot in the memory of the API that `assign` uses. Client, API,
worker, broker and Valkey share the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import math
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import numpy as np

POLL_S = 0.02
PROBE_PAUSE_S = 0.1
PATIENCE_S = 10.0
START_S = 120.0
SETTLE_S = 3.0
MAX_ASSIGNMENTS = 1_000
VARIANTS = [{"name": "A", "isControl": True}, {"name": "B"}, {"name": "C"}]


async def main() -> int:
    """Measure, and print one line."""
    arguments = _arguments()
    async with _stack() as url, aiohttp.ClientSession(url) as session:
        loaded = [await _experiment(session) for _ in range(arguments.experiments)]
        probed = await _experiment(session)
        wanted = math.ceil(arguments.rate * (arguments.seconds + PATIENCE_S))
        receipts = await _assigned(session, loaded, wanted)
        await asyncio.sleep(SETTLE_S)
        sent = [0]
        background = asyncio.create_task(_load(session, receipts, arguments.rate, sent))
        started = time.perf_counter()
        delays_s: list[float] = []
        while time.perf_counter() - started < arguments.seconds:
            delays_s.append(await _probe(session, probed, len(delays_s)))
            await asyncio.sleep(PROBE_PAUSE_S)
        elapsed_s = time.perf_counter() - started
        background.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await background
    p50, p90, p99 = np.percentile(delays_s, [50, 90, 99])
    print(
        f"{sent[0] / elapsed_s:.0f} observations/s to {arguments.experiments} experiments; "
        f"{len(delays_s)} probes: p50 {p50 * 1e3:.0f} ms, p90 {p90 * 1e3:.0f} ms, "
        f"p99 {p99 * 1e3:.0f} ms, max {max(delays_s) * 1e3:.0f} ms"
    )
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--rate", type=float, default=500.0)
    parser.add_argument("--experiments", type=int, default=10)
    return parser.parse_args()


@contextlib.asynccontextmanager
async def _stack() -> AsyncIterator[str]:
    with tempfile.TemporaryDirectory(prefix="experiment-benchmark-") as directory:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "streams.cli", "up", "--no-dashboard"),
            *("--port", "0", "--data-dir", directory),
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            assert process.stdout is not None  # noqa: S101 - asked for above
            line = await asyncio.wait_for(process.stdout.readline(), START_S)
            yield line.decode().split()[1]
        finally:
            process.terminate()
            await process.wait()


async def _experiment(session: aiohttp.ClientSession) -> str:
    config = {"name": "Freshness", "type": "thompson_sampling", "primaryMetric": "click"}
    created = await _json(session, "/experiments", {"config": config, "variants": VARIANTS})
    identity = str(created["id"])
    await _json(session, f"/experiments/{identity}/start", {})
    while True:  # until the API has heard that it runs
        async with session.post(f"/experiments/{identity}/assign", json={}) as answer:
            if answer.ok:
                return identity
        await asyncio.sleep(POLL_S)


async def _probe(session: aiohttp.ClientSession, experiment: str, counted: int) -> float:
    """Return the seconds from the answer to an observation until it is counted."""
    assigned = await _json(session, f"/experiments/{experiment}/assign", {})
    await _json(
        session, "/observations", {"assignmentId": assigned["id"], "metric": "click", "value": 1}
    )
    answered = time.perf_counter()
    while time.perf_counter() - answered < PATIENCE_S:
        async with session.get(f"/experiments/{experiment}/stats") as answer:
            if (await answer.json())["totalObservations"] > counted:
                return time.perf_counter() - answered
        await asyncio.sleep(POLL_S)
    raise TimeoutError(f"an observation was not counted within {PATIENCE_S:.0f} s")


async def _assigned(
    session: aiohttp.ClientSession, experiments: list[str], wanted: int
) -> list[str]:
    """Return the ids of at least `wanted` assignments, spread over the experiments."""
    receipts: list[str] = []
    units: list[dict[str, str]] = [{}] * max(1, MAX_ASSIGNMENTS // len(experiments))
    while len(receipts) < wanted:
        body = {"experimentIds": experiments, "units": units}
        answer = await _json(session, "/assign", body)
        receipts += [each["id"] for row in answer["assignments"] for each in row]
    return receipts


async def _load(
    session: aiohttp.ClientSession, receipts: list[str], rate: float, sent: list[int]
) -> None:
    """Post observations at a steady rate, whatever the answers take."""
    loop = asyncio.get_running_loop()
    begin = loop.time()
    async with asyncio.TaskGroup() as group:
        for number, receipt in enumerate(receipts):
            await asyncio.sleep(begin + number / rate - loop.time())
            group.create_task(_click(session, receipt, sent))


async def _click(session: aiohttp.ClientSession, receipt: str, sent: list[int]) -> None:
    observation = {"assignmentId": receipt, "metric": "click", "value": 1}
    await _json(session, "/observations", observation)
    sent[0] += 1


async def _json(session: aiohttp.ClientSession, path: str, body: object) -> dict[str, Any]:
    async with session.post(path, json=body) as answer:
        answer.raise_for_status()
        found: dict[str, Any] = await answer.json()
        return found


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
