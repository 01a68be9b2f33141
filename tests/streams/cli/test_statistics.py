from __future__ import annotations

import json

from tests.streams.cli.conftest import EXPERIMENT_ID

LINE = f"GET /experiments/{EXPERIMENT_ID}/stats"


def test_stats_shows_counts_sums_and_what_to_do(api, stats, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    api.answers[LINE] = (200, stats)

    result = api.run("stats", EXPERIMENT_ID)

    assert result.exit_code == 0
    text = result.stdout
    for part in ("2,468 assignments", "1,234", "174", "49.99", "99.98", "75.0%", "continue"):
        assert part in text
    assert "0.1 [0.05, 0.15]" in text


def test_stats_as_json_is_what_the_api_said(api, stats):
    api.answers[LINE] = (200, stats)

    result = api.run("stats", EXPERIMENT_ID, "--json")

    assert json.loads(result.stdout) == stats


def test_stats_of_an_unknown_experiment_says_so(api):
    error = {"code": "EXPERIMENT_NOT_FOUND", "message": "there is none", "path": "experimentId"}
    api.answers[LINE] = (404, {"error": error})

    result = api.run("stats", EXPERIMENT_ID)

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "experiment: EXPERIMENT_NOT_FOUND at experimentId: there is none\n"
