"""A call imports its own command alone, and every command is where it is said to be."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest
import typer
from typer.testing import CliRunner

from streams.cli.main import COMMANDS, app

HEAVY = {
    "aiokafka",
    "confluent_kafka",
    "fastapi",
    "fastavro",
    "faust",
    "mode",
    "numpy",
    "prometheus_client",
    "redis",
    "scipy",
}


@pytest.mark.parametrize("module", COMMANDS)
def test_a_module_registers_the_commands_that_are_said_to_be_in_it(module):
    registered = typer.Typer()
    registered.callback()(lambda: None)
    import_module(f"streams.cli.{module}").register(registered)

    assert tuple(typer.main.get_group(registered).commands) == COMMANDS[module]


def test_the_help_lists_every_command_in_order():
    shown = CliRunner().invoke(app, ["--help"]).output.splitlines()

    names = [line.split()[1] for line in shown if line.startswith("│ ") and line[2] not in " -"]
    assert names == [name for names in COMMANDS.values() for name in names]


def test_a_mistyped_command_is_corrected():
    assert "Did you mean 'topics'" in CliRunner().invoke(app, ["topcis"]).output


def test_nothing_heavy_is_imported_before_the_command_is_known():
    program = "import sys; import streams.cli.main; print(*sys.modules)"
    modules = subprocess.check_output([sys.executable, "-c", program], text=True).split()

    assert {name.partition(".")[0] for name in modules} & HEAVY == set()
