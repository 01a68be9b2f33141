"""`experiment create | list | edit | start | pause | resume | conclude | rollback | archive`."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from experiment_streams_client import Experiment, ExperimentClient
from streams.cli import terminal
from streams.cli.definition_files import read_definition
from streams.cli.tables import experiments_table
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
from streams.experiments.promotion_state import MAX_CONTROL_SHARE
from streams.experiments.served import Serve
from streams.model.errors import InputError, quoted
from streams.model.number_texts import decimal_number


class Sort(StrEnum):
    """Order of `experiment list`."""

    NEWEST = "newest"
    ATTENTION = "attention"


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command()(create)
    app.command("list")(list_all)
    app.command()(edit)
    # `archive` is registered beside the archive of the log: `streams.cli.archive`.
    for verb in (start, pause, resume, conclude, rollback):
        app.command(verb.__name__)(verb)


def create(
    file: Annotated[
        Path | None,
        typer.Argument(help="JSON or YAML with `config` and `variants`; - for standard input."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name, if there is no file.")] = None,
    key: Annotated[
        str | None,
        typer.Option(help="Key by which programs ask for the experiment; also beside a file."),
    ] = None,
    kind: Annotated[
        str,
        typer.Option("--type", help="Policy, such as thompson_sampling or bayesian_ab."),
    ] = "thompson_sampling",
    metric: Annotated[str, typer.Option(help="Primary metric.")] = "click",
    variant: Annotated[
        list[str] | None,
        typer.Option(
            help="Name of a variant, or name=weight; the first is the control. Repeatable."
        ),
    ] = None,
    unit: Annotated[
        str | None, typer.Option(help="Unit of randomization: impression, user or session.")
    ] = None,
    start_now: Annotated[
        bool, typer.Option("--start", help="Start the experiment at once.")
    ] = False,
    idempotency_key: Annotated[
        str | None, typer.Option(help="Repeating a key returns the same experiment.")
    ] = None,
    reason: Reason = None,
    author: Author = None,
    as_json: AsJson = False,
    api: Api = API_DEFAULT,
    api_key: ApiKey = None,
) -> None:
    """Create an experiment from a file, or a simple one from options. Prints its id."""
    with terminal.connected(api, api_key, author) as client:
        if file is not None:
            definition = read_definition(file)
        else:
            definition = simple_definition(name, kind, metric, variant or [], unit)
        if key is not None:
            definition["config"]["key"] = key
        experiment = client.create_experiment(
            definition["config"], definition["variants"], idempotency_key, reason=reason
        )
        if start_now:
            experiment = client.start_experiment(experiment.id, reason=reason)
        terminal.show(experiment, as_object, lambda made: made.id, as_json=as_json)


def edit(
    experiment_id: ExperimentId,
    file: Annotated[
        Path,
        typer.Argument(help="JSON or YAML with `config` and `variants`; - for standard input."),
    ],
    version: Annotated[
        int | None,
        typer.Option(min=1, help="Refuse the edit if the draft has another version by now."),
    ] = None,
    reason: Reason = None,
    author: Author = None,
    as_json: AsJson = False,
    api: Api = API_DEFAULT,
    api_key: ApiKey = None,
) -> None:
    """Put another definition in the place of a draft's, as a whole."""
    with terminal.connected(api, api_key, author) as client:
        definition = read_definition(file)
        edited = client.edit_experiment(
            experiment_id,
            definition["config"],
            definition["variants"],
            version=version,
            reason=reason,
        )
        terminal.show(edited, as_object, status_line, as_json=as_json)


