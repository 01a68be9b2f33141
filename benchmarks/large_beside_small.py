"""A small experiment alone, and beside a very large one: do its commands and counts wait?

    python -m benchmarks.large_beside_small [--seconds 20] [--rounds 2] [--rate 100]
        [--variants 64] [--metrics 16]

The whole stack of `experiment up` with one worker. The small experiment has three variants and one
metric, the large one `variants` times `metrics`, declared of all kinds. Rounds take turns: no
traffic to the large one, then `rate` observations a second to it. In each, one after another: a
command to the small experiment (pause or resume) until it is answered, and an observation to it
until its statistics have it. Client, API, worker, broker and Valkey share the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import secrets
import sys
import time
from http import HTTPStatus
from typing import Any

import aiohttp
import numpy as np

from benchmarks.freshness import (
    MAX_ASSIGNMENTS,
    PROBE_PAUSE_S,
    SETTLE_S,
    _experiment,
    _json,
    _probe,
    _stack,
)

KINDS = ("binary", "count", "revenue", "continuous")
BATCH = 50
MAX_LIST = 500
ASSIGNED = 8_000
PATIENCE_S = 60.0


async def main() -> int:
    """Measure, and print a table."""
    arguments = _arguments()
    async with _stack() as url, aiohttp.ClientSession(url) as session:
        small = await _experiment(session)
        large, receipts = await _large(session, arguments.variants, arguments.metrics)
        probes = 0
        found: dict[str, tuple[list[float], list[float]]] = {"alone": ([], []), "beside": ([], [])}
        before = await _version(session, large)
        sent_in_all = 0
        for _ in range(arguments.rounds):
            for phase, (commands_s, fresh_s) in found.items():
                sent = [0]
                load = asyncio.create_task(
                    _load(session, receipts, arguments, sent)
                    if phase == "beside"
                    else asyncio.sleep(0)
                )
                await asyncio.sleep(SETTLE_S)
                ends = time.perf_counter() + arguments.seconds
                while time.perf_counter() < ends:
                    commands_s += [
                        await _command(session, small, verb) for verb in ("pause", "resume")
                    ]
                    assigned = await _json(session, f"/experiments/{small}/assign", {})
                    probe = await _probe(session, small, str(assigned["id"]), probes)
                    fresh_s.append(probe.seconds)
                    probes += 1
                    await asyncio.sleep(PROBE_PAUSE_S)
                load.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await load
                sent_in_all += sent[0]
                await asyncio.sleep(SETTLE_S)
        counted = await _version(session, large)
    print(
        f"{arguments.variants} variants, {arguments.metrics} metrics; {sent_in_all:,} observations "
        f"to it, version {before:,} to {counted:,}"
    )
    for phase, columns in found.items():
        for what, seconds in zip(("command", "observation counted"), columns, strict=True):
            print(f"{phase:7} {what:20} {_line(seconds)}")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--rate", type=float, default=100.0)
    parser.add_argument("--variants", type=int, default=64)
    parser.add_argument("--metrics", type=int, default=16)
    return parser.parse_args()


def _line(seconds: list[float]) -> str:
    p50, p90, p99 = np.percentile(seconds, [50, 90, 99])
    return (
        f"{len(seconds)}: p50 {p50 * 1e3:.0f} ms, p90 {p90 * 1e3:.0f} ms, p99 {p99 * 1e3:.0f} ms, "
        f"max {max(seconds) * 1e3:.0f} ms"
    )


async def _large(
    session: aiohttp.ClientSession, n_variants: int, n_metrics: int
) -> tuple[str, list[str]]:
    """Create and start the large experiment, and return its id and receipts of all its variants."""
    names = [f"m{number}" for number in range(n_metrics)]
    config = {
        "name": "Large",
        "type": "thompson_sampling",
        "primaryMetric": names[0],
        "secondaryMetrics": names[1:],
        "metrics": {name: {"kind": KINDS[index % 4]} for index, name in enumerate(names)},
    }
    variants = [{"name": f"V{index}", "isControl": index == 0} for index in range(n_variants)]
    created = await _json(session, "/experiments", {"config": config, "variants": variants})
    identity = str(created["id"])
    await _json(session, f"/experiments/{identity}/start", {})
    await asyncio.sleep(SETTLE_S)
    receipts: list[str] = []
    units: list[dict[str, str]] = [{}] * MAX_ASSIGNMENTS
    while len(receipts) < ASSIGNED:
        answer = await _json(session, "/assign", {"experimentIds": [identity], "units": units})
        receipts += [each["id"] for row in answer["assignments"] for each in row]
    for begin in range(0, len(receipts), MAX_LIST):
        batch = receipts[begin : begin + MAX_LIST]
        await _json(session, "/observations", [_observation(each, n_metrics) for each in batch])
    return identity, receipts


def _observation(receipt: str, n_metrics: int) -> dict[str, Any]:
    number = random.randrange(n_metrics)
    value = 1 if number % 4 < 2 else round(random.uniform(0.0, 20.0), 2)  # noqa: PLR2004
    return {"assignmentId": receipt, "metric": f"m{number}", "value": value}


async def _load(
    session: aiohttp.ClientSession,
    receipts: list[str],
    arguments: argparse.Namespace,
    sent: list[int],
) -> None:
    """Post lists of observations of random units and metrics at a steady rate."""
    while True:
        batch = [_observation(random.choice(receipts), arguments.metrics) for _ in range(BATCH)]
        await _json(session, "/observations", batch)
        sent[0] += BATCH
        await asyncio.sleep(BATCH / arguments.rate)


async def _command(session: aiohttp.ClientSession, experiment: str, verb: str) -> float:
    """Return the seconds until a command is answered; asked again where no worker has in time."""
    began = time.perf_counter()
    headers = {"Idempotency-Key": secrets.token_hex(16)}
    while time.perf_counter() - began < PATIENCE_S:
        async with session.post(
            f"/experiments/{experiment}/{verb}", json={}, headers=headers
        ) as answer:
            if answer.ok:
                return time.perf_counter() - began
            if answer.status != HTTPStatus.SERVICE_UNAVAILABLE:
                answer.raise_for_status()
    raise TimeoutError(f"{verb} was not answered within {PATIENCE_S:.0f} s")


async def _version(session: aiohttp.ClientSession, experiment: str) -> int:
    async with session.get(f"/experiments/{experiment}/stats") as answer:
        return int((await answer.json())["version"])


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
