"""Time of an assignment with and without a thousand connections that say nothing.

    python -m benchmarks.silent_connections [--connections 1000] [--requests 2000] [--rounds 3]

One client asks on one connection, one request after another, first alone and then beside the silent
ones; both take turns in one run, so that the ratio holds when the machine's speed drifts.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from pathlib import Path
from statistics import median, quantiles

from benchmarks.stack import Stack, names, running_stack

RESULT = Path(__file__).with_name("results") / "silent_connections.json"


async def main() -> None:
    """Measure, print, and write the figures down."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--connections", type=int, default=1_000)
    parser.add_argument("--requests", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    alone: list[tuple[float, float]] = []
    beside: list[tuple[float, float]] = []
    async with running_stack(1) as stack:
        await _latencies_ms(stack, 500)
        for _ in range(arguments.rounds):
            alone.append(await _latencies_ms(stack, arguments.requests))
            silent = await asyncio.gather(
                *(
                    asyncio.open_connection("127.0.0.1", stack.settings.api_port)
                    for _ in range(arguments.connections)
                )
            )
            beside.append(await _latencies_ms(stack, arguments.requests))
            for _, writer in silent:
                writer.transport.abort()
    result = {
        "connections": arguments.connections,
        "requests": arguments.requests,
        "aloneP50Ms": round(median(p50 for p50, _ in alone), 3),
        "aloneP99Ms": round(median(p99 for _, p99 in alone), 3),
        "besideP50Ms": round(median(p50 for p50, _ in beside), 3),
        "besideP99Ms": round(median(p99 for _, p99 in beside), 3),
        "ratioP50": round(median(b[0] / a[0] for a, b in zip(alone, beside, strict=True)), 3),
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


async def _latencies_ms(stack: Stack, n_requests: int) -> tuple[float, float]:
    """Return median and 99th percentile of the time of an assignment, in milliseconds."""
    reader, writer = await asyncio.open_connection("127.0.0.1", stack.settings.api_port)
    sent = (
        f"POST /experiments/{names(1)[0]}/assign HTTP/1.1\r\n"
        "Host: api\r\nContent-Length: 2\r\n\r\n{}"
    ).encode()
    times_ms = []
    for _ in range(n_requests):
        began_s = time.perf_counter()
        writer.write(sent)
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(head.decode())
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        await reader.readexactly(length)
        times_ms.append(1_000 * (time.perf_counter() - began_s))
    writer.close()
    cuts = quantiles(times_ms, n=100)
    return cuts[49], cuts[98]


if __name__ == "__main__":
    asyncio.run(main())
