"""The application: every command module, and one place where errors become exit codes."""

from __future__ import annotations

from typing import Any

from streams.cli.failures import Application, ErrorReportingGroup
from streams.cli.on_demand import LazyCommandGroup

# A command module has `register(app)`; adding one is its name here, with the commands it adds.
COMMANDS = {
    "up": ("up",),
    "demo.command": ("demo",),
    "experiments": (
        "create",
        "list",
        "edit",
        "start",
        "pause",
        "resume",
        "conclude",
        "rollback",
    ),
    "variants": ("variant",),
    "statistics": ("stats",),
    "history": ("history",),
    "timeseries": ("timeseries",),
    "holdouts": ("holdout",),
    "webhooks": ("webhooks",),
    "traffic": ("assign", "expose", "void"),
    "observe": ("observe",),
    "imports": ("import",),
    "replay.command": ("replay",),
    "evaluation.command": ("evaluate",),
    "planning.command": ("plan",),
    "archive": ("archive",),
    "export": ("export",),
    "worker": ("worker",),
    "api": ("api",),
    "dashboard": ("dashboard",),
    "topics": ("topics",),
    "keys": ("keys",),
    "schemas": ("schemas",),
    "doctor": ("doctor",),
    "dead_letters": ("dead-letters",),
    "receipts": ("receipts",),
}


class Commands(ErrorReportingGroup):
    """All commands of the application; a call imports only the module of its command."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = LazyCommandGroup("streams.cli", COMMANDS)

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - the base class has it
        """Return the names, in the order of the help."""
        return [*self.commands]


app = Application(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,  # they may hold keys
    help="Online experiments on event streams: assign, observe, learn, conclude.",
)
app.callback()(lambda: None)  # typer recognises a group only if it has a callback
