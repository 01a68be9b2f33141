"""docs/reference/security.md names tests that exist, for every risk of the list."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_every_test_that_the_security_page_names_exists():
    page = (ROOT / "docs" / "reference" / "security.md").read_text()
    sources = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    defined = set(re.findall(r"def (test_\w+)", sources))
    rows = re.findall(r"^\| \*\*(API\d+)\*\*.*$", page, re.MULTILINE)
    unproven = [
        row for row in page.splitlines() if row.startswith("| **API") and "`test_" not in row
    ]

    assert rows == [f"API{number}" for number in range(1, 11)]
    assert not unproven
    assert set(re.findall(r"`(test_\w+)`", page)) <= defined
