"""The calls of the README, pasted into a shell beside a running stack."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.integration.test_up import up

README = Path(__file__).parents[2] / "README.md"


def test_the_first_experiment_of_the_readme_works_as_pasted(tmp_path):
    if shutil.which("curl") is None:
        reason = "the README's calls need curl"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    [script] = re.findall(r"```bash\n(API=.*?)```", README.read_text("utf-8"), re.DOTALL)
    with up(tmp_path) as stack:
        run = subprocess.run(
            ["bash", "-euc", script.replace("http://127.0.0.1:8080", stack.url)],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )

    started, accepted, stats, concluded = _objects(run.stdout)
    assert started["status"] == "running"
    assert accepted == {"accepted": 2}
    assert stats["recommendedAction"] == "continue"
    assert concluded["status"] == "concluded"
    [assignment] = _objects(run.stderr)
    assert assignment["config"]["creativeId"].startswith("creative_")


def _objects(text: str) -> list[dict[str, Any]]:
    """Return JSON objects that stand one after the other."""
    decoder, found, place = json.JSONDecoder(), [], 0
    while place < len(text):
        value, place = decoder.raw_decode(text, place)
        found.append(value)
        place += len(text[place:]) - len(text[place:].lstrip())
    return found
