"""Fenced blocks of the documents, with what their info strings say of them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
EXECUTED = "executed"
EXCERPT = "excerpt"

_BLOCK = re.compile(r"^```(?P<info>[^\n`]+)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block.

    Attributes:
        page: Path of its page, from the root of the repository.
        line: Line of its opening fence, from 1.
        language: First word of its info string.
        marks: The other words of its info string.
        text: What stands between the fences.
    """

    page: str
    line: int
    language: str
    marks: tuple[str, ...]
    text: str

    def commands(self) -> Iterator[list[str]]:
        """Yield the words of every command line, without comments, prompts and variables."""
        prompted = self.language == "text"
        for line in self.text.replace("\\\n", " ").splitlines():
            command = line.removeprefix("$ ")
            if prompted and command == line:
                continue
            found = re.search(r"(?:^|\$\(|; |&& )((?:experiment|make) [^)|;&]*)", command)
            if found:
                yield shlex.split(found[1], comments=True)


def blocks(page: str) -> list[Block]:
    """Return the fenced blocks of a page that name a language."""
    source = (ROOT / page).read_text("utf-8")
    found = []
    for match in _BLOCK.finditer(source):
        language, *marks = match["info"].split()
        line = source.count("\n", 0, match.start()) + 1
        found.append(Block(page, line, language, tuple(marks), match["text"]))
    return found


def executed(page: str, language: str) -> list[Block]:
    """Return the blocks of a page that a test executes, in their order."""
    return [
        block for block in blocks(page) if block.language == language and EXECUTED in block.marks
    ]
