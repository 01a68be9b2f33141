"""`experiment api`: one API process, configured by the environment alone."""

from __future__ import annotations

import os
import sys

import typer

from streams.process.reload import ignore_hangups


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(api)


def api() -> None:
    """Run one API process. It keeps no state of its own; add processes to share the load."""
    ignore_hangups()  # also while the interpreter starts
    os.execv(sys.executable, [sys.executable, "-m", "api"])  # noqa: S606 - no shell meant
