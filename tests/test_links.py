"""Every relative link and image of the documents leads to a file, and to a heading it has."""

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


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_to_headings_lead_to_headings(page):
    links = re.findall(r"\]\(((?!https?:)[^)\s#]*)#([^)\s]+)\)", page.read_text())
    targets = [(page.parent / file if file else page, anchor) for file, anchor in links]
    assert [
        (str(target), anchor)
        for target, anchor in targets
        if target.suffix == ".md" and anchor not in anchors(target)
    ] == []
