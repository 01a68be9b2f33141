"""Numbers of the command line are read in the notation of JSON alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import typer
import typer.main
from typer.testing import CliRunner

from streams.cli.experiments import simple_definition
from streams.cli.log_options import bounds_of, prior_of
from streams.cli.main import app
from streams.model.errors import InputError
from tests.lax_numbers import LAX_NUMBERS


def parameters() -> Iterator[tuple[str, Any, Any]]:
    """Yield the name, the command and the parameter of every number of the command line."""

    def walk(name: str, command: Any) -> Iterator[tuple[str, Any, Any]]:
        for word in getattr(command, "commands", {}):
            yield from walk(f"{name} {word}", command.commands[word])
        for each in getattr(command, "params", ()):
            if each.display_type(typer.Context(command)).lstrip("<").startswith(("int", "float")):
                yield f"{name} {each.opts[0]}", command, each

    yield from walk("experiment", typer.main.get_command(app))


@pytest.mark.parametrize("text", LAX_NUMBERS)
def test_an_option_is_read_so(text: str):
    result = CliRunner().invoke(app, ["plan", "--baseline", text, "--lift", "0.1"])

    assert result.exit_code == 2
    assert "Invalid value" in result.stderr
    assert "baseline" in result.stderr


def test_every_option_and_argument_is():
    found = [*parameters()]

    assert len(found) > 20
    for _, command, parameter in found:
        for text in ("1_00", "\uff11\uff10\uff10", "nan"):
            with pytest.raises(typer.BadParameter):
                parameter.process_value(typer.Context(command), text)


@pytest.mark.parametrize("text", LAX_NUMBERS)
def test_numbers_within_a_value_are_read_so(text: str):
    for call in (
        lambda: prior_of(f"1,{text}"),
        lambda: bounds_of([f"revenue={text}"]),
        lambda: simple_definition("A/B", "ucb", "click", ["A", f"B={text}"], None),
    ):
        with pytest.raises(InputError) as refused:
            call()
        assert refused.value.code == "WRONG_TYPE"
