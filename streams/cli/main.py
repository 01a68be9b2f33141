"""The application: every command module, and one place where errors become exit codes."""

from __future__ import annotations

import typer

from streams.cli import (
    api,
    archive,
    dead_letters,
    doctor,
    experiments,
    imports,
    receipts,
    schemas,
    statistics,
    topics,
    up,
    worker,
)
from streams.cli.demo import command as demo
from streams.cli.evaluation import command as evaluation
from streams.cli.failures import PlainFailures
from streams.cli.planning import command as planning
from streams.cli.replay import command as replay

# A command module has `register(app)`; adding one is its name here.
COMMANDS = (
    up,
    demo,
    experiments,
    statistics,
    imports,
    replay,
    evaluation,
    planning,
    archive,
    worker,
    api,
    topics,
    schemas,
    doctor,
    dead_letters,
    receipts,
)

app = typer.Typer(
    cls=PlainFailures,
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,  # they may hold keys
    help="Online experiments on event streams: assign, observe, learn, conclude.",
)
for module in COMMANDS:
    module.register(app)