def list_all(
    status: Annotated[
        list[str] | None, typer.Option(help="Only with this status. Repeatable.")
    ] = None,
    owner: Annotated[str | None, typer.Option(help="Only of this owner.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="Only with this tag. Repeatable.")] = None,
    search: Annotated[
        str | None, typer.Option(help="Only those whose name, key, owner or tag contains it.")
    ] = None,
    action: Annotated[
        list[str] | None,
        typer.Option(help="Only with this recommended action. Repeatable."),
    ] = None,
    health: Annotated[
        list[str] | None, typer.Option(help="Only ok, warning or error. Repeatable.")
    ] = None,
    kind: Annotated[
        list[str] | None, typer.Option("--type", help="Only with this policy. Repeatable.")
    ] = None,
    sort: Annotated[
        Sort, typer.Option(help="Newest first, or what needs a decision first.")
    ] = Sort.NEWEST,
    as_json: AsJson = False,
    api: Api = API_DEFAULT,
    api_key: ApiKey = None,
) -> None:
    """List all experiments, newest first, or those that need a decision first."""
    with terminal.connected(api, api_key) as client:
        experiments = client.list_experiments(
            *(status or ()),
            types=kind or (),
            owner=owner,
            tags=tag or (),
            search=search,
            actions=action or (),
            health=health or (),
            sort="attention" if sort is Sort.ATTENTION else None,
        )
        if as_json:
            terminal.print_json({"experiments": [*map(as_object, experiments)]})
        elif experiments:
            terminal.out.print(experiments_table(experiments))
        elif any((status, kind, owner, tag, search, action, health)):
            terminal.err.print("No experiment matches.")
        else:
            terminal.err.print("There is no experiment yet; `experiment create` makes one.")


def _lifecycle_command(
    verb: str,
    request: Callable[[ExperimentClient, str, str | None, int | None], Experiment],
    meaning: str,
) -> Callable[..., None]:
    """Return the command `experiment VERB ID`, whose help is `meaning`."""

    def command(
        experiment_id: ExperimentId,
        expected_version: ExpectedVersion = None,
        reason: Reason = None,
        author: Author = None,
        as_json: AsJson = False,
        api: Api = API_DEFAULT,
        api_key: ApiKey = None,
    ) -> None:
        with terminal.connected(api, api_key, author) as client:
            changed = request(client, experiment_id, reason, expected_version)
            terminal.show(changed, as_object, status_line, as_json=as_json)

    command.__name__, command.__doc__ = verb, meaning
    return command


start = _lifecycle_command(
    "start",
    lambda client, name, reason, version: client.start_experiment(
        name, reason=reason, expected_version=version
    ),
    "Start a draft: from now on it assigns.",
)
pause = _lifecycle_command(
    "pause",
    lambda client, name, reason, version: client.pause_experiment(
        name, reason=reason, expected_version=version
    ),
    "Stop assigning; observations of earlier assignments still count.",
)
resume = _lifecycle_command(
    "resume",
    lambda client, name, reason, version: client.resume_experiment(
        name, reason=reason, expected_version=version
    ),
    "Go on assigning after a pause.",
)
rollback = _lifecycle_command(
    "rollback",
    lambda client, name, reason, version: client.rollback_experiment(
        name, reason=reason, expected_version=version
    ),
    "Take a promoted or shipped winner back: all users get the control until it is archived.",
)
archive = _lifecycle_command(
    "archive",
    lambda client, name, reason, version: client.archive_experiment(
        name, reason=reason, expected_version=version
    ),
    "Put a draft or a concluded experiment away.",
)


def conclude(
    experiment_id: ExperimentId,
    winner: Annotated[
        str | None, typer.Option(help="Id or name of the winning variant; by default no winner.")
    ] = None,
    control_share: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=MAX_CONTROL_SHARE,
            help="Share that the control keeps; by default that of the experiment.",
        ),
    ] = None,
    serve: Annotated[
        Serve | None,
        typer.Option(
            help="What all users get until it is archived; by default the winner, or without one "
            "the control."
        ),
    ] = None,
    expected_version: ExpectedVersion = None,
    reason: Reason = None,
    author: Author = None,
    as_json: AsJson = False,
    api: Api = API_DEFAULT,
    api_key: ApiKey = None,
) -> None:
    """End an experiment, with a winner or without."""
    with terminal.connected(api, api_key, author) as client:
        if winner is not None:
            named = {each.name: each.id for each in client.get_experiment(experiment_id).variants}
            winner = named.get(winner, winner)
        concluded = client.conclude_experiment(
            experiment_id,
            winner,
            control_share=control_share,
            serve=None if serve is None else serve.value,
            reason=reason,
            expected_version=expected_version,
        )
        terminal.show(concluded, as_object, status_line, as_json=as_json)


def simple_definition(
    name: str | None, kind: str, metric: str, variants: list[str], unit: str | None
) -> dict[str, Any]:
    """Return the definition that the options of `create` stand for.

    Raises:
        InputError: there is no name, or a weight is not a number.

    Examples:
        >>> simple_definition("A/B", "ucb", "click", ["A", "B=0.75"], None)["variants"][1]
        {'name': 'B', 'isControl': False, 'weight': 0.75}
    """
    if name is None:
        raise InputError("MISSING_FIELD", "give a file, or --name and --variant", "--name")
    config = {"name": name, "type": kind, "primaryMetric": metric}
    if unit is not None:
        config["unit"] = unit
    return {
        "config": config,
        "variants": [_variant(text, index == 0) for index, text in enumerate(variants)],
    }


def _variant(text: str, is_control: bool) -> dict[str, Any]:
    name, separator, weight = text.rpartition("=")
    if not separator:
        return {"name": text, "isControl": is_control}
    number = decimal_number(weight)
    if number is None:
        raise InputError("WRONG_TYPE", f"weight == {quoted(weight)}, must be a number", "--variant")
    return {"name": name, "isControl": is_control, "weight": number}


def as_object(experiment: Experiment) -> dict[str, Any]:
    """Return an experiment as `--json` prints it."""
    return experiment.model_dump(by_alias=True)


def status_line(experiment: Experiment) -> str:
    """Return the status of an experiment, and the variant that it serves, as a sentence."""
    served = experiment.served
    names = {each.id: each.name for each in experiment.variants}
    ending = "" if served is None else f" and serves {names[served.variant_id]} to all users"
    return f"{experiment.id} is {experiment.status}{ending}"
