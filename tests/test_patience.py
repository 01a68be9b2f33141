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
    "Sender": 1,
    "flush": 0,
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


def name_of(function: ast.expr) -> str:
    """Return the name of a function without what it is an attribute of."""
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def limits(source: str) -> Iterator[tuple[int, float]]:
    """Yield the line and the seconds of every limit that is written as a number.

    It is an argument of a call, or what is added to the time of now.
    """
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.BinOp(ast.Call(clock, []), ast.Add(), ast.Constant(int() | float() as number)):
                if name_of(clock) == "monotonic":
                    yield node.lineno, float(number)
        if not isinstance(node, ast.Call):
            continue
        function = node.func
        arguments = node.args
        if name_of(function) == "to_thread":
            function, *arguments = arguments
        name = name_of(function)
        if name in STEPS:
            continue
        position = POSITIONS.get(name, len(arguments))
        given = [*arguments[position : position + 1]]
        if name in POSITIONS or name in {"run", "check_output", "get", "ready", "list_topics"}:
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
        ("asyncio.to_thread(process.wait, 5)", [(1, 5.0)]),
        ("asyncio.to_thread(reports.get, timeout=5)", [(1, 5.0)]),
        ("deadline = time.monotonic() + 30", [(1, 30.0)]),
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
