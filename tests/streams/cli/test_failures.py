"""Expected errors leave one line on stderr and the exit code of their kind."""

from __future__ import annotations

import pytest
import typer
from typer.testing import CliRunner

from streams.cli.failures import ErrorReportingGroup
from streams.local.children import ChildFailedError
from streams.model.errors import (
    ConfigurationError,
    DependencyError,
    EngineError,
    ExperimentNotFoundError,
)


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [
        (ConfigurationError("partitions == 0, must be >= 1"), 2),
        (DependencyError("kafka", "Kafka does not answer"), 69),
        (ExperimentNotFoundError("exp_0000000000000"), 1),
    ],
)
def test_each_kind_of_error_has_its_exit_code(error: EngineError, exit_code: int):
    app = typer.Typer(cls=ErrorReportingGroup)

    @app.command()
    def fail() -> None:
        raise error

    @app.command()
    def other() -> None: ...

    result = CliRunner().invoke(app, ["fail"])

    assert result.exit_code == exit_code
    assert result.stderr == f"experiment: {error}\n"
    assert result.stdout == ""


def test_a_child_that_failed_is_shown_with_the_end_of_its_log():
    app = typer.Typer(cls=ErrorReportingGroup)

    @app.command()
    def fail() -> None:
        raise ChildFailedError("worker-1", "exited with code 2", "last line")

    @app.command()
    def other() -> None: ...

    result = CliRunner().invoke(app, ["fail"])

    assert result.exit_code == 1
    assert result.stderr == "experiment: worker-1 exited with code 2\nlast line\n"


def test_a_bug_is_not_dressed_up_as_an_error():
    app = typer.Typer(cls=ErrorReportingGroup)

    @app.command()
    def fail() -> None:
        raise KeyError("bug")

    @app.command()
    def other() -> None: ...

    assert isinstance(CliRunner().invoke(app, ["fail"]).exception, KeyError)
