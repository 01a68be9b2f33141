"""Render docs/reference/cli.md from the commands of streams/cli.

Usage: python -m scripts.render_cli
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main

from streams.cli.main import app

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "cli.md"

INTRODUCTION = """\
# Command line

Results go to stdout, everything else to stderr. With `--json`, a command prints one JSON object per
line. Numbers are written as in JSON: `1_0`, `+10`, `.5` or `nan` is wrong usage.

| exit code | meaning |
|---|---|
| 0 | success |
| 1 | the answer is negative: a difference, a finding, a refused request |
| 2 | wrong usage or configuration |
| 69 | a server that the command needs does not answer |
| 70 | an internal fault |
| 74 | the system does not read or write what it should, as on a full disk |
| 130 | interrupted |

Rendered from `streams/cli` by `python -m scripts.render_cli`; a test compares them.
"""


def render() -> str:
    """Return the page: one section for each command, in the order of `experiment --help`."""
    found = leaves(typer.main.get_command(app), "experiment")
    return "\n".join((INTRODUCTION, *(_section(command, path) for path, command in found)))


def leaves(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield every command without subcommands, with its words.

    Args:
        command: The command or group.
        path: Its words.
    """
    subcommands = getattr(command, "commands", None)
    if subcommands is None:
        yield path, command
        return
    for name, subcommand in subcommands.items():
        yield from leaves(subcommand, f"{path} {name}".strip())


def _section(command: Any, path: str) -> str:
    parts = [f"## `{path}`\n", f"{inspect.cleandoc(command.help)}\n"]
    rows = [_row(parameter) for parameter in command.params if not parameter.hidden]
    if rows:
        parts.append(
            "\n".join(("| argument or option | meaning | default |", "|---|---|---|", *rows)) + "\n"
        )
    return "\n".join(parts)


def _row(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        name = f"`{parameter.metavar or parameter.name.upper()}`"
        name += "" if parameter.required else " (optional)"
    else:
        names = ", ".join(f"`{option}`" for option in (*parameter.opts, *parameter.secondary_opts))
        name = f"{names} (required)" if parameter.required else names
        name += " (repeatable)" if parameter.multiple else ""
    text = (parameter.help or "").replace("|", "\\|")
    if parameter.envvar:
        text += f" Also `{parameter.envvar}`."
    return f"| {name} | {text} | {_default(parameter)} |"


def _default(parameter: Any) -> str:
    shown = getattr(parameter, "show_default", None)
    if isinstance(shown, str):
        return shown
    default = parameter.default
    if default is None or default == () or callable(default) or parameter.required:
        return ""
    if isinstance(default, bool):
        return "on" if default else "off"
    values = default if isinstance(default, list | tuple) else (default,)
    return ", ".join(f"`{getattr(value, 'value', value)}`" for value in values)


if __name__ == "__main__":
    PAGE.write_text(render())
