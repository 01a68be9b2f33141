"""`experiment worker`: one worker process, configured by the environment alone."""

from __future__ import annotations

import os
import sys

import typer

from streams.process.reload import ignore_hangups


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(worker)


def worker() -> None:
    """Run one worker: tallies, posteriors, allocations. Add processes to share the load."""
    # The same process as under the supervisor, signals and all, and no import of Faust from here.
    ignore_hangups()  # also while the interpreter starts
    os.execv(sys.executable, [sys.executable, "-m", "streams.worker"])  # noqa: S606 - no shell meant
