"""Every relative link and image of the documents leads to a file."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [
    *ROOT.glob("*.md"),
    *(
        page
        for folder in ("docs", "schemas", "benchmarks")
        for page in (ROOT / folder).rglob("*.md")
    ),
]
LINK = re.compile(r"\]\(([^)\s#]+)[^)]*\)|(?:src|href)=\"([^\"#]+)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_to_files(page):
    links = {first or second for first, second in LINK.findall(page.read_text())}
    relative = {link for link in links if not re.match(r"[a-z]+:|/", link)}
    assert [link for link in sorted(relative) if not (page.parent / link).exists()] == []
