"""docs/explanation/field-reports.md names tests that exist, for every report."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "explanation" / "field-reports.md"
ROWS = [line.split("|")[1:-1] for line in PAGE.read_text().splitlines() if line.startswith("|")][2:]


def functions(path: Path) -> set[str]:
    found = ast.walk(ast.parse(path.read_text("utf-8")))
    return {each.name for each in found if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0].strip())
def test_every_report_names_tests_of_the_files_it_links(row: list[str]) -> None:
    report, _, _, tests = row
    named = re.findall(r"\[`(test_\w+)`\]\(([^)]+)\)", tests)

    assert re.search(r"#\d+", report)
    assert named
    for name, place in named:
        assert name in functions((PAGE.parent / place).resolve()), place


def test_reports_stand_once() -> None:
    cited = [
        f"{project} {number}"
        for row in ROWS
        for project, numbers in re.findall(r"([a-z][\w .-]*?) (#\d+(?:, #\d+)*)", row[0])
        for number in numbers.split(", ")
    ]

    assert len(cited) == len(set(cited))
