"""Commands whose standard streams are closed, full, or of an encoding with few characters."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping

import pytest

from tests.documents import ROOT

NAME = "Größe 😀"


def run(
    api: str, command: str, settings: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `experiment` in a shell, which redirects as users do."""
    return subprocess.run(
        ["bash", "-c", f"{sys.executable} -m streams.cli {command}"],
        env={**os.environ, "EXPERIMENT_API_URL": api, **(settings or {})},
        cwd=ROOT,
        capture_output=True,
        encoding=(settings or {}).get("PYTHONIOENCODING", "utf-8"),
        check=False,
    )


@pytest.fixture
def named(api, experiment):
    experiment["config"]["name"] = NAME
    api.answers["POST /experiments"] = (201, experiment)
    return api


def test_a_closed_input_is_empty(api):
    done = run(api.url, "create - <&-")

    assert done.returncode == 1
    assert done.stderr.startswith("experiment: WRONG_TYPE at -: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_output_does_not_stop_a_command(named, closed):
    done = run(named.url, f"create --name x --variant A --variant B {closed}")

    assert (done.returncode, done.stderr) == (0, "")
    assert [line for line, _ in named.requests] == ["POST /experiments"]


@pytest.mark.parametrize("form", ["", "--json"])
def test_an_output_that_is_full_is_one_line(named, form):
    done = run(named.url, f"create --name x --variant A --variant B {form} >/dev/full")

    assert done.returncode == 74
    assert done.stderr == "experiment: SYSTEM_ERROR: [Errno 28] No space left on device\n"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_characters_that_an_encoding_lacks_are_escaped(named, encoding):
    settings = {"PYTHONIOENCODING": encoding}
    done = run(named.url, "create --name x --variant A --variant B --json", settings)

    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["config"]["name"] == NAME


def test_a_bug_has_an_exit_code_that_no_result_has():
    code = (
        "from streams.cli.failures import Application\n"
        "app = Application()\n"
        "@app.command()\n"
        "def fail(): raise KeyError('bug')\n"
        "app([])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 70
    assert "KeyError: 'bug'" in done.stderr
