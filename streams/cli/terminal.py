"""Options and output shared by the commands that call a running API."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Annotated, Any, TypeVar

import httpx
import orjson
import stamina
import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from typer.core import TyperGroup

from experiment_streams_client import DEFAULT_URL, ApiError, ExperimentClient
from streams.local.stack_files import find_stack
from streams.model.errors import ConfigurationError, DependencyError, quoted
from streams.model.text import LINE_BREAK, json_printable, printable
from streams.settings import ENVIRONMENT_PREFIX, Settings, load_settings

T = TypeVar("T")

NO_ANSWER = 0
"""Status of an `ApiError` without an answer."""

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})

PIPE_WIDTH = 140
"""Columns of a table that no terminal bounds."""


class SafeConsole(Console):
    """A console that shows text as it is: no markup in it, no control characters from it.

    Names, reasons and the bytes of dead letters were chosen by others. Every piece of text that is
    shown passes `render`, whatever it is part of; the console's own colours come after that.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, **options)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterator[Segment]:
        """Yield what is shown of something, with what is not printable escaped."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else printable(text, LINE_BREAK), style, control)


out = SafeConsole(width=None if sys.stdout and sys.stdout.isatty() else PIPE_WIDTH)
err = SafeConsole(stderr=True)

Api = Annotated[
    str,
    typer.Option("--api", envvar="EXPERIMENT_API_URL", help="Address of a running API."),
]
ApiKey = Annotated[
    str | None,
    typer.Option(
        envvar="EXPERIMENT_API_KEY", show_envvar=True, help="API key, if the API requires one."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
ExperimentId = Annotated[
    str, typer.Argument(metavar="ID", help="Id or key from `experiment list`.")
]

ExpectedVersion = Annotated[
    int | None,
    typer.Option(
        min=1, help="Refuse the command if the experiment has changed since it had this version."
    ),
]
Reason = Annotated[str | None, typer.Option(help="Why, for `experiment history`.")]
Author = Annotated[
    str | None,
    typer.Option(
        envvar="EXPERIMENT_AUTHOR",
        show_envvar=True,
        help="Who gives the command, where several people share an API key.",
    ),
]

API_DEFAULT = DEFAULT_URL

NAMING = ("kafka_url", "redis_url")
"""Settings that name an installation: with one of them the environment describes all of it."""

OF_ENVIRONMENT = "of the EXPERIMENT_ settings"


@contextmanager
def connected(
    api: str, api_key: str | None, author: str | None = None
) -> Iterator[ExperimentClient]:
    """Yield a client of the API at `api`, whose commands have a declared author or none.

    Raises:
        DependencyError: no server answers there, or the API cannot serve the request now.
        ConfigurationError: `api` is not an address.
    """
    _address(api)
    stamina.instrumentation.set_on_retry_hooks(())  # a person reads the outcome, not each attempt
    try:
        with ExperimentClient(api, api_key=api_key, author=author) as client:
            yield client
    except ApiError as error:
        if error.status not in {NO_ANSWER, HTTPStatus.SERVICE_UNAVAILABLE}:
            raise
        raise DependencyError("api", error.message, code=error.code) from error


def echo(text: str, *, err: bool = False) -> None:
    """Write lines of text, in which all but the line breaks is escaped that is not printable."""
    typer.echo(printable(text, LINE_BREAK), err=err)


def print_json(value: Any) -> None:
    """Write `value` to stdout as one line of JSON, in printable characters."""
    sys.stdout.write(json_printable(orjson.dumps(value).decode()) + LINE_BREAK)
    sys.stdout.flush()


def show(
    found: T,
    to_json: Callable[[T], Any],
    view: Callable[[T], RenderableType],
    *,
    as_json: bool,
) -> None:
    """Write a result to stdout: as JSON, as plain text if its view is a `str`, else by rich."""
    if as_json:
        print_json(to_json(found))
    elif isinstance(shown := view(found), str):
        echo(shown)
    else:
        out.print(shown)


def group(
    app: typer.Typer, name: str, help_text: str, cls: type[TyperGroup] = TyperGroup
) -> typer.Typer:
    """Add an empty group of commands to `app`, and return it."""
    made = typer.Typer(cls=cls, no_args_is_help=True, help=help_text)
    # Of a group with one command typer would drop the name; an empty callback keeps it.
    made.callback()(lambda: None)
    app.add_typer(made, name=name)
    return made


def settings_of(api: str) -> Settings:
    """Return the settings of the installation that a command is about, and say on stderr which.

    Where the environment names a Kafka or a Redis, its settings hold, all of them, whatever `api`
    is: two installations are never mixed. Else they are those of the embedded stack on this machine
    whose API has the port of `api`, if it runs.

    Raises:
        ConfigurationError: `api` is not an address, or a setting is outside its domain.
    """
    url = _address(api)
    own = load_settings()
    named = [name for name in NAMING if name in own.model_fields_set]
    stack = find_stack(url.port) if url.port and url.host in LOOPBACK else None
    if stack is None:
        settings, whose = own, OF_ENVIRONMENT
    elif named:
        variables = " and ".join(f"{ENVIRONMENT_PREFIX}{name.upper()}" for name in named)
        settings = own
        whose = f"{OF_ENVIRONMENT}, not the embedded stack on port {url.port}: {variables} set"
    else:
        settings, whose = stack.as_settings(), f"of the embedded stack on port {url.port}"
    say_servers(settings, whose)
    return settings


def say_servers(settings: Settings, whose: str = OF_ENVIRONMENT) -> None:
    """Say on stderr which servers a command asks, without their passwords."""
    prefix = f', topics "{settings.topic_prefix}..."' if settings.topic_prefix else ""
    err.print(
        f"Kafka {settings.kafka_url}{prefix}, Redis {settings.redis_address} {whose}",
        style="dim",
        highlight=False,
        soft_wrap=True,
    )


def _address(api: str) -> httpx.URL:
    try:
        url = httpx.URL(api)
    except httpx.InvalidURL as error:
        raise ConfigurationError(f"{quoted(api)} is not an address: {error}", "--api") from error
    if url.scheme not in {"http", "https"} or not url.host:
        raise ConfigurationError(f"{quoted(api)} is not an address like {API_DEFAULT}", "--api")
    return url
