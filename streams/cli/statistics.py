"""`experiment stats`: what is known of an experiment, once or as it changes."""

from __future__ import annotations

import time
from enum import StrEnum
from typing import Annotated

import typer
from rich.live import Live

from experiment_streams_client import ExperimentClient
from streams.cli import terminal
from streams.cli.tables import stats_view
from streams.cli.terminal import API_DEFAULT, Api, ApiKey, AsJson, ExperimentId
from streams.experiments.stats_response import Stats
from streams.model.errors import InputError


class Moment(StrEnum):
    """Moment that `experiment stats` is as of."""

    CONCLUSION = "conclusion"


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(stats)


def stats(
    experiment_id: ExperimentId,
    watch: Annotated[bool, typer.Option("--watch", help="Continue until Ctrl-C.")] = False,
    every: Annotated[
        float, typer.Option(min=0.1, max=3600, help="Seconds between two updates of --watch.")
    ] = 1.0,
    at: Annotated[
        Moment | None, typer.Option(help="As of the conclusion, without what came later.")
    ] = None,
    as_json: AsJson = False,
    api: Api = API_DEFAULT,
    api_key: ApiKey = None,
) -> None:
    """Show counts, posteriors, allocation and the recommended action.

    With --watch and --json, print one line of JSON at each change.
    """
    if watch and at is not None:
        raise InputError("WATCH_NOT_USED", "what was known at the conclusion does not change", "at")
    with terminal.connected(api, api_key) as client:
        if not watch:
            found = client.get_experiment_stats(
                experiment_id, at=None if at is None else "conclusion"
            )
            terminal.show(found, Stats.to_json, stats_view, as_json=as_json)
            return
        try:
            (_watch_json if as_json else _watch)(client, experiment_id, every)
        except KeyboardInterrupt:
            raise typer.Exit from None


def _watch(client: ExperimentClient, experiment_id: str, every_s: float) -> None:
    first = client.get_experiment_stats(experiment_id)
    with Live(stats_view(first), console=terminal.out, auto_refresh=False) as live:
        while True:
            live.update(stats_view(client.get_experiment_stats(experiment_id)), refresh=True)
            time.sleep(every_s)


def _watch_json(client: ExperimentClient, experiment_id: str, every_s: float) -> None:
    shown = -1
    while True:
        found = client.get_experiment_stats(experiment_id)
        if found.version != shown:
            terminal.print_json(found.to_json())
            shown = found.version
        time.sleep(every_s)
