"""Ctrl-C ends a process that is starting without a traceback, as SIGTERM does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.patience import PATIENCE_S

INTERRUPTS_AT = """
import os, signal, sys

class Interrupts:
    def find_spec(self, name, path=None, target=None):
        if name == "{module}":
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupts())
"""
PROGRAMS = [
    ("api", "fastapi"),
    ("streams.worker", "faust"),
    ("streams.webhooks", "confluent_kafka"),
    ("dashboard", "starlette"),
    ("streams.cli", "typer"),
]


def started(
    directory: Path,
    program: str,
    module: str,
    interrupts: signal.Handlers = signal.SIG_DFL,
) -> subprocess.CompletedProcess[str]:
    """Run a program that is interrupted as it begins to import a module.

    Args:
        directory: Where the module is written that interrupts it.
        program: Module that is run.
        module: Module at whose import it is interrupted.
        interrupts: How its parent has it take SIGINT. That of this process depends on how the tests
            were started: a shell has what it runs in the background ignore it.
    """
    (directory / "sitecustomize.py").write_text(INTERRUPTS_AT.format(module=module))
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("EXPERIMENT_")
    }
    path = os.pathsep.join([str(directory), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.run(
        [sys.executable, "-m", program, *(["--help"] if program == "streams.cli" else [])],
        env=environment | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
        preexec_fn=lambda: signal.signal(signal.SIGINT, interrupts),
    )


@pytest.mark.parametrize(("program", "module"), PROGRAMS)
def test_a_process_that_is_interrupted_while_it_imports_says_nothing(
    tmp_path: Path, program: str, module: str
) -> None:
    done = started(tmp_path, program, module)

    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")


def test_a_process_whose_parent_has_it_ignore_interrupts_goes_on(tmp_path: Path) -> None:
    """As a shell does with what it runs in the background, and `nohup` with hang-ups."""
    done = started(tmp_path, "streams.cli", "typer", signal.SIG_IGN)

    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout


def test_a_command_that_is_interrupted_has_the_code_of_it(tmp_path: Path) -> None:
    """Once the command is known, and its module is imported, it ends as by Ctrl-C in its work."""
    done = started(tmp_path, "streams.cli", "streams.cli.planning.command")

    assert done.returncode == 130
    assert "Traceback" not in done.stderr
