"""Time from a published change of a feature flag to the event in a client's stream.

    python -m benchmarks.flag_events [--changes 40]

A snapshot is written into Redis as a worker writes it; one API process announces it to its streams.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from dataclasses import replace

import httpx

from benchmarks.stack import publish, running_stack, snapshot
from streams.experiments.lifecycle import Status
from streams.model.experiment_keys import key_number

KEY = "homepage-hero"
PAUSE_S = 0.3
"""Time between two changes, in which the event of the one before has come."""


async def main() -> int:
    """Measure, and print the median and the longest time."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--changes", type=int, default=40)
    n_changes = parser.parse_args().changes
    first = snapshot(key_number(KEY), "user", key=KEY)
    delays_s: list[float] = []
    async with running_stack(1) as stack:
        await publish(stack.settings, [first])
        async with (
            httpx.AsyncClient(base_url=stack.url, trust_env=False, timeout=60) as client,
            client.stream("GET", "/ofrep/v1/events") as events,
        ):
            lines = events.aiter_lines()
            await anext(lines)
            for number in range(n_changes):
                await asyncio.sleep(PAUSE_S)
                status = Status.PAUSED if number % 2 == 0 else Status.RUNNING
                version = first.version + number + 1
                experiment = replace(first.experiment, status=status, version=version)
                began_s = time.perf_counter()
                await publish(
                    stack.settings, [replace(first, experiment=experiment, version=version)]
                )
                async for line in lines:
                    if line.startswith("data: "):
                        break
                delays_s.append(time.perf_counter() - began_s)
    delays_s = sorted(delays_s[1:])  # the first event may be that of the creation
    median_s, longest_s = delays_s[len(delays_s) // 2], delays_s[-1]
    print(f"{len(delays_s)} changes: median {median_s:.3f} s, longest {longest_s:.3f} s")
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
