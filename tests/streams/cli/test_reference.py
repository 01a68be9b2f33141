"""The reference of the command line is what the commands declare."""

from __future__ import annotations

from scripts.render_cli import PAGE, render


def test_the_reference_page_is_what_the_commands_declare():
    assert PAGE.read_text() == render(), "run python -m scripts.render_cli"


def test_every_option_has_a_meaning():
    rows = [line for line in render().splitlines() if line.startswith("| `")]
    assert [row for row in rows if row.split(" | ")[1].strip() == ""] == []
