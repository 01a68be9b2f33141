"""Digest of the code that a measurement depends on."""

from __future__ import annotations

import ast
from functools import cache
from hashlib import blake2b
from pathlib import Path

_ROOT = Path(__file__).parent.parent.parent
_MEASURED = ("streams", "benchmarks/simulation", "benchmarks/calibration")
_SHELLS = frozenset({"cli", "kafka", "local", "ops", "process", "projection", "wire", "worker"})
_OF_THE_PAGE = frozenset({"code_digest.py", "page.py", "plots.py", "running.py"})


@cache
def code_digest() -> str:
    """Return a digest of the statistics and the simulations, without comments and docstrings."""
    digest = blake2b(digest_size=8)
    for path in sorted(path for place in _MEASURED for path in (_ROOT / place).rglob("*.py")):
        parts = path.relative_to(_ROOT).parts
        if parts[1] in _SHELLS or path.name in _OF_THE_PAGE:
            continue
        digest.update(statements(path.read_text()).encode())
    return digest.hexdigest()


def statements(source: str) -> str:
    """Return the syntax tree of a module as text, without docstrings.

    >>> statements("x = 1  # one") == statements("'Numbers.'; x = 1")
    True
    """
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [each for each in body if not _is_text(each)]  # type: ignore[attr-defined]
    return ast.dump(tree)


def _is_text(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
