"""Real logged traffic through the whole stack: what `stats` shows is what the CSV holds."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from streams.cli.open_bandit.dataset import fetch_wheel
from tests.integration.up_process import Up, up

COMMAND_TIMEOUT_S = 120


def experiment(stack: Up, *arguments: str) -> Any:
    """Run `experiment ARGUMENTS --json` beside the stack and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "streams.cli", *arguments, "--json", "--api", stack.url],
        capture_output=True,
        text=True,
        check=False,
        timeout=COMMAND_TIMEOUT_S,
        # Where `up` has registered its Kafka and receipt key.
        env=os.environ | {"XDG_STATE_HOME": str(stack.data.parent / "state")},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def logged(
    wheel: Path, policy: str, campaign: str, limit: int
) -> tuple[Counter[int], Counter[int]]:
    """Return impressions and clicks by item, counted from the file with the standard library."""
    impressions: Counter[int] = Counter()
    clicks: Counter[int] = Counter()
    with zipfile.ZipFile(wheel) as archive:
        text = archive.read(f"obp/dataset/obd/{policy}/{campaign}/{campaign}.csv").decode()
    for row in list(csv.DictReader(io.StringIO(text)))[:limit]:
        impressions[int(row["item_id"])] += 1
        clicks[int(row["item_id"])] += int(row["click"])
    return impressions, +clicks


@pytest.mark.timeout(300)
def test_every_item_has_exactly_the_impressions_and_clicks_of_the_file(tmp_path) -> None:
    with up(tmp_path) as stack:
        for policy, campaign, limit in (("random", "all", 10_000), ("bts", "men", 2_000)):
            options = ("--policy", policy, "--campaign", campaign, "--limit", str(limit))
            imported = experiment(stack, "import", "open-bandit", *options)
            stats = experiment(stack, "stats", imported["experimentId"])

            impressions, clicks = logged(fetch_wheel(), policy, campaign, limit)
            counted = {each["name"]: each["stats"] for each in stats["variants"]}
            assert {
                int(name.removeprefix("item ")): found["assignments"]
                for name, found in counted.items()
                if found["assignments"]
            } == impressions
            assert {
                int(name.removeprefix("item ")): found["metrics"]["click"]["observations"]
                for name, found in counted.items()
                if found["observations"]
            } == clicks
            assert (imported["impressions"], imported["clicks"]) == (limit, clicks.total())
            assert (stats["totalAssignments"], stats["totalObservations"]) == (
                limit,
                clicks.total(),
            )
