"""Assignments per second through one API process, with impressions going to Kafka.

    python -m benchmarks.assign_load [--seconds 5] [--rounds 3] [--experiments 1 200]

needs `wrk`. A closed loop: every connection sends its next request when it has its answer. Client,
API, broker and Valkey share the machine. Rounds of the stacks with few and with many experiments
alternate, and the best of each counts, so that what else the machine does disturbs little.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import re
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from benchmarks.stack import Stack, names, running_stack

SCRIPT = Path(__file__).with_name("assign.lua")
WARM_UP_S = 2
DELIVERY_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Round:
    """What one run of `wrk` has shown.

    Attributes:
        rate: Requests per second.
        cost_us: Processor time of the API for each request, all threads, in microseconds.
        line: All of it for people.
    """

    rate: float
    cost_us: float
    line: str


async def main() -> int:
    """Measure, and print a line for each round, then the best ones."""
    arguments = _arguments()
    if shutil.which("wrk") is None:
        sys.stderr.write("wrk is not installed\n")
        return 2
    async with contextlib.AsyncExitStack() as resources:
        stacks = {
            n_experiments: await resources.enter_async_context(
                running_stack(n_experiments, arguments.unit)
            )
            for n_experiments in arguments.experiments
        }
        rounds: dict[int, list[Round]] = {n_experiments: [] for n_experiments in stacks}
        for n_experiments, stack in stacks.items():
            await _load(stack, n_experiments, WARM_UP_S, arguments.connections, arguments.body)
        for _ in range(arguments.rounds):
            for n_experiments, stack in stacks.items():
                found = await _round(stack, n_experiments, arguments)
                print(f"{n_experiments} experiments: {found.line}", flush=True)
                rounds[n_experiments].append(found)
    rates = {number: max(found.rate for found in each) for number, each in rounds.items()}
    costs = {number: min(found.cost_us for found in each) for number, each in rounds.items()}
    for number, rate in rates.items():
        print(f"best with {number}: {rate:.0f} requests/s, {costs[number]:.1f} us of the API each")
    fewest, most = min(rates), max(rates)
    if fewest != most:
        by_time, by_rate = costs[most] / costs[fewest], rates[fewest] / rates[most]
        print(f"{most} cost {by_time:.2f} times what {fewest} do; by the rate, {by_rate:.2f} times")
    return 0


async def _round(stack: Stack, n_experiments: int, arguments: argparse.Namespace) -> Round:
    before = _processor_s(stack)
    report = await _load(
        stack, n_experiments, arguments.seconds, arguments.connections, arguments.body
    )
    api_s, broker_s = (
        after - earlier for earlier, after in zip(before, _processor_s(stack), strict=True)
    )
    rate = float(_found(r"Requests/sec:\s+([\d.]+)", report))
    n_requests = float(_found(r"(\d+) requests in", report))
    figures = {
        "requests/s": f"{rate:.0f}",
        "p50": _found(r"(?m)^ +50% +(\S+)", report),
        "p99": _found(r"(?m)^ +99% +(\S+)", report),
        "refused": _found(r"Non-2xx or 3xx responses: (\d+)", report, "0"),
        "api cores": f"{api_s / arguments.seconds:.2f}",
        "broker cores": f"{broker_s / arguments.seconds:.2f}",
        "log": await _delivered(stack),
    }
    line = ", ".join(f"{name} {figure}" for name, figure in figures.items())
    return Round(rate, api_s / n_requests * 1e6, line)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--experiments", type=int, nargs="+", default=[1, 200])
    parser.add_argument("--unit", choices=("impression", "user", "session"), default="impression")
    parser.add_argument("--body", choices=("full", "bare"), default="full")
    return parser.parse_args()


async def _load(stack: Stack, n_experiments: int, seconds: int, connections: int, body: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *("wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", str(SCRIPT)),
        *(stack.url, "--", body, *names(n_experiments)),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    return output.decode()


async def _delivered(stack: Stack) -> str:
    """Return what the API says it has logged, once Kafka has all of it."""
    deadline = time.monotonic() + DELIVERY_TIMEOUT_S
    async with httpx.AsyncClient(base_url=stack.url, trust_env=False) as client:
        while True:
            metrics = (await client.get("/metrics")).text
            is_drained = _metric(metrics, "experiment_spool_bytes") == 0
            if is_drained or time.monotonic() > deadline:
                break
            await asyncio.sleep(0.05)
    assigned = _metric(metrics, 'experiment_assignments_total{reason="ASSIGNED"}')
    records = _metric(metrics, "experiment_acknowledged_records_total")
    state = "all acknowledged" if is_drained else "NOT DRAINED"
    return f"{assigned:.0f} impressions in {records:.0f} records, {state}"


def _metric(metrics: str, name: str) -> float:
    return float(_found(rf"(?m)^{re.escape(name)} (\S+)$", metrics))


def _processor_s(stack: Stack) -> list[float]:
    found = []
    for child in (stack.api, stack.broker):
        times = psutil.Process(child.pid).cpu_times()
        found.append(times.user + times.system)
    return found


def _found(pattern: str, text: str, otherwise: str = "nan") -> str:
    match = re.search(pattern, text)
    return match[1] if match else otherwise


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
