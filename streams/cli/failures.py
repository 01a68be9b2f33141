"""Messages and exit codes of commands that fail."""

from __future__ import annotations

import errno
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from experiment_streams_client import errors as client_errors
from streams.cli import terminal
from streams.cli.standard_streams import drop_output, open_standard_streams
from streams.local.children import ChildFailedError
from streams.model.errors import ConfigurationError, DependencyError, EngineError

EXIT_FAILED = 1
EXIT_CONFIGURATION = 2
EXIT_UNAVAILABLE = 69  # sysexits.h: a service is not there; worth another try
EXIT_INTERNAL = 70  # a fault of ours
EXIT_INTERRUPTED = 130  # as a shell has it for SIGINT
EXIT_IO = 74  # a file or an output, as on a full disk


class ErrorReportingGroup(TyperGroup):
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
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise  # a reader that has seen enough
            drop_output()
            terminal.echo(f"experiment: SYSTEM_ERROR: {error}", err=True)
            raise typer.Exit(EXIT_IO) from error


class Application(typer.Typer):
    """An application of which a bug ends with its traceback, and a code that no result has."""

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Run it."""
        open_standard_streams()
        try:
            return super().__call__(*args, **options)
        except Exception as error:  # noqa: BLE001 - a bug
            sys.excepthook(type(error), error, error.__traceback__)
            sys.exit(EXIT_INTERNAL)


def _exit_code(error: EngineError) -> int:
    match error:
        case ConfigurationError():
            return EXIT_CONFIGURATION
        case DependencyError() | client_errors.DependencyError():
            return EXIT_UNAVAILABLE
        case _:
            return EXIT_FAILED
