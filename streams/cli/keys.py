"""`experiment keys`: the secrets of an installation."""

from __future__ import annotations

import base64
import secrets
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from streams.api_keys import VARIABLE, Scope, add_key, read_keys
from streams.cli import terminal
from streams.cli.tables import table_of
from streams.cli.terminal import AsJson
from streams.model.errors import ConfigurationError

SECRET_BYTES = 32

File = Annotated[
    Path,
    typer.Option(
        "--file", metavar="FILE", envvar=VARIABLE, show_envvar=True, help="The file of API keys."
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command group to `app`."""
    keys = terminal.group(app, "keys", "API keys, and the secrets of a new installation.")
    keys.command()(add)
    keys.command("list")(list_keys)
    keys.command()(env)


def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the caller.")],
    scopes: Annotated[list[Scope], typer.Argument(metavar="SCOPE...", help="Rights of the key.")],
    file: File,
) -> None:
    """Draw an API key, add its hash to the file, and print the key, which is kept nowhere.

    The file is created if it is missing. A running API reads it again at SIGHUP.
    """
    if not name.strip():
        raise ConfigurationError("a key needs a name", "NAME")
    key = add_key(file, name, scopes)
    terminal.echo(f"{file} has the hash of a key of {name!r}; shown once:", err=True)
    terminal.echo(key)


def list_keys(file: File, as_json: AsJson = False) -> None:
    """Show the callers of a file of keys, and what each may do."""
    found = [
        {"name": key.name, "scopes": sorted(key.scopes), "blake2b": key.blake2b}
        for key in read_keys(file)
    ]
    terminal.show(found, lambda keys: keys, _table, as_json=as_json)


def env() -> None:
    """Print fresh secrets of an installation by docker-compose.yml, as lines for its `.env`.

    Run it once, into a file for its owner alone: `umask 077`, and `experiment keys env > .env`.
    """
    for name, value in (
        ("EXPERIMENT_RECEIPT_KEYS", f"1:{secrets.token_hex(SECRET_BYTES)}"),
        ("EXPERIMENT_WEBHOOK_KEYS", webhook_key()),
        ("REDIS_PASSWORD", secrets.token_hex(SECRET_BYTES)),
        ("KAFKA_CLUSTER_ID", cluster_id()),
        ("GRAFANA_PASSWORD", secrets.token_hex(SECRET_BYTES)),
        ("API_KEYS_FILE", "./api-keys.json"),
    ):
        terminal.echo(f"{name}={value}")


def webhook_key() -> str:
    """Return a key that seals secrets of webhooks: a Fernet key, 32 bytes in URL-safe base64."""
    return base64.urlsafe_b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def cluster_id() -> str:
    """Return an id of a Kafka cluster: 16 bytes in base64, which do not begin with a dash."""
    drawn = bytes([secrets.randbelow(0xF8)]) + secrets.token_bytes(15)
    return base64.urlsafe_b64encode(drawn).decode().rstrip("=")


def _table(keys: list[dict[str, Any]]) -> Table:
    table = table_of("name", "scopes", "hash")
    for key in keys:
        table.add_row(key["name"], " ".join(key["scopes"]), key["blake2b"][:12])
    return table
