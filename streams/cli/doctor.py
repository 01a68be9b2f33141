"""`experiment doctor`: what is wrong, in words, and what to do."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Group
from rich.padding import Padding
from rich.text import Text

from streams.cli import terminal
from streams.cli.failures import EXIT_FAILED
from streams.cli.terminal import API_DEFAULT, Api, ApiKey, AsJson
from streams.ops.doctor.checks import findings
from streams.ops.doctor.finding import Finding, Severity
from streams.ops.doctor.gathering import gather

_STYLES = {Severity.ERROR: "bold red", Severity.WARNING: "bold yellow", Severity.NOTE: "bold"}


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(doctor)


def doctor(
    hours: Annotated[
        int,
        typer.Option(
            min=1, max=2160, help="Age of the oldest dead letter that is reported, in hours."
        ),
    ] = 24,
    as_json: AsJson = False,
    api: Api = API_DEFAULT,
    api_key: ApiKey = None,
) -> None:
    """Diagnose Kafka, Redis, workers, lag, snapshots, spool and clocks, and advise.

    Takes some seconds, because it looks twice. The exit code is 1 if there are findings other than
    notes, else 0. With --json, one object per line.
    """
    settings = terminal.settings_of(api)
    with terminal.err.status("looking twice, a few seconds apart"):
        found = findings(asyncio.run(gather(settings, api, hours, api_key)))
    if as_json:
        for each in found:
            terminal.print_json(asdict(each))
    elif found:
        terminal.out.print(Group(*map(view, found)))
    else:
        terminal.out.print("Nothing is wrong.", style="green")
    if any(each.severity is not Severity.NOTE for each in found):
        raise typer.Exit(EXIT_FAILED)


def view(finding: Finding) -> Group:
    """Return a finding as its head and, indented, what to do."""
    style = _STYLES[finding.severity]
    return Group(
        Text.assemble((f"{finding.severity} {finding.code}", style), f"  {finding.what}"),
        Padding(Text(finding.advice, "dim"), (0, 0, 0, 4)),
    )
