"""Durable observations per second of workers, over full topics: `python -m benchmarks.throughput`.

Every round starts the servers again, fills a topic, and then starts the workers. The clock runs
from the first progress record in the changelog to the last, so neither the start of a process nor
the forming of the group is in it. 100 experiments run, and are evaluated and written to Redis
meanwhile. Then the same log is replayed. Other programs read the same topic in the same round,
since the speed of a machine drifts. Quix Streams has a separate environment (pip 25.1 or later):

    python -m venv build/bench && build/bench/bin/pip install --upgrade pip
    build/bench/bin/pip install --group bench
    python -m benchmarks.throughput --quix-python build/bench/bin/python

Writes the medians and all rounds to `benchmarks/results/throughput.json`, and prints a table.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import secrets
import statistics
import sys
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from benchmarks.filled import (
    PATIENCE_S,
    ROOT,
    Filled,
    SourceProgress,
    filled,
    killed_at_half,
    running,
    worker,
)
from benchmarks.fold import Logged, impressions, observations
from schemas import catalogue
from streams.kafka.source import KafkaSource
from streams.local.children import Child
from streams.replay.live import projection_of
from streams.replay.partitions import FoldInputs
from streams.replay.verify import ReplayObserver, verify

RESULTS = Path(__file__).parent / "results" / "throughput.json"
LARGE_BATCH = 500
SMALL_BATCH = 24  # of a turn of the API's event loop with 32 callers who assign one by one
RIVALS = ("loop", "faust", "faust-table", "quix", "quix-state")
RIVAL_RECORDS = {"faust": 100_000, "faust-table": 50_000}  # what takes them some ten seconds
RIVAL_GRACE_S = 2.0
LOOK_EVERY_S = 0.1
CORES = os.cpu_count() or 1


@dataclass(frozen=True, slots=True)
class Log:
    """Records to fill a topic with."""

    topic: catalogue.Topic
    records: Sequence[Logged]
    events: int


@dataclass(slots=True)
class Results:
    """Rounds by what was measured, with the unit."""

    rounds: dict[str, list[float]] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, value: float, unit: str = "events/s") -> None:
        """Take the value of one round, and say it."""
        self.rounds.setdefault(name, []).append(round(value, 2))
        self.units[name] = unit
        print(f"{name}: {value:,.2f} {unit}", file=sys.stderr, flush=True)

    def to_json(self) -> dict[str, Any]:
        """Return the medians and the rounds."""
        return {
            name: {
                "unit": self.units[name],
                "median": statistics.median(rounds),
                "rounds": rounds,
            }
            for name, rounds in self.rounds.items()
        }

    def table(self) -> str:
        """Return the medians, lowest and highest as a table in Markdown."""
        lines = ["| measured | median | lowest; highest | unit |", "|---|---|---|---|"]
        for name, rounds in self.rounds.items():
            median, low, high = (
                _shown(value) for value in (statistics.median(rounds), min(rounds), max(rounds))
            )
            lines.append(f"| {name} | {median} | {low}; {high} | {self.units[name]} |")
        return "\n".join(lines)


def _shown(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.2f}"  # noqa: PLR2004


async def made_durable(installation: Filled, n_workers: int = 1) -> float:
    """Return the events per second that workers make durable together."""
    progress = SourceProgress(installation)
    async with running([worker(installation, f"worker-{n}") for n in range(n_workers)]):
        await progress.until(lambda: progress.records >= installation.records)
    return progress.rate()


class Stopwatch(ReplayObserver):
    """Sees how long the folding of a replay takes."""

    def __init__(self) -> None:
        self.events = 0
        self.began_s = self.ended_s = 0.0

    def begin(self, offsets: int) -> None:
        """Start."""
        del offsets
        self.began_s = time.monotonic()

    def advance(self, offsets: int, events: int) -> None:
        """Take note of events folded."""
        del offsets
        self.events += events
        self.ended_s = time.monotonic()


def replayed(installation: Filled, processes: int) -> float:
    """Return the events per second of a verification, the start of its processes included."""
    settings, stopwatch = installation.settings, Stopwatch()
    report = verify(
        KafkaSource(settings),
        projection_of(settings),
        FoldInputs.of(settings),
        processes=processes,
        watcher=stopwatch,
    )
    if not report.is_equal:
        raise AssertionError(report.difference)
    return stopwatch.events / (stopwatch.ended_s - stopwatch.began_s)


async def rival(installation: Filled, name: str, python: str) -> float:
    """Return the records per second of another program over the same topic."""
    records = min(RIVAL_RECORDS.get(name, installation.records), installation.records)
    command = (
        *(python, str(ROOT / "benchmarks" / "rivals.py"), name, installation.settings.kafka_url),
        *(installation.name, str(records), f"bench-{secrets.token_hex(4)}"),
    )
    child = Child(name, command, os.environ, installation.directory, RIVAL_GRACE_S)
    async with running([child]), asyncio.timeout(PATIENCE_S):
        while True:
            for line in child.tail().splitlines():
                if line.startswith("RATE "):
                    return float(line.split()[1])
            if child.pid is None:
                raise AssertionError(child.tail())
            await asyncio.sleep(LOOK_EVERY_S)


async def rates(
    clicks: Log, batches: dict[str, Log], arguments: argparse.Namespace
) -> AsyncIterator[tuple[str, float, str]]:
    """Yield everything that is measured in one round: name, value, unit."""
    url = arguments.kafka_url
    async with filled(clicks.topic, clicks.records, clicks.events, url) as installation:
        one = await made_durable(installation)
        yield "observations, one worker", one, "events/s"
        for processes in sorted({1, CORES}):
            rate = await asyncio.to_thread(replayed, installation, processes)
            yield f"replay of observations, processes: {processes}", rate, "events/s"
        for name in RIVALS:
            python = arguments.quix_python if name.startswith("quix") else sys.executable
            if python is not None:
                yield name, await rival(installation, name, python), "events/s"
    async with filled(clicks.topic, clicks.records, clicks.events, url) as installation:
        two = await made_durable(installation, 2)
        yield "observations, two workers", two, "events/s"
        yield "two workers against one", two / one, "times"
    for name, log in batches.items():
        async with filled(log.topic, log.records, log.events, url) as installation:
            yield name, await made_durable(installation), "events/s"
    async with filled(clicks.topic, clicks.records, clicks.events, url) as installation:
        yield "from SIGKILL to the next durable batch", await killed_at_half(installation), "s"


def machine(kafka_url: str | None) -> dict[str, Any]:
    """Return what the figures depend on besides the code."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": models[0] if models else platform.processor(),
        "cores": CORES,
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "system": platform.system(),
        "python": platform.python_version(),
        "broker": "embedded" if kafka_url is None else "by URL",
    }


