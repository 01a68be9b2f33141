"""Assignments per second through one API process, with impressions going to Kafka.

    python -m benchmarks.assign_load [--seconds 5] [--rounds 3] [--experiments 1 200]

needs `wrk`. A closed loop: every connection sends its next request when it has its answer. Client,
API, broker and Valkey share the machine. Rounds of the stacks with few and with many experiments
alternate with rounds of `benchmarks.bare`, which does the least that could be done, so that ratios
hold when the machine's speed drifts.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import re
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from statistics import median

import httpx
import psutil

from benchmarks import wrk
from benchmarks.stack import Stack, running_stack
from streams.local.children import free_port

WARM_UP_S = 2
DELIVERY_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Round:
    """Result of one run of `wrk`.

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
    if wrk.is_missing():
        return 2
    async with contextlib.AsyncExitStack() as resources:
        stacks = {
            n_experiments: await resources.enter_async_context(
                running_stack(n_experiments, arguments.unit)
            )
            for n_experiments in arguments.experiments
        }
        bare_url = await resources.enter_async_context(_bare_server())
        bare_rates: list[float] = []
        rounds: dict[int, list[Round]] = {n_experiments: [] for n_experiments in stacks}
        for n_experiments, stack in stacks.items():
            await _report(stack.url, n_experiments, WARM_UP_S, arguments)
        for _ in range(arguments.rounds):
            report = await _report(bare_url, 1, arguments.seconds, arguments)
            bare_rates.append(wrk.rate_of(report))
            print(f"bare: requests/s {bare_rates[-1]:.0f}", flush=True)
            for n_experiments, stack in stacks.items():
                found = await _round(stack, n_experiments, arguments)
                print(f"{n_experiments} experiments: {found.line}", flush=True)
                rounds[n_experiments].append(found)
    for number, each in rounds.items():
        rate, cost_us = (
            median(found.rate for found in each),
            median(found.cost_us for found in each),
        )
        share = median(found.rate / bare for found, bare in zip(each, bare_rates, strict=True))
        print(
            f"{number} experiments, medians: {rate:.0f} requests/s, {cost_us:.1f} us of the API, "
            f"{share:.2f} of bare"
        )
    fewest, most = min(rounds), max(rounds)
    if fewest != most:
        pairs = zip(rounds[fewest], rounds[most], strict=True)
        ratio = median(many.cost_us / few.cost_us for few, many in pairs)
        print(f"{most} cost {ratio:.2f} times what {fewest} do (median of the rounds)")
    return 0


@contextlib.asynccontextmanager
async def _bare_server() -> AsyncIterator[str]:
    port = free_port()
    options = (
        "--loop",
        "uvloop",
        "--http",
        "httptools",
        "--no-access-log",
        "--log-level",
        "warning",
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "uvicorn", "benchmarks.bare:app", "--port", str(port), *options)
    )
    try:
        async with httpx.AsyncClient(trust_env=False) as client:
            while True:
                with contextlib.suppress(httpx.TransportError):
                    await client.post(f"http://127.0.0.1:{port}/", json={})
                    break
                await asyncio.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        await process.wait()


async def _round(stack: Stack, n_experiments: int, arguments: argparse.Namespace) -> Round:
    before = _processor_s(stack)
    report = await _report(stack.url, n_experiments, arguments.seconds, arguments)
    api_s, broker_s = (
        after - earlier for earlier, after in zip(before, _processor_s(stack), strict=True)
    )
    rate = wrk.rate_of(report)
    n_requests = wrk.requests_of(report)
    figures = {
        "requests/s": f"{rate:.0f}",
        "p50": wrk.found(r"(?m)^ +50% +(\S+)", report),
        "p99": wrk.found(r"(?m)^ +99% +(\S+)", report),
        "refused": wrk.found(r"Non-2xx or 3xx responses: (\d+)", report, "0"),
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


async def _report(url: str, n_experiments: int, seconds: int, arguments: argparse.Namespace) -> str:
    return await wrk.report_of(
        url,
        n_experiments,
        seconds=seconds,
        connections=arguments.connections,
        body=arguments.body,
    )


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
    return float(wrk.found(rf"(?m)^{re.escape(name)} (\S+)$", metrics))


def _processor_s(stack: Stack) -> list[float]:
    found = []
    for child in (stack.api, stack.broker):
        times = psutil.Process(child.pid).cpu_times()
        found.append(times.user + times.system)
    return found


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
