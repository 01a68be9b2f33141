"""The table of rights in docs/reference/security.md: what each user of Kafka runs, and may."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import typer.main

from scripts.render_cli import leaves
from streams.cli.main import app

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "security.md"
PREFIX = "shop-"
"""Topic prefix that stands for P of the table."""


@dataclass(frozen=True, slots=True)
class Right:
    """Operations on one resource, as the rights table has them.

    Attributes:
        kind: `topic` or `group`.
        name: Its name, or the beginning of it.
        operations: As `kafka-acls.sh` spells them.
        is_prefix: Whether `name` is the beginning of a name.
    """

    kind: str
    name: str
    operations: tuple[str, ...]
    is_prefix: bool = False


@cache
def rights_table() -> dict[str, list[Right]]:
    """Return the rights of every user of the page's table."""
    return {user: [_right(text) for text in rights.split("; ")] for user, _, rights in _rows()}


@cache
def commands_table() -> dict[str, str]:
    """Return the user of every command that the table has, by the command's words."""
    return {
        command_of(words.split()[1:]): user
        for user, runs, _ in _rows()
        for words in re.findall(r"`(experiment [^`]+)`", runs)
    }


@cache
def commands() -> dict[str, Any]:
    """Return every command of the command line, by its words behind `experiment`."""
    return dict(leaves(typer.main.get_command(app), ""))


def command_of(arguments: Sequence[str]) -> str:
    """Return the words of the command that some arguments call."""
    known = commands()
    for end in range(len(arguments), 0, -1):
        if (words := " ".join(arguments[:end])) in known:
            return words
    raise LookupError(arguments)


def _rows() -> Iterator[tuple[str, str, str]]:
    yield from re.findall(r"^\| `(\w+)` \| ([^|]*) \| ([^|]+) \|$", PAGE.read_text(), re.MULTILINE)


def _right(text: str) -> Right:
    operations, kind, name = re.fullmatch(
        r"([A-Z_, ]+) on (topic|group) `([^`]+)`", text.strip()
    ).groups()  # type: ignore[union-attr]
    return Right(
        kind,
        re.sub("^P", PREFIX, name).rstrip("*"),
        tuple(operations.split(", ")),
        name.endswith("*"),
    )
