"""Speed of an export beside a replay of the same log: `python -m benchmarks.export`.

Clicks and amounts of 100 experiments, each a separate record of a log in memory, are folded by
`replay`, and exported to Parquet files and, with `--postgresql URL`, to a schema of a PostgreSQL
that must not hold an export yet. Prints seconds by the clock and of this process's processor, rows
a minute, and the ratio to the replay of the same round. Fails unless each event is a row.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg

from benchmarks.filled import commands_of
from benchmarks.fold import EXPERIMENTS, LIMIT, NOW_MS, PARTITIONS, observations
from schemas import catalogue
from streams.fold.garbage_collection import collect_seldom
from streams.kafka.records import OffsetRange, StoredRecord
from streams.replay.history import history_of
from streams.replay.partitions import FoldInputs, Part, fold_parts
from streams.tallies.cell import Source
from streams.warehouse.exporter import exporting
from streams.warehouse.opening import opened
from streams.wire.commands import encode_command

INPUTS = FoldInputs(f"1:{bytes(range(32)).hex()}", LIMIT, partitions=PARTITIONS)
PIECE = 10_000
SECONDS = 60


@dataclass(frozen=True, slots=True)
class Log:
    """A log of one partition of observations, and of the commands that start their experiments.

    Attributes:
        records: The observations.
        commands: The commands.
    """

    records: Sequence[StoredRecord]
    commands: Sequence[StoredRecord]

    def spans(self, topic: str) -> Mapping[int, OffsetRange]:
        """Return what is there of every partition of a topic."""
        if topic == catalogue.COMMANDS.name:
            return {0: OffsetRange(0, len(self.commands))}
        ends = [0] * PARTITIONS
        ends[0] = len(self._all(topic))
        return {partition: OffsetRange(0, end) for partition, end in enumerate(ends)}

    def read(
        self, topic: str, partition: int, begin: int, end: int
    ) -> Iterator[Sequence[StoredRecord]]:
        """Yield the records in [begin, end)."""
        del partition
        for start in range(begin, end, PIECE):
            yield self._all(topic)[start : min(start + PIECE, end)]

    def _all(self, topic: str) -> Sequence[StoredRecord]:
        if topic == catalogue.COMMANDS.name:
            return self.commands
        return self.records if topic == Source.OBSERVATIONS else ()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--postgresql", metavar="URL")
    arguments = parser.parse_args()
    log = log_of(arguments.events)
    works: dict[str, Callable[[], None]] = {
        "replay": lambda: replay(log),
        "parquet": lambda: export_to_files(log),
    }
    if arguments.postgresql:
        works["postgresql"] = lambda: export_to_database(log, arguments.postgresql)
    collect_seldom()
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores, {arguments.events:,} events")
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in works}
    for _ in range(arguments.rounds):
        for name, work in works.items():
            found[name].append(measured(work))
    for name, times in found.items():
        clock, processor = (statistics.median(column) for column in zip(*times, strict=True))
        ratios = [
            own[1] / base[1] for own, base in zip(times, found["replay"], strict=True)
        ]  # fmt: skip
        print(
            f"{name:12} {clock:7.2f} s by the clock {processor:7.2f} s of the processor "
            f"{arguments.events / clock * SECONDS:12,.0f} a minute by the clock "
            f"{arguments.events / processor * SECONDS:12,.0f} by the processor "
            f"{statistics.median(ratios):6.2f} x replay"
        )


def log_of(events: int) -> Log:
    """Return a log of so many observations."""
    commands = [each for number in range(EXPERIMENTS) for each in commands_of(number)]
    return Log(
        [
            StoredRecord(each.offset, each.timestamp, each.key, each.value)
            for each in observations(events)
        ],
        [
            StoredRecord(offset, NOW_MS, None, encode_command(command))
            for offset, command in enumerate(commands)
        ],
    )


def measured(work: Callable[[], None]) -> tuple[float, float]:
    """Return seconds by the clock and of the processor."""
    clock, processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - clock, time.process_time() - processor


def replay(log: Log) -> None:
    """Fold the log, as `experiment replay verify` does."""
    with INPUTS.reading(log) as reading:
        history = history_of(reading)
    parts = [Part(Source.OBSERVATIONS, 0, len(log.records))]
    fold_parts(log, replace(INPUTS, plans=history.plans), parts, 1, _no_progress)


def _no_progress(offsets: int, events: int) -> None:
    del offsets, events


def export_to_files(log: Log) -> None:
    """Export the log to a new directory."""
    with tempfile.TemporaryDirectory(prefix="experiment-benchmark-") as directory:
        export(log, f"parquet:{Path(directory) / 'export'}")


def export_to_database(log: Log, url: str) -> None:
    """Export the log to a database, and remove it again."""
    try:
        export(log, url)
    finally:
        with psycopg.connect(url, autocommit=True) as connection:
            for kind, catalogue in (("VIEW", "views"), ("TABLE", "tables")):
                names = connection.execute(
                    f"SELECT {kind.lower()}name FROM pg_{catalogue} "  # noqa: S608 - constants
                    "WHERE schemaname = current_schema()"
                ).fetchall()
                for (name,) in names:
                    connection.execute(f'DROP {kind} IF EXISTS "{name}" CASCADE'.encode())


def export(log: Log, to: str) -> None:
    """Export the log, and check the number of rows."""
    with opened(to) as target, exporting(log, INPUTS, target, lambda: 1) as exporter:
        exporter.catch_up()
        assert exporter.exported == len(log.records)  # noqa: S101 - else the figure is invalid


if __name__ == "__main__":
    main()
