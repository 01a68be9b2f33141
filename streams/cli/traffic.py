"""`experiment assign | expose | void`: what an ad server and its pipeline ask of the API."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from experiment_streams_client import Assignment
from streams.cli import terminal
from streams.cli.posting import AssignmentIds, members_of_assignments, post_members
from streams.cli.terminal import API_DEFAULT, Api, ApiKey, AsJson, ExperimentId
from streams.model.errors import InputError, quoted

AssignmentFile = Annotated[
    Path | None,
    typer.Option(
        "--file",
        help="File with an assignment id, or the JSON that the API takes, in each line; - for "
        "standard input.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    for command in (assign, expose, void):
        app.command(command.__name__)(command)


def assign(
    experiment_id: ExperimentId,
    user: Annotated[str | None, typer.Option(help="Id of the user.")] = None,
    session: Annotated[str | None, typer.Option(help="Id of the session.")] = None,
    fallback: Annotated[
        str | None, typer.Option(help="Another id of the same unit, as before it logged in.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="Device of the request.")] = None,
    location: Annotated[str | None, typer.Option(help="Location of the request.")] = None,
    feature: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE", help="Feature of the request; JSON, or else a text. Repeatable."
        ),
    ] = None,
    eligible: Annotated[
        list[str] | None,
        typer.Option(
            metavar="VARIANT",
            help="Id or name of a variant that the request can show; all of them unless given. "
            "Repeatable.",
        ),
    ] = None,
    as_json: AsJson = False,
    api: Api = API_DEFAULT,
    api_key: ApiKey = None,
) -> None:
    """Ask for the variant of one request, as an ad server does: it is logged, and counts."""
    given = {
        "userId": user,
        "sessionId": session,
        "fallbackUnitId": fallback,
        "device": device,
        "location": location,
        "features": features_of(feature) if feature else None,
        "eligible": eligible or None,
    }
    context = {name: value for name, value in given.items() if value is not None}
    with terminal.connected(api, api_key) as client:
        assignment = client.assign_variant(experiment_id, context)
        terminal.show(assignment, _as_object, _as_text, as_json=as_json)


def expose(
    assignment_ids: AssignmentIds = None,
    file: AssignmentFile = None,
    timestamp: Annotated[
        int | None,
        typer.Option(
            min=0, help="Time of the exposures, in milliseconds since the epoch; now unless given."
        ),
    ] = None,
    as_json: AsJson = False,
    api: Api = API_DEFAULT,
    api_key: ApiKey = None,
) -> None:
    """Record that assigned variants were shown, of an experiment whose `exposure` is `event`.

    To repeat it changes nothing. Those that are refused are printed, and the exit code is 1.
    """
    fields = {} if timestamp is None else {"timestamp": timestamp}
    members = members_of_assignments(assignment_ids, file, fields)
    with terminal.connected(api, api_key) as client:
        post_members(client, "/exposures", members, as_json=as_json)


def void(
    assignment_ids: AssignmentIds = None,
    file: AssignmentFile = None,
    reason: Annotated[
        str | None,
        typer.Option(
            help="Why, such as ivt, bot or deletion; of a file, for lines that do not say it."
        ),
    ] = None,
    as_json: AsJson = False,
    api: Api = API_DEFAULT,
    api_key: ApiKey = None,
) -> None:
    """Take units and all that was observed of them out of the statistics again.

    To repeat it changes nothing. Those that are refused are printed, and the exit code is 1.
    """
    if reason is None and file is None:
        raise InputError("MISSING_FIELD", "say why, as in --reason ivt", "--reason")
    fields = {} if reason is None else {"reason": reason}
    members = members_of_assignments(assignment_ids, file, fields)
    with terminal.connected(api, api_key) as client:
        post_members(client, "/assignments/void", members, as_json=as_json)


def features_of(pairs: list[str]) -> dict[str, Any]:
    """Return the features that `NAME=VALUE` pairs are; a value is JSON, or else a text.

    Raises:
        InputError: a pair has no `=` (`WRONG_TYPE`).

    Examples:
        >>> features_of(["age=35", "campaign=spring-7", "zip='01234'", 'id="7"'])
        {'age': 35, 'campaign': 'spring-7', 'zip': "'01234'", 'id': '7'}
    """
    found = {}
    for pair in pairs:
        name, separator, text = pair.partition("=")
        if not separator or not name:
            raise InputError("WRONG_TYPE", f"{quoted(pair)} is not NAME=VALUE", "--feature")
        try:
            found[name] = orjson.loads(text)
        except orjson.JSONDecodeError:
            found[name] = text
    return found


def _as_object(assignment: Assignment) -> dict[str, Any]:
    return assignment.model_dump(by_alias=True)


def _as_text(assignment: Assignment) -> str:
    lines = {
        "variant": f"{assignment.variant_name} ({assignment.variant_id})",
        "reason": assignment.reason,
        "propensity": None if assignment.propensity is None else f"{assignment.propensity:.6g}",
        "config": orjson.dumps(assignment.config).decode(),
        "id": assignment.id,
    }
    return "\n".join(f"{name:10} {text}" for name, text in lines.items() if text is not None)
