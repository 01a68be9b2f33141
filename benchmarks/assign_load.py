"""Assignments per second through one API process, with impressions going to Kafka.

    python -m benchmarks.assign_load [--seconds 10] [--connections 32] [--experiments 1 200]

needs `wrk`. A closed loop: every connection sends its next request when it has its answer. Client,
API, broker and Valkey share the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import shutil
import sys
import time
from pathlib import Path

import httpx
import psutil

from benchmarks.stack import Stack, names, running_stack

SCRIPT = Path(__file__).with_name("assign.lua")
WARM_UP_S = 2
DELIVERY_TIMEOUT_S = 30.0


async def main() -> int:
    """Measure, and print one line for each number of experiments."""
    arguments = _arguments()
    if shutil.which("wrk") is None:
        sys.stderr.write("wrk is not installed\n")
        return 2
    rates: dict[int, float] = {}
    for n_experiments in arguments.experiments:
        async with running_stack(n_experiments, arguments.unit) as stack:
            options = (arguments.connections, arguments.body)
            await _load(stack, n_experiments, WARM_UP_S, *options)
            processor = _processor_s(stack)
            report = await _load(stack, n_experiments, arguments.seconds, *options)
            api_s, broker_s = (
                (after - before) / arguments.seconds
                for before, after in zip(processor, _processor_s(stack), strict=True)
            )
            rates[n_experiments] = float(_found(r"Requests/sec:\s+([\d.]+)", report))
            figures = {
                "requests/s": f"{rates[n_experiments]:.0f}",
                "p50": _found(r"50%\s+(\S+)", report),
                "p99": _found(r"99%\s+(\S+)", report),
                "refused": _found(r"Non-2xx or 3xx responses: (\d+)", report, "0"),
                "api cores": f"{api_s:.2f}",
                "broker cores": f"{broker_s:.2f}",
                "log": await _delivered(stack),
            }
            listed = ", ".join(f"{name} {figure}" for name, figure in figures.items())
            print(f"{n_experiments} experiments: {listed}", flush=True)
    fewest, most = min(rates), max(rates)
    if fewest != most:
        print(f"{most} experiments cost {rates[fewest] / rates[most]:.2f} times what {fewest} do")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--seconds", type=int, default=10)
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
