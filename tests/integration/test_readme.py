"""The commands of the README and of the tutorial, pasted into a shell beside a running stack."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.documents import executed
from tests.integration.up_process import Up, up

TIMEOUT_S = 180


@pytest.fixture(scope="module")
def stack(tmp_path_factory) -> Iterator[Up]:
    """One stack for all documents."""
    if shutil.which("curl") is None:
        reason = "the commands of the documents need curl"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    with up(tmp_path_factory.mktemp("documents")) as running:
        yield running


def pasted(page: str, stack: Up, directory: Path) -> subprocess.CompletedProcess[str]:
    """Run every executed block of a page in one shell that stops at the first failure."""
    script = "\n".join(block.text for block in executed(page, "bash"))
    state = stack.data.parent / "state"
    run = subprocess.run(
        ["bash", "-euc", script.replace("http://127.0.0.1:8080", stack.url)],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
        cwd=directory,
        env=os.environ
        | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "XDG_STATE_HOME": str(state),
            "EXPERIMENT_API_URL": stack.url,
        },
    )
    assert run.returncode == 0, run.stderr
    return run


def test_the_first_experiment_of_the_readme_works_as_pasted(stack, tmp_path):
    run = pasted("README.md", stack, tmp_path)

    started, exposed, accepted, stats, voided, concluded, shipped = _objects(run.stdout)
    assert started["status"] == "running"
    assert (exposed, accepted, voided) == ({"accepted": 1}, {"accepted": 2}, {"accepted": 1})
    assert stats["recommendedAction"] == "continue"
    assert concluded["status"] == "concluded"
    assert (shipped["variantName"], shipped["reason"]) == ("Creative B", "SHIPPED")
    [assignment] = _objects(run.stderr)
    assert assignment["variantName"] in {"Creative A", "Creative B"}


def test_the_tutorial_reaches_a_decision_as_pasted(stack, tmp_path):
    run = pasted("docs/tutorials/first-decision.md", stack, tmp_path)

    assert "4000 users, " in run.stdout
    assert "conclude_winner; winner: green" in run.stdout
    assert " is concluded\n" in run.stdout
    assert '"reason":"ASSIGNED"' in run.stdout
    assert "\nCompared " in run.stdout


def _objects(text: str) -> list[dict[str, Any]]:
    """Return JSON objects that stand one after the other."""
    decoder, found, place = json.JSONDecoder(), [], 0
    while place < len(text):
        value, place = decoder.raw_decode(text, place)
        found.append(value)
        place += len(text[place:]) - len(text[place:].lstrip())
    return found
