"""`experiment holdout create | list | stats | end | archive`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.table import Table

from experiment_streams_client import Holdout
from streams.cli import terminal
from streams.cli.statistics import Moment
from streams.cli.statistics_view import stats_view
from streams.cli.tables import moment, table_of
from streams.cli.terminal import API_DEFAULT, Api, ApiKey, AsJson, Author, Reason
from streams.experiments.stats_response import Stats

Key = Annotated[str, typer.Argument(help="Key of the holdout.", show_default=False)]


class Unit(StrEnum):
    """Unit that is held out."""

    USER = "user"
    SESSION = "session"


def register(app: typer.Typer) -> None:
    """Add the command group to `app`."""
    group = terminal.group(app, "holdout", "Shares of the units that no experiment gets.")
    group.command()(create)
    group.command("list")(list_all)
    group.command()(stats)
    group.command()(end)
    group.command()(archive)


def create(
    key: Key,
    share: Annotated[
        float, typer.Option(min=0.0, max=0.5, help="Share of the units that are held out.")
    ],
    experiment: Annotated[
        list[str] | None,
        typer.Option(help="Key or id of an experiment that it covers; by default all. Repeatable."),
    ] = None,
    unit: Annotated[Unit, typer.Option(help="What is held out.")] = Unit.USER,
    metric: Annotated[
        str | None,
        typer.Option(help="Metric that its recommendation goes by; all are compared."),
    ] = None,
    idempotency_key: Annotated[
        str | None, typer.Option(help="Repeating a key returns the same holdout.")
    ] = None,
    reason: Reason = None,
    author: Author = None,
    as_json: AsJson = False,
    api: Api = API_DEFAULT,
    api_key: ApiKey = None,
) -> None:
    """Hold a share of the units out of experiments, from now on."""
    with terminal.connected(api, api_key, author) as client:
        made = client.create_holdout(
            key,
            share,
            experiment or ["*"],
            unit=unit.value,
            primary_metric=metric,
            idempotency_key=idempotency_key,
            reason=reason,
        )
        terminal.show(made, _as_object, _status_line, as_json=as_json)


def list_all(as_json: AsJson = False, api: Api = API_DEFAULT, api_key: ApiKey = None) -> None:
    """List all holdouts, newest first."""
    with terminal.connected(api, api_key) as client:
        found = client.list_holdouts()
        if as_json:
            terminal.print_json({"holdouts": [*map(_as_object, found)]})
        elif found:
            terminal.out.print(_table(found))
        else:
            terminal.err.print("There is no holdout; `experiment holdout create` makes one.")


def stats(
    key: Key,
    at: Annotated[
        Moment | None, typer.Option(help="As of the end, without what came later.")
    ] = None,
    as_json: AsJson = False,
    api: Api = API_DEFAULT,
    api_key: ApiKey = None,
) -> None:
    """Compare the units held out with all others, by every metric."""
    with terminal.connected(api, api_key) as client:
        found = client.get_holdout_stats(key, at=None if at is None else "conclusion")
        terminal.show(found, Stats.to_json, stats_view, as_json=as_json)


def end(
    key: Key,
    reason: Reason = None,
    author: Author = None,
    as_json: AsJson = False,
    api: Api = API_DEFAULT,
    api_key: ApiKey = None,
) -> None:
    """End a holdout: it stops holding units out, and its report is kept."""
    with terminal.connected(api, api_key, author) as client:
        terminal.show(
            client.end_holdout(key, reason=reason), _as_object, _status_line, as_json=as_json
        )


def archive(
    key: Key,
    reason: Reason = None,
    author: Author = None,
    as_json: AsJson = False,
    api: Api = API_DEFAULT,
    api_key: ApiKey = None,
) -> None:
    """Put a holdout away that has ended: what its units do is not counted any more."""
    with terminal.connected(api, api_key, author) as client:
        terminal.show(
            client.archive_holdout(key, reason=reason), _as_object, _status_line, as_json=as_json
        )


def _table(holdouts: tuple[Holdout, ...]) -> Table:
    table = table_of("key", ">share", "unit", "experiments", "status", "created")
    for each in holdouts:
        table.add_row(
            each.key,
            f"{each.share:.1%}",
            each.unit,
            ", ".join(each.experiments),
            each.status,
            moment(each.created_at),
        )
    return table


def _as_object(holdout: Holdout) -> dict[str, Any]:
    return holdout.model_dump(by_alias=True)


def _status_line(holdout: Holdout) -> str:
    return f"holdout {holdout.key} is {holdout.status}, {holdout.share:.1%} of {holdout.unit}s"
