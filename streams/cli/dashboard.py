"""`experiment dashboard`: the dashboard process of this machine, configured by the environment."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from streams.process.reload import ignore_hangups
from streams.settings import ENVIRONMENT_PREFIX


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(dashboard)


def dashboard(
    host: Annotated[
        str | None, typer.Option(help="Address to listen on.", show_default="127.0.0.1")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(help="Port; 0 takes a free one, which the log names.", show_default="8090"),
    ] = None,
    api: Annotated[
        str | None,
        typer.Option(help="Address of the API.", show_default="http://127.0.0.1:8080"),
    ] = None,
) -> None:
    """Run the dashboard: experiments in a browser. It reaches the engine by its API alone.

    Its settings are EXPERIMENT_DASHBOARD_HOST and others; options here come before them.
    """
    ignore_hangups()  # also while the interpreter starts
    given = {"HOST": host, "PORT": port, "API_URL": api}
    for name, value in given.items():
        if value is not None:
            os.environ[f"{ENVIRONMENT_PREFIX}DASHBOARD_{name}"] = str(value)
    os.execv(sys.executable, [sys.executable, "-m", "dashboard"])  # noqa: S606 - no shell meant
