"""Messages and exit codes of commands that fail."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from experiment_streams_client import errors as client_errors
from streams.cli import terminal
from streams.local.children import ChildFailedError
from streams.model.errors import ConfigurationError, DependencyError, EngineError

EXIT_FAILED = 1
EXIT_CONFIGURATION = 2
EXIT_UNAVAILABLE = 69  # sysexits.h: a service is not there; worth another try


class PlainFailures(TyperGroup):
    """Commands whose expected errors are one line on stderr, without a traceback."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Refuse arguments that are no text: they would reach neither a request nor a terminal."""
        for argument in args:
            try:
                argument.encode()
            except UnicodeEncodeError:
                raise typer.BadParameter(f"{argument!a} is not UTF-8", ctx) from None
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command; an EngineError ends it with the exit code of its kind."""
        try:
            return super().invoke(ctx)
        except (EngineError, client_errors.EngineError) as error:
            terminal.echo(f"experiment: {error}", err=True)
            raise typer.Exit(_exit_code(error)) from error
        except ChildFailedError as error:
            terminal.echo(f"experiment: {error}\n{error.tail}", err=True)
            raise typer.Exit(EXIT_FAILED) from error


def _exit_code(error: EngineError) -> int:
    match error:
        case ConfigurationError():
            return EXIT_CONFIGURATION
        case DependencyError() | client_errors.DependencyError():
            return EXIT_UNAVAILABLE
        case _:
            return EXIT_FAILED
