"""Command blocks of the documents are executed by a test or marked as excerpts."""

from __future__ import annotations

import re
from typing import Any

import pytest
import typer.main

from streams.cli.main import app
from tests.documents import EXCERPT, EXECUTED, ROOT, Block, blocks

PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    *(
        str(page.relative_to(ROOT))
        for folder in ("tutorials", "how-to")
        for page in sorted((ROOT / "docs" / folder).glob("*.md"))
    ),
]
ALL = [block for page in PAGES for block in blocks(page)]

# The executing tests are test_recipes.py, integration/test_ad_server.py,
# integration/test_readme.py, packaging/test_distributions.py and streams/warehouse/test_targets.py.
EXECUTING = {
    ("CONTRIBUTING.md", "diff"),
    ("CONTRIBUTING.md", "python"),
    ("README.md", "bash"),
    ("README.md", "python"),
    ("docs/how-to/export-to-a-warehouse.md", "sql"),
    ("docs/tutorials/ad-server.md", "bash"),
    ("docs/tutorials/ad-server.md", "python"),
    ("docs/tutorials/first-decision.md", "bash"),
}


def where(block: Block) -> str:
    return f"{block.page}:{block.line}"


@pytest.mark.parametrize("block", ALL, ids=where)
def test_every_block_is_executed_or_marked_as_an_excerpt(block):
    assert block.marks in {(EXECUTED,), (EXCERPT,)}
    if EXECUTED in block.marks:
        assert (block.page, block.language) in EXECUTING


def test_every_executing_test_has_blocks():
    assert {(each.page, each.language) for each in ALL if EXECUTED in each.marks} == EXECUTING


@pytest.mark.parametrize("block", ALL, ids=where)
def test_bodies_that_curl_sends_are_said_to_be_json(block):
    """Body type that the API takes; without the header curl names a form."""
    commands = re.findall(r"curl (?:[^\n]|\\\n)*", block.text)
    with_body = [each for each in commands if re.search(r"\s(?:-d|--data)\b", each)]

    assert [each for each in with_body if "Content-Type: application/json" not in each] == []


@pytest.mark.parametrize("block", ALL, ids=where)
def test_commands_exist_with_the_options_that_are_shown(block):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for program, *words in block.commands():
        if program == "make":
            assert words[0] in targets
            continue
        command: Any = typer.main.get_command(app)
        while subcommands := getattr(command, "commands", None):
            assert words[0] in subcommands
            command = subcommands[words.pop(0)]
        options = {name for each in command.params for name in (*each.opts, *each.secondary_opts)}
        shown = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert shown <= options, f"{command.name}: {shown - options}"


@pytest.mark.parametrize("block", ALL, ids=where)
def test_every_body_that_curl_sends_is_declared_as_json(block):
    """The API refuses a form, which is curl's default."""
    for call in re.findall(r"\bcurl .*", block.text.replace("\\\n", " ")):
        if re.search(r" (-d|--data\S*) ", call):
            assert "-H 'Content-Type: application/json'" in call or "--json" in call
