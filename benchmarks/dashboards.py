"""Assignments beside open dashboards, and the time until a dashboard shows an observation.

    python -m benchmarks.dashboards [--open 50] [--rounds 8] [--requests 1000] [--probes 40]

The whole stack of `experiment up`. One client asks for assignments, one after another, alone and
beside `open` pages of one experiment whose statistics change ten times a second; both take turns in
one run, so that the ratio holds when the machine's speed drifts. `processor` is the time that the
API's process used meanwhile. Then each probe posts an observation, and waits for the event of an
open page that has it. All processes share the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import re
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import aiohttp
import psutil

RESULT = Path(__file__).with_name("results") / "dashboards.json"

START_S = 180.0
PATIENCE_S = 20.0
PAUSE_S = 0.1
BACKGROUND_PER_S = 20.0
PROBE_PAUSE_S = 0.3
VARIANTS = [{"name": "A", "isControl": True}, {"name": "B"}, {"name": "C"}]

_WITH_A_VALUE = re.compile(rb'<th scope="row">.*?</th><td class="n">([\d,]+)</td>')


@dataclass(frozen=True, slots=True)
class Stack:
    """A running stack: addresses of API and dashboard, and the process of the API."""

    api: str
    dashboard: str
    process: psutil.Process


@dataclass(frozen=True, slots=True)
class Round:
    """Assignments of a round: median and 99th percentile, and processor time of the API, in ms."""

    p50: float
    p99: float
    processor: float


async def main() -> int:
    """Measure, print, and write the figures down."""
    arguments = _arguments()
    alone: list[Round] = []
    beside: list[Round] = []
    async with _stack() as stack, _sessions(stack) as (api, dashboard):
        experiment, probed = await _experiment(api), await _experiment(api)
        async with _changing(api, experiment):
            await _assignments(api, stack, experiment, 200)
            for _ in range(arguments.rounds):
                alone.append(await _assignments(api, stack, experiment, arguments.requests))
                async with _open(dashboard, experiment, arguments.open):
                    beside.append(await _assignments(api, stack, experiment, arguments.requests))
        async with _open(dashboard, probed, arguments.open - 1):
            delays_s = await _probes(api, dashboard, probed, arguments.probes)
    cuts = quantiles(delays_s, n=100)
    ratios = {
        name: sorted(
            getattr(b, name) / getattr(a, name) for a, b in zip(alone, beside, strict=True)
        )
        for name in ("p50", "p99", "processor")
    }
    result = {
        "open": arguments.open,
        "requests": arguments.requests,
        "rounds": arguments.rounds,
        "alone": _medians(alone),
        "beside": _medians(beside),
        "ratios": {
            name: [round(found[0], 3), round(median(found), 3), round(found[-1], 3)]
            for name, found in ratios.items()
        },
        "visibleMs": {
            "probes": len(delays_s),
            "p50": round(1e3 * cuts[49]),
            "p90": round(1e3 * cuts[89]),
            "max": round(1e3 * max(delays_s)),
        },
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--open", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--requests", type=int, default=1_000)
    parser.add_argument("--probes", type=int, default=40)
    return parser.parse_args()


def _medians(rounds: list[Round]) -> dict[str, float]:
    return {
        f"{name}Ms": round(median(getattr(each, name) for each in rounds), 3)
        for name in ("p50", "p99", "processor")
    }


@contextlib.asynccontextmanager
async def _stack() -> AsyncIterator[Stack]:
    with tempfile.TemporaryDirectory(prefix="experiment-benchmark-") as directory:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "streams.cli", "up", "--dashboard-port", "0"),
            *("--port", "0", "--data-dir", directory),
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            assert process.stdout is not None  # noqa: S101 - asked for above
            api, dashboard = [
                (await asyncio.wait_for(process.stdout.readline(), START_S)).decode().split()[1]
                for _ in range(2)
            ]
            yield Stack(api, dashboard, _api_of(process.pid))
        finally:
            process.terminate()
            await process.wait()


def _api_of(pid: int) -> psutil.Process:
    """Return the process of the API of a supervisor."""
    return next(
        each
        for each in psutil.Process(pid).children()
        if Path(f"/proc/{each.pid}/fd/1").readlink().name == "api.log"
    )


@contextlib.asynccontextmanager
async def _sessions(stack: Stack) -> AsyncIterator[tuple[aiohttp.ClientSession, ...]]:
    patient = aiohttp.ClientTimeout(total=None)
    unlimited = aiohttp.TCPConnector(limit=0)
    cookies = aiohttp.CookieJar(unsafe=True)  # those of an address that is no name
    async with (
        aiohttp.ClientSession(stack.api) as api,
        aiohttp.ClientSession(
            stack.dashboard, timeout=patient, connector=unlimited, cookie_jar=cookies
        ) as dashboard,
    ):
        async with dashboard.get("/") as answer:  # signs in, where the API asks for no key
            answer.raise_for_status()
        yield api, dashboard


async def _experiment(api: aiohttp.ClientSession) -> str:
    config = {
        "name": "Dashboards",
        "type": "thompson_sampling",
        "primaryMetric": "click",
        "metrics": {"click": {"kind": "binary"}},
    }
    created = await _json(api, "/experiments", {"config": config, "variants": VARIANTS})
    identity = str(created["id"])
    await _json(api, f"/experiments/{identity}/start", {})
    while True:  # until the API has heard that it runs
        async with api.post(f"/experiments/{identity}/assign", json={}) as answer:
            if answer.ok:
                return identity
        await asyncio.sleep(PAUSE_S)


async def _assignments(
    api: aiohttp.ClientSession, stack: Stack, experiment: str, n_requests: int
) -> Round:
    times_ms = []
    before_s = sum(stack.process.cpu_times()[:2])
    for _ in range(n_requests):
        began_s = time.perf_counter()
        await _json(api, f"/experiments/{experiment}/assign", {})
        times_ms.append(1e3 * (time.perf_counter() - began_s))
    used_ms = 1e3 * (sum(stack.process.cpu_times()[:2]) - before_s)
    cuts = quantiles(times_ms, n=100)
    return Round(cuts[49], cuts[98], used_ms / n_requests)


@contextlib.asynccontextmanager
async def _changing(api: aiohttp.ClientSession, experiment: str) -> AsyncIterator[None]:
    """Keep the statistics of an experiment changing."""

    async def change() -> None:
        while True:
            await _observe(api, experiment)
            await asyncio.sleep(1.0 / BACKGROUND_PER_S)

    task = asyncio.create_task(change())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@contextlib.asynccontextmanager
async def _open(dashboard: aiohttp.ClientSession, experiment: str, n: int) -> AsyncIterator[None]:
    """Keep `n` pages of an experiment open."""
    shown = asyncio.Semaphore(0)

    async def look() -> None:
        async for number, _ in _numbered(_events(dashboard, experiment)):
            if number == 0:
                shown.release()

    tasks = [asyncio.create_task(look()) for _ in range(n)]
    try:
        async with asyncio.timeout(PATIENCE_S):
            for _ in tasks:
                await shown.acquire()
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _events(dashboard: aiohttp.ClientSession, experiment: str) -> AsyncIterator[bytes]:
    """Yield the live part of a page, whenever it has changed."""
    async with dashboard.get(f"/experiments/{experiment}/live") as answer:
        answer.raise_for_status()
        rest = b""
        async for chunk in answer.content.iter_any():
            *events, rest = (rest + chunk).split(b"\r\n\r\n")
            for event in events:
                if event.startswith(b"id:"):
                    yield event


async def _numbered(events: AsyncIterator[bytes]) -> AsyncIterator[tuple[int, bytes]]:
    number = 0
    async for event in events:
        yield number, event
        number += 1


async def _probes(
    api: aiohttp.ClientSession, dashboard: aiohttp.ClientSession, experiment: str, n: int
) -> list[float]:
    """Return the seconds from the answer to an observation until a page shows it."""
    seen, changed = 0, asyncio.Event()

    async def look() -> None:
        nonlocal seen
        async for event in _events(dashboard, experiment):
            table = event.partition(b'id="metric-1"')[2]
            seen = sum(int(each.replace(b",", b"")) for each in _WITH_A_VALUE.findall(table))
            changed.set()

    task = asyncio.create_task(look())
    delays_s = []
    for number in range(n):
        await asyncio.sleep(PROBE_PAUSE_S)
        await _observe(api, experiment)
        answered_s = time.perf_counter()
        async with asyncio.timeout(PATIENCE_S):
            while seen <= number:
                changed.clear()
                await changed.wait()
        delays_s.append(time.perf_counter() - answered_s)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return delays_s


async def _observe(api: aiohttp.ClientSession, experiment: str) -> None:
    assigned = await _json(api, f"/experiments/{experiment}/assign", {})
    observation = {"assignmentId": assigned["id"], "metric": "click", "value": 1}
    await _json(api, "/observations", observation)


async def _json(session: aiohttp.ClientSession, path: str, body: object) -> dict[str, Any]:
    async with session.post(path, json=body) as answer:
        answer.raise_for_status()
        found: dict[str, Any] = await answer.json()
        return found


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
