"""Limits of time that are not what is tested are `PATIENCE_S`: a busy machine misses others."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
SHORT_S = 60.0
POSITIONS = {
    "communicate": 1,
    "result": 0,
    "timeout": 0,
    "until": 1,
    "wait": 0,
    "wait_for": 1,
}
"""Which argument of a function is a limit, where it has no name."""

KEYWORDS = {"timeout", "timeout_s", "within_s"}
STEPS = {"consume", "poll", "getmany", "_getmany", "retry_context"}
"""Functions that return without a result, and are called again."""


def limits(source: str) -> Iterator[tuple[int, float]]:
    """Yield the line and the seconds of every limit that is written as a number in a call."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        function = node.func
        name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
        if name in STEPS:
            continue
        position = POSITIONS.get(name, len(node.args))
        given = [*node.args[position : position + 1]]
        if name in POSITIONS or name in {"run", "check_output", "ready", "list_topics"}:
            given += [each.value for each in node.keywords if each.arg in KEYWORDS]
        for each in given:
            if isinstance(each, ast.Constant) and isinstance(each.value, int | float):
                yield node.lineno, float(each.value)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("process.wait(5)", [(1, 5.0)]),
        ("process.wait(timeout=5)", [(1, 5.0)]),
        ("async with asyncio.timeout(0.5): ...", [(1, 0.5)]),
        ("until(condition, 30)", [(1, 30.0)]),
        ("subprocess.run(command, timeout=9)", [(1, 9.0)]),
        ("process.wait(PATIENCE_S)", []),
        ("consumer.poll(1)", []),
        ("pytest.mark.timeout(900)", [(1, 900.0)]),
    ],
)
def test_limits_are_found(source, found):
    assert list(limits(source)) == found


def test_no_limit_is_one_that_a_busy_machine_misses():
    """A limit that is what is tested, or in which nothing may come, has a name."""
    short = [
        f"{path.relative_to(TESTS)}:{line}"
        for path in sorted(TESTS.rglob("*.py"))
        for line, seconds in limits(path.read_text())
        if seconds < SHORT_S
    ]

    assert short == []
