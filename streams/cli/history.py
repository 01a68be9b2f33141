"""`experiment history`: what was done with an experiment, by whom and why."""

from __future__ import annotations

from typing import Annotated

import orjson
import typer
from rich.table import Table
from rich.text import Text

from experiment_streams_client import HistoryItem
from streams.cli import terminal
from streams.cli.tables import moment, table_of
from streams.cli.terminal import API_DEFAULT, Api, ApiKey, AsJson, ExperimentId

_SHOWN = 60
"""Characters of a value in the table."""

_NOTES = {
    "FINAL": "cannot be undone",
    "CHANGED_SINCE": "changed since",
    "VALUES_NOT_KEPT": "values not kept",
}


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(history)


def history(
    experiment_id: ExperimentId,
    kind: Annotated[
        list[str] | None,
        typer.Option(help="Only these, such as conclude or recommendation. Repeatable."),
    ] = None,
    as_json: AsJson = False,
    api: Api = API_DEFAULT,
    api_key: ApiKey = None,
) -> None:
    """Show what was done with an experiment, newest first: who, when, why, and how to undo it."""
    with terminal.connected(api, api_key) as client:
        found = client.get_experiment_history(experiment_id, *(kind or ()))
        if as_json:
            terminal.print_json({"entries": [each.model_dump(by_alias=True) for each in found]})
        else:
            terminal.out.print(_table(found))


def _table(entries: tuple[HistoryItem, ...]) -> Table:
    table = table_of("when (UTC)", "author", "what", "changes", "why", "undo")
    for each in entries:
        table.add_row(
            moment(each.at),
            Text(each.author or "unknown"),
            each.kind if each.accepted else f"{each.kind}: {each.code}",
            Text("\n".join(_changes(each))),
            Text(each.reason or each.reason_code),
            _undo(each),
        )
    return table


def _changes(entry: HistoryItem) -> list[str]:
    lines = [
        each.path
        if each.is_omitted
        else f"{each.path}: {_value(each.before)} -> {_value(each.after)}"
        for each in entry.changes
    ]
    return [*lines, f"and {entry.omitted_changes} more"] if entry.omitted_changes else lines


def _value(value: object) -> str:
    text = orjson.dumps(value).decode()
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _undo(entry: HistoryItem) -> str:
    undo = entry.undo
    return f"{undo.method} {undo.path}" if undo.path else _NOTES.get(undo.code, "")
