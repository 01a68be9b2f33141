"""`experiment stats`: what is known of an experiment, once or as it changes."""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import StrEnum
from functools import partial
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.live import Live

from streams.cli import terminal
from streams.cli.dimension_tables import dimension_view
from streams.cli.statistics_view import stats_view
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
    dimension: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Also by the values of a dimension of the experiment."),
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
                experiment_id, at=None if at is None else "conclusion", dimension=dimension
            )
            view = partial(_view, dimension=dimension)
            terminal.show(found, Stats.to_json, view, as_json=as_json)
            return
        read = partial(client.get_experiment_stats, experiment_id, dimension=dimension)
        try:
            if as_json:
                _watch_json(read, every)
            else:
                _watch(read, partial(_view, dimension=dimension), every)
        except KeyboardInterrupt:
            raise typer.Exit from None


def _view(found: Stats, dimension: str | None) -> RenderableType:
    """Return all that is known of an experiment, and what is by a dimension above it."""
    if dimension is None:
        return stats_view(found)
    return Group(*dimension_view(found, dimension), stats_view(found))


def _watch(
    read: Callable[[], Stats], view: Callable[[Stats], RenderableType], every_s: float
) -> None:
    with Live(view(read()), console=terminal.out, auto_refresh=False) as live:
        while True:
            live.update(view(read()), refresh=True)
            time.sleep(every_s)


def _watch_json(read: Callable[[], Stats], every_s: float) -> None:
    shown = -1
    while True:
        found = read()
        if found.version != shown:
            terminal.print_json(found.to_json())
            shown = found.version
        time.sleep(every_s)
