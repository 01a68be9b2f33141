"""`experiment replay rebuild`: another generation of tables and snapshots, from the log."""

from __future__ import annotations

import contextlib
import signal
from concurrent.futures import Future
from dataclasses import asdict
from typing import Annotated

import typer

from streams.cli import terminal
from streams.cli.failures import EXIT_FAILED
from streams.cli.replay.progress import Bar, catching_up, watched
from streams.cli.replay.views import generations_view, report_text
from streams.cli.terminal import API_DEFAULT, Api, AsJson
from streams.kafka.source import KafkaSource
from streams.local.workers import running_workers
from streams.replay import rebuild
from streams.replay.live import projection_of
from streams.replay.partitions import FoldInputs
from streams.replay.report import Report
from streams.replay.verify import verify
from streams.settings import Settings

Generation = Annotated[int, typer.Argument(min=1, metavar="NUMBER", help="Number from `status`.")]
Timeout = Annotated[float, typer.Option(min=1, help="Longest wait without progress, in seconds.")]
Processes = Annotated[
    int, typer.Option(min=1, max=1024, help="Partitions that the comparison folds at a time.")
]

TIMEOUT_S = 60.0
PROCESSES = 2
"""Two, since those who serve need the other cores."""


def register(group: typer.Typer) -> None:
    """Add the commands to the group `replay`."""
    commands = terminal.group(
        group,
        "rebuild",
        "Build another generation of statistics beside the active one, and go over to it.",
    )
    commands.command()(start)
    commands.command()(status)
    commands.command()(switch)
    commands.command()(drop)


def start(
    generation: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="NUMBER", help="Continue a generation that was started before."
        ),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Worker processes.")] = 1,
    and_switch: Annotated[
        bool,
        typer.Option(
            "--switch", help="Make it active once it is verified, and keep its workers running."
        ),
    ] = False,
    timeout: Timeout = TIMEOUT_S,
    processes: Processes = PROCESSES,
    api: Api = API_DEFAULT,
) -> None:
    """Build a new generation from the log with separate workers, and compare it with the log.

    The active one continues meanwhile, and with it every assignment. The workers end with this
    command; what they have built stays until it is dropped.
    """
    settings = rebuild.start(terminal.settings_of(api), generation)
    number = settings.generation
    terminal.echo(f"Generation {number} is being built.", err=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as by Ctrl-C, workers and all
    with running_workers(settings, workers, _complain) as keeping:
        _build(settings, keeping, timeout, processes, and_switch=and_switch)


def status(as_json: AsJson = False, api: Api = API_DEFAULT) -> None:
    """Show the generations and their progress."""
    found = rebuild.statuses(terminal.settings_of(api))
    terminal.show(found, lambda all_: [*map(asdict, all_)], generations_view, as_json=as_json)


def switch(
    generation: Generation,
    timeout: Timeout = TIMEOUT_S,
    processes: Processes = PROCESSES,
    api: Api = API_DEFAULT,
) -> None:
    """Compare a generation with the log, and make it the active one.

    Refused unless it is equal to the log, has all that the active one has, and live workers. The
    one that was active is kept, follows as long as it has workers, and can be switched back to.
    """
    _switch(terminal.settings_of(api), generation, timeout, processes)


def drop(generation: Generation, api: Api = API_DEFAULT) -> None:
    """Remove the topics and snapshots of a generation that is not active, permanently."""
    removed = rebuild.drop(terminal.settings_of(api), generation)
    terminal.echo(f"Generation {generation} is dropped: {removed} topics removed.")


def _build(
    settings: Settings, keeping: Future[None], timeout_s: float, processes: int, *, and_switch: bool
) -> None:
    number = settings.generation
    with catching_up() as bar:

        def advance(folded: int, to_fold: int) -> None:
            if keeping.done():
                keeping.result()
            bar(folded, to_fold)

        rebuild.catch_up(settings, number, None, advance)  # recovery may take minutes
    if not and_switch:
        report, watcher = _compared(settings, processes)
        terminal.echo(report_text(report, watcher))
        if not report.is_equal:
            raise typer.Exit(EXIT_FAILED)
        terminal.echo(
            f"Generation {number} is built. To serve it, start its workers with "
            f"EXPERIMENT_GENERATION={number} experiment worker, and then run "
            f"experiment replay rebuild switch {number}"
        )
        return
    _switch(settings, number, timeout_s, processes)
    terminal.echo(
        "Its workers are those of this command. Before you end it with Ctrl-C, start others with "
        f"EXPERIMENT_GENERATION={number} experiment worker"
    )
    with contextlib.suppress(KeyboardInterrupt):
        keeping.result()


def _switch(settings: Settings, generation: int, timeout_s: float, processes: int) -> None:
    def compare(of_generation: Settings) -> Report:
        report, watcher = _compared(of_generation, processes)
        terminal.echo(report_text(report, watcher))
        return report

    rebuild.check_candidate(settings, generation)
    with catching_up() as advance:
        rebuild.catch_up(settings, generation, timeout_s, advance)
    rebuild.switch(settings, generation, compare, timeout_s)
    terminal.echo(f"Generation {generation} is active.")


def _compared(settings: Settings, processes: int) -> tuple[Report, Bar]:
    with watched() as watcher:
        report = verify(
            KafkaSource(settings),
            projection_of(settings),
            FoldInputs.of(settings),
            generation=settings.generation,
            is_active=False,
            processes=processes,
            watcher=watcher,
        )
    return report, watcher


def _complain(line: str) -> None:
    terminal.echo(f"experiment: {line}", err=True)
