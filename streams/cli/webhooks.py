"""`experiment webhooks create | list | show | update | test | delete | run`."""

from __future__ import annotations

import os
import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn
from urllib.parse import urlsplit

import typer
from rich.table import Table

from experiment_streams_client import ExperimentClient, Webhook, new_webhook_secret
from streams.cli import terminal
from streams.cli.input_files import read_text
from streams.cli.tables import moment, table_of
from streams.cli.terminal import API_DEFAULT, Api, ApiKey, AsJson
from streams.model.errors import DependencyError, InputError
from streams.process.reload import ignore_hangups

TEST_WAIT_S = 30.0
"""Longest wait for the result of a test."""

LOOK_S = 0.3

Name = Annotated[str, typer.Argument(metavar="ID", help="Id of the webhook.", show_default=False)]
SecretFile = Annotated[
    Path | None,
    typer.Option(
        "--secret-file",
        allow_dash=True,
        help="File of the secret (`whsec_` and base64); `-` reads it from standard input.",
    ),
]
Events = Annotated[
    list[str] | None,
    typer.Option(
        "--event",
        help="Type of events, or a group as `experiment.*`; by default all. Repeatable.",
    ),
]
Experiments = Annotated[
    list[str] | None,
    typer.Option(
        "--experiment",
        help="Key or id of an experiment; by default all, and '' for all again. Repeatable.",
    ),
]
Tags = Annotated[
    list[str] | None,
    typer.Option(
        "--tag",
        help="Only of experiments that have this tag, or another one that is given; by default "
        "all, and '' for all again. Repeatable.",
    ),
]
Since = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="Send events from this time on, also those of the past: milliseconds since 1970.",
    ),
]


class Format(StrEnum):
    """Format of the bodies."""

    STANDARD = "standard"
    SLACK = "slack"


class Switch(StrEnum):
    """Whether events are sent."""

    ON = "on"
    OFF = "off"


def register(app: typer.Typer) -> None:
    """Add the command group to `app`."""
    group = terminal.group(app, "webhooks", "Events sent to addresses of other systems.")
    group.command()(create)
    group.command("list")(list_all)
    group.command()(show)
    group.command()(update)
    group.command("test")(send_test)
    group.command()(delete)
    group.command()(run)


def create(
    url: Annotated[str, typer.Argument(metavar="URL", help="Where events are sent.")],
    event: Events = None,
    experiment: Experiments = None,
    tag: Tags = None,
    format_: Annotated[Format, typer.Option("--format", help="Format of the bodies.")] = (
        Format.STANDARD
    ),
    secret_file: SecretFile = None,
    description: Annotated[str, typer.Option(help="Description for people.")] = "",
    since: Since = None,
    idempotency_key: Annotated[
        str | None, typer.Option(help="Repeating a key returns the same webhook.")
    ] = None,
    as_json: AsJson = False,
    api: Api = API_DEFAULT,
    api_key: ApiKey = None,
) -> None:
    """Have events sent to an address.

    Without `--secret-file` a secret is drawn and shown once. The receiver verifies signatures by
    it; the API never returns it.
    """
    secret = None if secret_file is None else read_text(secret_file).strip()
    drawn = None
    if secret is None and format_ is Format.STANDARD:
        secret = drawn = new_webhook_secret()
    with terminal.connected(api, api_key) as client:
        made = client.create_webhook(
            url,
            secret=secret,
            events=event or ["*"],
            experiments=_chosen(experiment) or [],
            tags=_chosen(tag) or [],
            format=format_.value,
            description=description,
            since=since,
            idempotency_key=idempotency_key,
        )
    if as_json:
        terminal.print_json(_as_object(made) | ({} if drawn is None else {"secret": drawn}))
        return
    terminal.echo(_status_line(made))
    if drawn is not None:
        terminal.echo("its secret, shown once:", err=True)
        terminal.echo(drawn)


def list_all(as_json: AsJson = False, api: Api = API_DEFAULT, api_key: ApiKey = None) -> None:
    """List all webhooks with their state, newest first."""
    with terminal.connected(api, api_key) as client:
        found = client.list_webhooks()
    if as_json:
        terminal.print_json({"webhooks": [*map(_as_object, found)]})
    elif found:
        terminal.out.print(_table(found))
    else:
        terminal.err.print("There is no webhook; `experiment webhooks create` makes one.")


def show(
    webhook_id: Name, as_json: AsJson = False, api: Api = API_DEFAULT, api_key: ApiKey = None
) -> None:
    """Show a webhook with its state."""
    with terminal.connected(api, api_key) as client:
        found = client.get_webhook(webhook_id)
    terminal.show(found, _as_object, lambda each: _table((each,)), as_json=as_json)


