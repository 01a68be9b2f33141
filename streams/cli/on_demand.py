"""Commands whose module is imported when they are asked for."""

from __future__ import annotations

from collections import UserDict
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import typer
import typer.main

from streams.cli.number_options import read_strictly


class LazyCommandGroup(UserDict[str, Any]):
    """Commands by name; the module of one is imported when it is looked up.

    The modules of all commands together import SciPy and the clients of every server, which takes
    more than a second of CPU; one command needs few of them.
    """

    def __init__(self, package: str, modules: Mapping[str, Sequence[str]]) -> None:
        """Take the names; nothing is imported.

        Args:
            package: Package of the modules.
            modules: The commands that a module registers, by the module's name in the package.
        """
        super().__init__()
        for module, names in modules.items():
            self.data |= dict.fromkeys(names, f"{package}.{module}")

    def __getitem__(self, name: str) -> Any:
        """Return a command.

        Raises:
            KeyError: there is no such command.
        """
        command = self.data[name]
        if isinstance(command, str):
            self.data |= _registered(command)
        return self.data[name]


def _registered(module: str) -> Mapping[str, Any]:
    """Import a module, and return the commands that it registers."""
    part = typer.Typer()
    part.callback()(lambda: None)  # of a single command typer would make no group
    import_module(module).register(part)
    commands = typer.main.get_group(part).commands
    read_strictly(commands)
    return commands
