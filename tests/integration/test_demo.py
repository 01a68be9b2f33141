"""`experiment demo` ends without input, and every count is exact."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from uuid import uuid4

import psutil
import pytest

from streams.cli.demo.scenario import TRIALS

DEMO_TIMEOUT_S = 300
OTHERS = {"EXPERIMENT_KAFKA_URL": "127.0.0.1:1", "EXPERIMENT_REDIS_URL": "redis://127.0.0.1:2"}
"""An installation of the environment, which the demo leaves alone."""


def demo(*options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "streams.cli", "demo", "--seconds", "5", "--rate", "20", *options],
        capture_output=True,
        text=True,
        check=False,
        timeout=DEMO_TIMEOUT_S,
        env=os.environ | OTHERS | variables,
    )


@pytest.mark.timeout(DEMO_TIMEOUT_S + 30)
def test_the_engine_counts_exactly_what_the_demo_sends() -> None:
    mark = uuid4().hex  # inherited by what this demo starts, and by no other test's

    done = demo("--json", TEST_RUN=mark)

    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["exact"]
    assert all(line["exact"] for line in report["lines"])
    assert report["duplicates"] > 0
    assert report["notEnrolled"] > 0
    assert report["shipped"]
    [by_exposure] = [each for each in report["stats"] if each["totalExposures"] is not None]
    assert 0 < by_exposure["totalExposures"] < by_exposure["totalAssignments"]
    excluded = [sum(each["evidence"]["excludedUnits"].values()) for each in report["stats"]]
    assert [n > 0 for n in excluded] == [trial.has_sets for trial in TRIALS]
    for trial in TRIALS:
        of_trial = [line for line in report["lines"] if line["experiment"] == trial.config["name"]]
        assert sum(line["sent"]["count"] for line in of_trial) > 0
    # With `attrs` a process that ends meanwhile is skipped.
    left = [
        process.info["cmdline"]
        for process in psutil.process_iter(["cmdline", "environ"])
        if (process.info["environ"] or {}).get("TEST_RUN") == mark
    ]
    assert left == []


@pytest.mark.timeout(DEMO_TIMEOUT_S + 30)
def test_without_a_terminal_the_demo_writes_plain_lines() -> None:
    done = demo()

    assert done.returncode == 0, done.stdout + done.stderr
    assert "Every count is exact" in done.stdout
    assert "events/s" in done.stdout
    assert "\x1b[" not in done.stdout