def update(
    webhook_id: Name,
    url: Annotated[str | None, typer.Option(help="Another address.")] = None,
    event: Events = None,
    experiment: Experiments = None,
    tag: Tags = None,
    secret_file: SecretFile = None,
    overlap_s: Annotated[
        int | None,
        typer.Option(
            "--overlap",
            min=0,
            help="Seconds for which the old secret signs, too; 86400 by default.",
        ),
    ] = None,
    description: Annotated[str | None, typer.Option(help="Description for people.")] = None,
    send: Annotated[
        Switch | None,
        typer.Option(help="Whether events are sent; `on` also enables one that did not answer."),
    ] = None,
    since: Since = None,
    as_json: AsJson = False,
    api: Api = API_DEFAULT,
    api_key: ApiKey = None,
) -> None:
    """Change a webhook; what is left out stays."""
    given: dict[str, Any] = {
        "url": url,
        "events": event,
        "experiments": _chosen(experiment),
        "tags": _chosen(tag),
        "secret": None if secret_file is None else read_text(secret_file).strip(),
        "secretOverlap": overlap_s,
        "description": description,
        "isEnabled": None if send is None else send is Switch.ON,
        "since": since,
    }
    changes = {name: value for name, value in given.items() if value is not None}
    if not changes:
        raise InputError("MISSING_FIELD", "nothing is to be changed; see --help")
    with terminal.connected(api, api_key) as client:
        found = client.update_webhook(webhook_id, changes)
    terminal.show(found, _as_object, _status_line, as_json=as_json)


def send_test(
    webhook_id: Name, as_json: AsJson = False, api: Api = API_DEFAULT, api_key: ApiKey = None
) -> None:
    """Send a test event, and show how the receiver answers. Exit code 1 if it does not take it."""
    with terminal.connected(api, api_key) as client:
        found = _tested(client, webhook_id)
    attempt = found.last_test
    assert attempt is not None  # noqa: S101 - as `_tested` waited for
    answer = "no answer" if attempt.status is None else f"HTTP {attempt.status}"
    said = "took the test" if attempt.error is None else f"did not take the test: {attempt.error}"
    terminal.show(found, _as_object, lambda _: f"the receiver {said} ({answer})", as_json=as_json)
    if attempt.error is not None:
        raise typer.Exit(1)


def delete(
    webhook_id: Name, as_json: AsJson = False, api: Api = API_DEFAULT, api_key: ApiKey = None
) -> None:
    """Delete a webhook: nothing is sent to it any more."""
    with terminal.connected(api, api_key) as client:
        found = client.delete_webhook(webhook_id)
    terminal.show(found, _as_object, lambda each: f"webhook {each.id} is deleted", as_json=as_json)


def run() -> None:
    """Run the process that delivers; of several, one delivers and the others stand by."""
    ignore_hangups()  # also while the interpreter starts
    os.execv(sys.executable, [sys.executable, "-m", "streams.webhooks"])  # noqa: S606 - no shell meant


def _tested(client: ExperimentClient, webhook_id: str) -> Webhook:
    asked = client.send_test_event(webhook_id)
    until_s = time.monotonic() + TEST_WAIT_S
    while True:
        found = client.get_webhook(webhook_id)
        if found.last_test is not None and found.last_test.id == asked:
            return found
        if time.monotonic() > until_s:
            _fail_test()
        time.sleep(LOOK_S)


def _fail_test() -> NoReturn:
    message = (
        f"the test was not sent within {TEST_WAIT_S:.0f} s; does `experiment webhooks run` run?"
    )
    raise DependencyError("webhooks", message)


def _chosen(given: list[str] | None) -> list[str] | None:
    """Return what a filter names: nothing for a single empty text, None if it is not given."""
    return [] if given == [""] else given


def _table(webhooks: tuple[Webhook, ...]) -> Table:
    table = table_of("id", "host", "status", ">delivered", ">waiting", "last attempt")
    table.columns[0].no_wrap = True
    for each in webhooks:
        table.add_row(
            each.id,
            "?" if each.url is None else urlsplit(each.url).netloc,
            each.status
            if each.disabled_because is None
            else f"{each.status} ({each.disabled_because})",
            str(each.delivered),
            str(each.waiting),
            _attempt(each),
        )
    return table


def _attempt(webhook: Webhook) -> str:
    attempt = webhook.last_attempt
    if attempt is None:
        return ""
    return f"{moment(attempt.at)} {attempt.error or 'taken'}"


def _as_object(webhook: Webhook) -> dict[str, Any]:
    return webhook.model_dump(by_alias=True)


def _status_line(webhook: Webhook) -> str:
    return f"webhook {webhook.id} is {webhook.status}"
