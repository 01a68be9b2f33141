"""`experiment variant add | stop | reactivate | rename | configure`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from experiment_streams_client import Experiment
from streams.cli import terminal
from streams.cli.experiments import as_object
from streams.cli.input_files import read_text
from streams.cli.terminal import (
    API_DEFAULT,
    Api,
    ApiKey,
    AsJson,
    Author,
    ExpectedVersion,
    ExperimentId,
    Reason,
)
from streams.model.errors import InputError

VariantName = Annotated[str, typer.Argument(help="Id or name of the variant.")]
Config = Annotated[
    str | None,
    typer.Option(
        "--config", help="Configuration: a JSON object, or @FILE with one; @- for standard input."
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    group = terminal.group(
        app, "variant", "Add, stop, reactivate and rename the variants of an experiment."
    )
    for command in (add, stop, reactivate, rename, configure):
        group.command(command.__name__)(command)


def add(
    experiment_id: ExperimentId,
    name: Annotated[str, typer.Argument(help="Name of the new variant.")],
    config: Config = None,
    weight: Annotated[
        float | None,
        typer.Option(
            help="Share of the traffic under a fixed policy; by default as the others on average."
        ),
    ] = None,
    expected_version: ExpectedVersion = None,
    reason: Reason = None,
    author: Author = None,
    as_json: AsJson = False,
    api: Api = API_DEFAULT,
    api_key: ApiKey = None,
) -> None:
    """Add a variant, also to a running experiment; prints its id."""
    with terminal.connected(api, api_key, author) as client:
        changed = client.add_variant(
            experiment_id,
            name,
            config=_object(config),
            weight=weight,
            reason=reason,
            expected_version=expected_version,
        )
        terminal.show(changed, as_object, lambda made: made.variants[-1].id, as_json=as_json)


def stop(
    experiment_id: ExperimentId,
    variant: VariantName,
    expected_version: ExpectedVersion = None,
    reason: Reason = None,
    author: Author = None,
    as_json: AsJson = False,
    api: Api = API_DEFAULT,
    api_key: ApiKey = None,
) -> None:
    """Stop a variant: it is no longer assigned, and keeps its statistics."""
    with terminal.connected(api, api_key, author) as client:
        changed = client.change_variant(
            experiment_id,
            variant,
            is_active=False,
            reason=reason,
            expected_version=expected_version,
        )
        terminal.show(changed, as_object, _active_line, as_json=as_json)


def reactivate(
    experiment_id: ExperimentId,
    variant: VariantName,
    expected_version: ExpectedVersion = None,
    reason: Reason = None,
    author: Author = None,
    as_json: AsJson = False,
    api: Api = API_DEFAULT,
    api_key: ApiKey = None,
) -> None:
    """Assign a stopped variant again."""
    with terminal.connected(api, api_key, author) as client:
        changed = client.change_variant(
            experiment_id, variant, is_active=True, reason=reason, expected_version=expected_version
        )
        terminal.show(changed, as_object, _active_line, as_json=as_json)


def rename(
    experiment_id: ExperimentId,
    variant: VariantName,
    name: Annotated[str, typer.Argument(help="Its new name.")],
    expected_version: ExpectedVersion = None,
    reason: Reason = None,
    author: Author = None,
    as_json: AsJson = False,
    api: Api = API_DEFAULT,
    api_key: ApiKey = None,
) -> None:
    """Give a variant another name; its id stays."""
    with terminal.connected(api, api_key, author) as client:
        changed = client.change_variant(
            experiment_id, variant, name=name, reason=reason, expected_version=expected_version
        )
        terminal.show(changed, as_object, _active_line, as_json=as_json)


def configure(
    experiment_id: ExperimentId,
    variant: VariantName,
    config: Annotated[
        str,
        typer.Argument(help="A JSON object, or @FILE with one; @- for standard input."),
    ],
    expected_version: ExpectedVersion = None,
    reason: Reason = None,
    author: Author = None,
    as_json: AsJson = False,
    api: Api = API_DEFAULT,
    api_key: ApiKey = None,
) -> None:
    """Give a variant another configuration, as a whole."""
    with terminal.connected(api, api_key, author) as client:
        changed = client.change_variant(
            experiment_id,
            variant,
            config=_object(config),
            reason=reason,
            expected_version=expected_version,
        )
        terminal.show(changed, as_object, _active_line, as_json=as_json)


def _object(text: str | None) -> dict[str, Any] | None:
    """Return the JSON object of an option.

    Raises:
        InputError: it is not a JSON object (`WRONG_TYPE`), or its file cannot be read
            (`UNREADABLE_FILE`).
    """
    if text is None:
        return None
    if text.startswith("@"):
        text = read_text(Path(text[1:]))
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InputError("WRONG_TYPE", f"is not JSON: {error}", "config") from error
    if not isinstance(found, dict):
        raise InputError("WRONG_TYPE", "must be a JSON object", "config")
    return found


def _active_line(experiment: Experiment) -> str:
    active = [each.name for each in experiment.variants if each.is_active]
    return f"{experiment.id} assigns {', '.join(active)}"
