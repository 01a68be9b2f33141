"""docs/decisions/README.md lists every decision, by the title of its page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "docs" / "decisions"
PAGES = sorted(FOLDER.glob("[0-9]*.md"))
SECTIONS = ["Context", "Options", "Decision", "Consequences"]


def test_the_index_has_the_title_and_status_of_every_decision():
    index = (FOLDER / "README.md").read_text()
    rows = re.findall(r"^\| \[(\d{4})\]\(([^)]+)\) \| (.+) \| (.+) \|$", index, re.MULTILINE)

    listed = [
        (name, f"# {number} {title}", f"Status: {status}") for number, name, title, status in rows
    ]
    assert listed == [(page.name, *page.read_text().split("\n\n")[:2]) for page in PAGES]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_decision_has_the_usual_sections(page):
    assert re.findall(r"^## (.*)$", page.read_text(), re.MULTILINE) == SECTIONS
