"""`experiment export`: what the engine counts, as rows of a warehouse."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import Progress, TextColumn, TimeElapsedColumn

from streams.cli import terminal
from streams.cli.failures import EXIT_INTERRUPTED
from streams.cli.log_options import Archive, log_of
from streams.cli.progress import bars
from streams.cli.terminal import API_DEFAULT, Api, AsJson
from streams.fold.garbage_collection import collect_seldom
from streams.kafka.generations import generations_of
from streams.process.logs import configure_logging
from streams.replay.partitions import FoldInputs
from streams.warehouse.observer import ExportObserver
from streams.warehouse.opening import missing

if TYPE_CHECKING:
    from streams.warehouse.following import Export


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(export)


def export(
    to: Annotated[
        str,
        typer.Option(
            metavar="TARGET",
            envvar="EXPERIMENT_EXPORT_TO",
            show_envvar=True,
            help="parquet:DIR, or postgresql://USER@HOST/DATABASE. A password is better in "
            "~/.pgpass or PGPASSWORD than here.",
        ),
    ],
    follow: Annotated[
        bool, typer.Option("--follow", help="Export what comes, until the command is stopped.")
    ] = False,
    interval: Annotated[
        float,
        typer.Option(
            min=0.1,
            max=86_400,
            metavar="SECONDS",
            help="With --follow, the time between two looks at the log.",
        ),
    ] = 10.0,
    archive: Archive = None,
    accept_gap: Annotated[
        bool,
        typer.Option(
            "--accept-gap", help="Continue after records that Kafka and the archive have no more."
        ),
    ] = False,
    as_json: AsJson = False,
    api: Api = API_DEFAULT,
) -> None:
    """Export experiments, assignments, observations, exposures and test results to a warehouse.

    Each event that counts is one row, once, however often the command is killed: rows and the
    place up to which the log was read are one transaction. A later call continues from there. The
    sums of the rows are those of `experiment stats`; the views of schemas/warehouse.sql take voids,
    exposures, floors and caps into account.

    If it is stopped before it has read all, it ends with 130; with --follow, with 0. Ends with 1
    where the target has other columns, was filled from another log, or is written by another
    export. Needs the extra `warehouse` of the package. Kafka and the receipt keys come from
    the EXPERIMENT_ variables where these name a Kafka or a Redis, or else are those of the embedded
    stack with the port of --api.
    """
    settings = terminal.settings_of(api)
    configure_logging(settings.log_level)
    started = time.perf_counter()
    collect_seldom()
    columns = TextColumn("{task.fields[speed]}"), TimeElapsedColumn()
    with bars(*columns) as progress, _stopped_by_signals() as stop:
        run = _export_class()(
            log_of(settings, archive),
            FoldInputs.of(settings),
            to,
            lambda: generations_of(settings)[0].active,
            accept_gap=accept_gap,
            watcher=_Bar(progress),
        )
        if follow:
            run.follow(stop, interval)
        else:
            run.once(stop)
    seconds = time.perf_counter() - started
    found = {"rows": run.rows, "seconds": round(seconds, 3), "isComplete": not stop.is_set()}
    terminal.show(found, dict, _sentence, as_json=as_json)
    if stop.is_set() and not follow:
        terminal.echo("experiment: stopped; a later call continues from there", err=True)
        raise typer.Exit(EXIT_INTERRUPTED)


def _sentence(found: dict[str, Any]) -> str:
    return f"{found['rows']:,} rows in {found['seconds']:.1f} s"


def _export_class() -> type[Export]:
    try:
        from streams.warehouse.following import Export  # noqa: PLC0415 - its libraries are an extra
    except ModuleNotFoundError as error:
        raise missing(error) from error
    return Export


@contextmanager
def _stopped_by_signals() -> Iterator[Event]:
    """Yield what SIGINT and SIGTERM set: what was counted by then is committed."""
    stop = Event()

    def end(number: int, frame: FrameType | None) -> None:
        del number, frame
        stop.set()

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Bar(ExportObserver):
    """A bar of the offsets, with the rows committed so far."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("exporting", total=None, speed="")
        self._rows = 0

    def begin(self, offsets: int) -> None:
        self._progress.reset(self._task, total=offsets)

    def advance(self, offsets: int) -> None:
        self._progress.advance(self._task, offsets)

    def committed(self, rows: int) -> None:
        self._rows += rows
        self._progress.update(self._task, speed=f"{self._rows:,} rows")
