from __future__ import annotations

import json
from typing import Any

from tests.streams.cli.conftest import EXPERIMENT_ID

LINE = f"GET /experiments/{EXPERIMENT_ID}/timeseries"


def series() -> dict[str, Any]:
    variant = {
        "assignments": 1_234,
        "exposures": None,
        "observations": 174,
        "allocation": 0.5,
        "probabilityBest": 0.75,
        "mean": 0.1,
        "lower": 0.05,
        "upper": 0.15,
        "againstControl": None,
    }
    against = {
        "probabilityBetter": 0.875,
        "difference": 0.01,
        "differenceLower": -0.02,
        "differenceUpper": 0.04,
        "sequenceLower": -0.03,
        "sequenceUpper": None,
    }
    return {
        "experimentId": EXPERIMENT_ID,
        "metric": "click",
        "direction": "increase",
        "controlId": f"{EXPERIMENT_ID}_v0",
        "width": 60,
        "points": [
            {
                "at": 1_700_000_000_000,
                "version": 9,
                "status": "running",
                "recommendedAction": "continue",
                "reasonCode": "LEAD_UNCERTAIN",
                "variants": [
                    variant | {"id": f"{EXPERIMENT_ID}_v0"},
                    variant | {"id": f"{EXPERIMENT_ID}_v1", "againstControl": against},
                ],
            }
        ],
    }


def test_the_table_has_a_line_for_each_point_and_variant(api, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    api.answers[f"{LINE}?points=20"] = (200, series())

    result = api.run("timeseries", EXPERIMENT_ID)

    assert result.exit_code == 0
    for part in ("2023-11-14 22:13:20", "1,234", "50.0%", "0.1 [0.05, 0.15]", "[-0.03, ...]"):
        assert part in result.stdout


def test_csv_and_json_have_every_number(api):
    query = "metric=click&from=1699999200000&to=1700000001000&points=5"
    api.answers[f"{LINE}?{query}"] = (200, series())
    options = (
        "--metric",
        "click",
        "--from",
        "2023-11-14T22:00:00",
        "--to",
        "1700000001000",
        "--points",
        "5",
    )

    lines = api.run("timeseries", EXPERIMENT_ID, *options, "--csv").stdout.splitlines()
    found = json.loads(api.run("timeseries", EXPERIMENT_ID, *options, "--json").stdout)

    assert len(lines) == 3
    assert lines[0].startswith("at,version,variantId,assignments")
    assert lines[2] == (
        f"1700000000000,9,{EXPERIMENT_ID}_v1,1234,,174,0.5,0.75,0.1,0.05,0.15,"
        "0.875,0.01,-0.02,0.04,-0.03,"
    )
    assert found == series()


def test_what_is_no_time_is_refused(api):
    result = api.run("timeseries", EXPERIMENT_ID, "--from", "yesterday")

    assert result.exit_code == 1
    assert "--from" in result.stderr