async def measure(arguments: argparse.Namespace) -> Results:
    """Measure all rounds."""
    clicks = Log(
        catalogue.OBSERVATIONS, observations(arguments.observations), arguments.observations
    )
    batches = {
        f"impressions in batches of {size}, one worker": Log(
            catalogue.IMPRESSIONS,
            impressions(arguments.impressions, size),
            arguments.impressions // size * size,
        )
        for size in (LARGE_BATCH, SMALL_BATCH)
    }
    results = Results()
    for _ in range(arguments.rounds):
        async for name, value, unit in rates(clicks, batches, arguments):
            results.add(name, value, unit)
    return results


def main() -> None:
    """Measure, write the results, and print them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--observations", type=int, default=600_000)
    parser.add_argument("--impressions", type=int, default=2_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kafka-url", help="a Kafka to use instead of the embedded broker")
    parser.add_argument("--quix-python", help="interpreter that has the dependency group `bench`")
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    results = asyncio.run(measure(arguments))
    document = {
        "machine": machine(arguments.kafka_url),
        "observations": arguments.observations,
        "impressions": arguments.impressions,
        "results": results.to_json(),
    }
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(document, indent=2) + "\n")
    print(results.table())
    if arguments.quix_python is None:
        print("Quix Streams: not measured; --quix-python names an interpreter that has it.")


if __name__ == "__main__":
    main()
