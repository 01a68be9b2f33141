"""Escaping of text from others in every output."""

from __future__ import annotations

import ast
import io
from pathlib import Path

import pytest
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from streams.cli import terminal
from streams.cli.terminal import SafeConsole

CLI = Path(terminal.__file__).parent
HOSTILE = "[red]x[/red] [link=http://e.vil]y[/link] \x1b[2J\x1b]0;t\x07 \x9b31m \u202e"


def shown(renderable: object) -> str:
    output = io.StringIO()
    SafeConsole(file=output, width=200, force_terminal=False).print(renderable)
    return output.getvalue()


def table() -> Table:
    found = Table("column \x1b[1m")
    found.add_row(HOSTILE)
    found.add_row(Text(HOSTILE))
    return found


@pytest.mark.parametrize(
    "renderable", [HOSTILE, Text(HOSTILE), table(), Panel(HOSTILE, title=HOSTILE), Panel(table())]
)
def test_no_control_character_and_no_markup_reaches_the_terminal(renderable: object) -> None:
    text = shown(renderable)

    assert all(line.isprintable() for line in text.split("\n"))
    assert "[red]x[/red]" in text
    assert "[link=http://e.vil]" in text
    assert "\\x1b[2J" in text


def test_the_colours_of_the_console_itself_are_kept() -> None:
    output = io.StringIO()
    SafeConsole(file=output, force_terminal=True, color_system="standard").print(
        "fine \x1b[2J", style="green"
    )

    assert "\x1b[32m" in output.getvalue()
    assert "\x1b[2J" not in output.getvalue()


def test_lines_and_json_are_escaped_too(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.echo(f"experiment: {HOSTILE}\nsecond")
    terminal.print_json({"a": HOSTILE})

    lines = capsys.readouterr().out.split("\n")
    assert len(lines) == 4
    assert all(line.isprintable() for line in lines)


def test_no_command_writes_past_the_one_place_that_escapes() -> None:
    written = []
    for path in CLI.rglob("*.py"):
        if path.name == "terminal.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func)
                if name in {"typer.echo", "print", "Console", "typer.secho", "sys.stdout.write"}:
                    written.append((path.name, name))

    # `ready URL` and `dashboard URL`, of which nothing was sent
    assert written == [("up.py", "print")] * 2
