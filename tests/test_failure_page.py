"""docs/explanation/failures.md names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_every_row_of_the_failure_page_names_a_test_that_exists():
    page = (ROOT / "docs" / "explanation" / "failures.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| ")][1:]
    named = [re.findall(r"`(test_\w+)`", row) for row in rows]
    sources = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    defined = set(re.findall(r"def (test_\w+)", sources))

    assert rows
    assert all(len(names) == 1 for names in named), named
    assert {name for [name] in named} <= defined
