"""Openings of docstrings: a noun phrase or an imperative, not a question."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("api", "benchmarks", "client", "dashboard", "schemas", "scripts", "streams", "tests")

_QUESTION = re.compile(r"(What|Who|Whose|Whoever|How|Where|When|Why)\b")


def _docstrings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield line and text of each docstring, those of attributes and constants included."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        for statement in body if isinstance(body, list) else ():
            match statement:
                case ast.Expr(value=ast.Constant(value=str(text))):
                    yield statement.lineno, text


@pytest.mark.parametrize("package", PACKAGES)
def test_docstrings_open_with_a_noun_phrase_or_an_imperative(package: str) -> None:
    questions = [
        f"{path.relative_to(ROOT)}:{line}: {text.splitlines()[0]}"
        for path in sorted((ROOT / package).rglob("*.py"))
        for line, text in _docstrings(ast.parse(path.read_text()))
        if _QUESTION.match(text)
    ]

    assert questions == []
