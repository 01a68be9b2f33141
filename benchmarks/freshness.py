"""From an observation that is posted to the changed snapshot that assignments use, hop by hop.

    python -m benchmarks.freshness [--seconds 30] [--rate 500] [--experiments 10]
        [--rounds 1] [--checkouts BEFORE NOW]

The whole stack of `experiment up`. Background traffic posts `rate` single observations a second to
`experiments` Thompson experiments, each for an assignment made before. A probe posts one such
observation to one more experiment, and asks for that experiment's statistics until the observation
is in; they are read from the snapshot in the memory of the API that `assign` uses. Client, API,
worker, broker and Valkey share the machine.

Afterwards the log says when each probe was where (`benchmarks/freshness_hops.py`). Of several
checkouts each runs once in every round, in an order that turns, since the speed of a machine that
others use drifts; compared are their medians, with the ratio to the first one.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import math
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import psutil

from benchmarks.freshness_hops import HOPS, Announcements, Probe, hops_of
from streams.local.stack_files import find_stack
from streams.model.errors import EventError

HERE = Path(__file__).resolve().parent.parent
POLL_S = 0.02
PROBE_PAUSE_S = 0.1
PATIENCE_S = 10.0
START_S = 300.0
SETTLE_S = 3.0
MAX_ASSIGNMENTS = 1_000
VARIANTS = [{"name": "A", "isControl": True}, {"name": "B"}, {"name": "C"}]
PROCESSES = {
    "streams.worker": "worker",
    "api": "API",
    "broker": "broker",
    "streams.local.journal": "journal",
}


@dataclass(slots=True)
class Found:
    """Measurements of one checkout.

    Attributes:
        rounds: Seconds of every probe, by round.
        hops: Seconds of the hops of every probe, in the order of `HOPS`.
        rates: Observations a second, by round.
        cores: Processor seconds a second of every process, by round.
    """

    rounds: list[list[float]] = field(default_factory=list)
    hops: list[list[float]] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    cores: list[dict[str, float]] = field(default_factory=list)


async def main() -> int:
    """Measure, and print a table."""
    arguments = _arguments()
    found = {checkout: Found() for checkout in arguments.checkouts}
    for turn in range(arguments.rounds):
        order = arguments.checkouts if turn % 2 == 0 else [*reversed(arguments.checkouts)]
        for checkout in order:
            await _measure(arguments, checkout, found[checkout])
            print(_line(f"round {turn + 1}, {checkout.name}", found[checkout].rounds[-1]))
    for line in _table(found):
        print(line)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--rate", type=float, default=500.0)
    parser.add_argument("--experiments", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--checkouts", nargs="+", type=Path, default=[HERE], metavar="CHECKOUT")
    return parser.parse_args()


async def _measure(arguments: argparse.Namespace, checkout: Path, found: Found) -> None:
    """Run one stack, and add what was measured."""
    async with _stack(checkout) as url, aiohttp.ClientSession(url) as session:
        stack = find_stack(int(url.rpartition(":")[2]))
        assert stack is not None  # noqa: S101 - it has just said that it is ready
        loaded = [await _experiment(session) for _ in range(arguments.experiments)]
        probed = await _experiment(session)
        wanted = math.ceil(arguments.rate * (arguments.seconds + PATIENCE_S))
        receipts = await _assigned(session, loaded, wanted)
        own = await _assigned(session, [probed], math.ceil(arguments.seconds / PROBE_PAUSE_S))
        await asyncio.sleep(SETTLE_S)
        sent = [0]
        probes: list[Probe] = []
        async with Announcements(stack.as_settings(), probed) as announced:
            background = asyncio.create_task(_load(session, receipts, arguments.rate, sent))
            started, used = time.perf_counter(), _processor_seconds(stack.pid)
            while time.perf_counter() - started < arguments.seconds:
                probes.append(await _probe(session, probed, own.pop(), len(probes)))
                await asyncio.sleep(PROBE_PAUSE_S)
            elapsed_s = time.perf_counter() - started
            cores = {
                name: (seconds - used.get(name, 0.0)) / elapsed_s
                for name, seconds in _processor_seconds(stack.pid).items()
            }
        background.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await background
        with contextlib.suppress(EventError):  # a checkout with other schemas has no hops
            found.hops += await asyncio.to_thread(
                hops_of, probes, probed, stack.as_settings(), announced.heard
            )
    found.rounds.append([probe.seconds for probe in probes])
    found.rates.append(sent[0] / elapsed_s)
    found.cores.append(cores)


def _processor_seconds(pid: int) -> dict[str, float]:
    """Return the processor time of the children of a stack, by what they are."""
    used: dict[str, float] = {}
    for child in psutil.Process(pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            words = child.cmdline()
            name = next((PROCESSES[word] for word in words if word in PROCESSES), None)
            if name is not None:
                times = child.cpu_times()
                used[name] = used.get(name, 0.0) + times.user + times.system
    return used


def _line(name: str, seconds: Sequence[float]) -> str:
    p50, p90, p99 = np.percentile(seconds, [50, 90, 99])
    return (
        f"{name}: {len(seconds)} probes: p50 {p50 * 1e3:.0f} ms, p90 {p90 * 1e3:.0f} ms, "
        f"p99 {p99 * 1e3:.0f} ms, max {max(seconds) * 1e3:.0f} ms"
    )


def _table(found: Mapping[Path, Found]) -> list[str]:
    """Return the lines of a table: all rounds of every checkout, and ratios to the first one."""
    first = next(iter(found.values()))
    lines = []
    for checkout, each in found.items():
        seconds = [second for of_round in each.rounds for second in of_round]
        rate = statistics.median(each.rates)
        lines.append(_line(f"{checkout.name}, {rate:.0f} observations/s", seconds))
        for name in PROCESSES.values():
            cores = statistics.median(of_round.get(name, 0.0) for of_round in each.cores)
            lines[-1] += f"; {name} {cores:.2f} cores"
        if each is not first:
            ratios = [
                statistics.median(now) / statistics.median(before)
                for now, before in zip(each.rounds, first.rounds, strict=True)
            ]
            lines.append(
                f"  median of a round over that of the first checkout: "
                f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
            )
    lines.append(f"{'ms, median (p99)':32}" + "".join(f"{checkout.name:>20}" for checkout in found))
    for index, hop in enumerate(HOPS):
        cells = ""
        for each in found.values():
            p50, p99 = np.percentile([hops[index] for hops in each.hops] or [math.nan], [50, 99])
            cells += f"{f'{p50 * 1e3:.0f} ({p99 * 1e3:.0f})':>20}"
        lines.append(f"{hop:32}{cells}")
    return lines


@contextlib.asynccontextmanager
async def _stack(checkout: Path = HERE) -> AsyncIterator[str]:
    packages = os.pathsep.join([str(checkout), str(checkout / "client")])
    with tempfile.TemporaryDirectory(prefix="experiment-benchmark-") as directory:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "streams.cli", "up", "--no-dashboard"),
            *("--port", "0", "--data-dir", directory),
            stdout=asyncio.subprocess.PIPE,
            cwd=checkout,
            env=os.environ | {"PYTHONPATH": packages},
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


async def _probe(
    session: aiohttp.ClientSession, experiment: str, receipt: str, counted: int
) -> Probe:
    """Post an observation, and return once it is counted."""
    body = {"assignmentId": receipt, "metric": "click", "value": 1}
    posted = time.time()
    await _json(session, "/observations", body)
    while time.time() - posted < PATIENCE_S:
        async with session.get(f"/experiments/{experiment}/stats") as answer:
            if (await answer.json())["totalObservations"] > counted:
                return Probe(receipt, posted, time.time())
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
