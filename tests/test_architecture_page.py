"""docs/explanation/architecture.md names modules that exist, and every package."""

from __future__ import annotations

import re

from tests.documents import ROOT

PAGE = (ROOT / "docs" / "explanation" / "architecture.md").read_text()


def test_the_named_modules_exist():
    named = re.findall(r"`((?:api|client|dashboard|schemas|streams)/[\w/.-]*)`", PAGE)

    assert named
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_modules_named_after_another_one_are_in_its_folder():
    missing = [
        f"{folder}/{name}"
        for cell in re.findall(r"^\| \d+ \| ([^|]*) \|", PAGE, re.MULTILINE)
        for folder in re.findall(r"`([\w/]+)/\w+\.py`", cell)[:1]
        for name in re.findall(r"`(\w+\.py)`", cell)
        if not (ROOT / folder / name).exists()
    ]
    assert missing == []


def test_every_package_is_described():
    packages = {f"streams.{path.parent.name}" for path in (ROOT / "streams").glob("*/__init__.py")}

    assert {name for name in packages if f"`{name}`" not in PAGE} == set()
