"""The test vectors: those of the code, and verified by an implementation in Go."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.render_vectors import FOLDER, render
from tests.patience import PATIENCE_S

PROGRAM = Path(__file__).with_name("main.go")
GO = {"GO111MODULE": "off", "GOTOOLCHAIN": "local", "GOPROXY": "off", "GOFLAGS": ""}


def test_the_files_are_those_of_the_code():
    """Run `python -m scripts.render_vectors` after a change."""
    found = {path.name: path.read_text("utf-8") for path in FOLDER.iterdir()}

    assert found == dict(render())


Verify = Callable[[Path], subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def verify(tmp_path_factory) -> Verify:
    """Return what runs the implementation in Go on a folder of vectors."""
    go = shutil.which("go")
    if go is None:
        if "CI" in os.environ:
            pytest.fail("the independent implementation of assignments needs Go")
        pytest.skip("the independent implementation of assignments needs Go")
    program = tmp_path_factory.mktemp("go") / "vectors"
    command = [go, "build", "-o", str(program), str(PROGRAM)]
    built = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | GO
    )
    assert built.returncode == 0, built.stderr

    def run(folder: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(program), str(folder)],
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
        )

    return run


def test_an_independent_implementation_agrees(verify: Verify):
    run = verify(FOLDER)

    assert run.returncode == 0, run.stderr
    counts = json.loads(run.stdout)
    assert set(counts) == {path.name for path in FOLDER.iterdir()}
    assert min(counts.values()) >= 30


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("hashes.json", '"hash": "', '"hash": "0'),
        ("enrolment.json", "true", "false"),
        ("allocations.json", '"variant": 1', '"variant": 2'),
        ("layers.json", "true", "false"),
        ("receipts.json", "FORGED_RECEIPT", "MALFORMED_RECEIPT"),
    ],
)
def test_it_finds_what_differs(verify: Verify, tmp_path, name, before, after):
    shutil.copytree(FOLDER, tmp_path / "vectors")
    file = tmp_path / "vectors" / name
    text = file.read_text("utf-8")
    changed = re.sub(f"{before}[0-9a-f]" if after.endswith("0") else before, after, text)
    assert changed != text
    file.write_text(changed, "utf-8")

    run = verify(tmp_path / "vectors")

    assert run.returncode == 1, run.stdout + run.stderr
