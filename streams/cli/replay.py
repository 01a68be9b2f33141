"""`experiment replay`: the log read again."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from streams.cli import terminal
from streams.cli.failures import EXIT_FAILED
from streams.cli.terminal import API_DEFAULT, Api, AsJson
from streams.domain.ids import experiment_number
from streams.replay.kafka import KafkaSource
from streams.replay.live import projection_of
from streams.replay.partitions import Inputs
from streams.replay.report import Report
from streams.replay.verify import Watcher
from streams.replay.verify import verify as verify_log

CORES = os.cpu_count() or 1


def register(app: typer.Typer) -> None:
    """Add the command group to `app`."""
    group = typer.Typer(no_args_is_help=True, help="Read the log again.")
    group.command()(verify)
    # With one command typer would drop its name; an empty callback keeps the group a group.
    group.callback()(lambda: None)
    app.add_typer(group, name="replay")


def verify(
    experiment: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="Compare this experiment alone. Repeat for more."),
    ] = None,
    processes: Annotated[
        int, typer.Option(min=1, max=1024, help="Partitions folded at a time.")
    ] = CORES,
    as_json: AsJson = False,
    api: Api = API_DEFAULT,
) -> None:
    """Fold the log and compare every cell, snapshot and decision with the live ones, to the byte.

    Ends with 0 when all are equal, and with 1 and the first difference when not. It disturbs
    nobody: workers and API go on meanwhile. Kafka, Redis and the receipt keys are those of the
    embedded stack with the port of --api, or else come from the EXPERIMENT_ variables.
    """
    settings = terminal.settings_of(api)
    numbers = [experiment_number(name) for name in experiment or ()]
    with _watched() as watcher:
        report = verify_log(
            KafkaSource(settings),
            projection_of(settings),
            Inputs.of(settings),
            experiments=numbers,
            processes=processes,
            watcher=watcher,
        )
    if as_json:
        speed = {"events": watcher.events, "seconds": round(watcher.seconds, 3)}
        terminal.print_json(report.to_json() | speed)
    else:
        _print(report, watcher)
    if not report.is_equal:
        raise typer.Exit(EXIT_FAILED)


class _Bar(Watcher):
    """Shows how far a replay is, where a person looks."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("reading what is live", total=None, speed="")
        self._started = time.perf_counter()
        self.events = 0
        self.seconds = 0.0

    def begin(self, offsets: int) -> None:
        self._progress.update(self._task, description="folding", total=offsets)
        self._started = time.perf_counter()

    def advance(self, offsets: int, events: int) -> None:
        self.events += events
        self.seconds = time.perf_counter() - self._started
        self._progress.update(self._task, advance=offsets, speed=f"{self.speed:,.0f} events/s")

    @property
    def speed(self) -> float:
        """Events folded in a second."""
        return self.events / self.seconds if self.seconds else 0.0


@contextmanager
def _watched() -> Iterator[_Bar]:
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[speed]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=terminal.err,
        transient=True,
        disable=not terminal.err.is_terminal,
    ) as progress:
        yield _Bar(progress)


def _print(report: Report, watcher: _Bar) -> None:
    difference = report.difference
    if difference is None:
        typer.echo("Equal: the log gives what is live, to the byte.")
    else:
        where = f" at {difference.path}" if difference.path else ""
        typer.echo(f"Different: {difference.subject} in {difference.place}{where}")
        typer.echo(f"  live      {_or_missing(difference.live)}")
        typer.echo(f"  replayed  {_or_missing(difference.replayed)}")
    typer.echo(
        f"Compared {report.cells:,} cells, {report.snapshots:,} snapshots of the log, "
        f"{report.projected:,} of Redis, {report.commands:,} decisions about commands and "
        f"{report.actions:,} recommended actions of {report.experiments:,} experiments."
    )
    if report.actions_not_compared:
        typer.echo(
            f"Not compared: {report.actions_not_compared:,} recommended actions whose snapshots "
            "the log no longer has."
        )
    if report.behind:
        typer.echo(f"{report.behind:,} cells lag the log.")
    if report.unreadable:
        typer.echo(f"{report.unreadable:,} records of the topics compared cannot be read.")
    keys = ", ".join(map(str, report.key_ids))
    typer.echo(
        f"Folded {watcher.events:,} events in {watcher.seconds:.1f} s ({watcher.speed:,.0f} "
        f"events/s), with a deduplication limit of {report.deduplication_limit:,} and the receipt "
        f"keys {keys}, which the log does not hold."
    )


def _or_missing(value: str | None) -> str:
    return "missing" if value is None else value
