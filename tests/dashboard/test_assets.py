from __future__ import annotations

import gzip
import json
import re
from hashlib import sha256
from pathlib import Path

import pytest

from dashboard.context import TEMPLATES
from dashboard.static_files import DIRECTORY
from scripts.vendor_assets import ASSETS, RECORD, ROOT

LARGEST_FIRST_LOAD = 400_000


@pytest.mark.parametrize("asset", ASSETS, ids=lambda asset: asset.file)
def test_vendored_files_are_those_of_their_packages(asset):
    path = ROOT / asset.file
    [record] = [
        each for each in json.loads((path.parent / RECORD).read_text()) if each["file"] == path.name
    ]

    assert (record["package"], record["version"]) == (asset.package, asset.version)
    assert record["license"] == asset.license
    assert record["sha256"] == sha256(path.read_bytes()).hexdigest()
    assert (path.parent / record["licenseFile"]).stat().st_size > 100


def test_nothing_else_is_vendored():
    known = {ROOT / asset.file for asset in ASSETS}

    assert {*DIRECTORY.joinpath("vendor").glob("*.js")} <= known
    assert {*DIRECTORY.joinpath("vendor").glob("*.css")} <= known


def test_all_files_together_are_a_small_first_load():
    files = [path for path in DIRECTORY.rglob("*") if path.suffix in {".js", ".css", ".svg"}]

    assert sum(len(gzip.compress(path.read_bytes())) for path in files) <= LARGEST_FIRST_LOAD // 4


@pytest.mark.parametrize("path", sorted(TEMPLATES.glob("*.html")), ids=lambda path: path.name)
def test_templates_have_nothing_that_the_policy_forbids(path: Path):
    text = path.read_text()

    assert not re.search(r"\sstyle=|\son\w+=|javascript:|https?://|hx-on|js:", text)
    assert not re.search(r"<script(?![^>]*src=)|<style", text)
    assert "| safe" not in text
    assert "|safe" not in text
