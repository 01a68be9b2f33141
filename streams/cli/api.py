"""`experiment api`: API processes of this machine, configured by the environment."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Annotated

import typer

from streams.cli import terminal
from streams.process.reload import ignore_hangups
from streams.settings import Settings, load_settings


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(api)


def api(
    processes: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=64,
            help="Processes that share the port; of metrics ports each takes the next one.",
            show_default="EXPERIMENT_API_PROCESSES, or 1",
        ),
    ] = None,
) -> None:
    """Run the API. It is stateless; add processes to share the load."""
    ignore_hangups()  # also while the interpreter starts
    settings = load_settings()
    count = settings.api_processes if processes is None else processes
    if count > 1:
        raise typer.Exit(_run_several(settings, count))
    os.execv(sys.executable, [sys.executable, "-m", "api"])  # noqa: S606 - no shell meant


def _run_several(settings: Settings, count: int) -> int:
    from streams.local.api_processes import run_api_processes  # noqa: PLC0415 - not for one

    def report(line: str) -> None:
        terminal.echo(f"experiment: {line}", err=True)

    return asyncio.run(run_api_processes(settings, count, report))
