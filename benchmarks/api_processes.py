"""Processor time of an assignment through two API processes that share a port, and through one.

    python -m benchmarks.api_processes [--seconds 4] [--rounds 5] [--processes 2]

needs `wrk`. Two stacks run beside each other, and rounds of both alternate, so that the ratio holds
when the machine's speed drifts. Client, API, broker and Valkey share the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
from dataclasses import dataclass
from statistics import median

import psutil

from benchmarks import wrk
from benchmarks.stack import Stack, running_stack

WARM_UP_S = 2


@dataclass(frozen=True, slots=True)
class Round:
    """Result of one run of `wrk`.

    Attributes:
        rate: Requests per second.
        cost_us: Processor time of all API processes for each request, in microseconds.
        smallest_share: Share of that time which the process with the least of it took.
    """

    rate: float
    cost_us: float
    smallest_share: float


async def main() -> int:
    """Measure, and print a line for each round, then the medians and their ratio."""
    arguments = _arguments()
    if wrk.is_missing():
        return 2
    async with contextlib.AsyncExitStack() as resources:
        stacks = {
            count: await resources.enter_async_context(running_stack(1, processes=count))
            for count in (1, arguments.processes)
        }
        rounds: dict[int, list[Round]] = {count: [] for count in stacks}
        for stack in stacks.values():
            await _round(stack, WARM_UP_S, arguments.connections)
        for number in range(arguments.rounds):
            for count, stack in list(stacks.items())[:: 1 if number % 2 else -1]:
                found = await _round(stack, arguments.seconds, arguments.connections)
                rounds[count].append(found)
                print(
                    f"{count} processes: {found.rate:.0f} requests/s, {found.cost_us:.1f} us, "
                    f"smallest share {found.smallest_share:.2f}",
                    flush=True,
                )
    one, several = rounds[1], rounds[arguments.processes]
    ratio = median(more.cost_us / less.cost_us for less, more in zip(one, several, strict=True))
    print(
        f"medians: {median(each.cost_us for each in one):.1f} us with one, "
        f"{median(each.cost_us for each in several):.1f} us with {arguments.processes}, ratio "
        f"{ratio:.2f}; smallest share {median(each.smallest_share for each in several):.2f}"
    )
    return 0


async def _round(stack: Stack, seconds: int, connections: int) -> Round:
    before = _processor_s(stack)
    report = await wrk.report_of(stack.url, 1, seconds=seconds, connections=connections)
    used = [after - earlier for earlier, after in zip(before, _processor_s(stack), strict=True)]
    cost_us = sum(used) / wrk.requests_of(report) * 1e6
    return Round(wrk.rate_of(report), cost_us, min(used) / sum(used))


def _processor_s(stack: Stack) -> list[float]:
    times = [psutil.Process(child.pid).cpu_times() for child in stack.apis]
    return [each.user + each.system for each in times]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--processes", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
