"""`experiment holdout`: what is sent, and what is said of the answer."""

from __future__ import annotations

import json

HOLDOUT = {
    "key": "all-2026",
    "status": "running",
    "share": 0.05,
    "unit": "user",
    "experiments": ["*"],
    "primaryMetric": "click",
    "experimentId": "exp_0000000000007",
    "createdAt": 1_700_000_000_000,
    "endedAt": None,
}


def test_create_sends_what_is_held_out_of_what(api):
    api.answers["POST /holdouts"] = (201, HOLDOUT)

    plain = api.run("holdout", "create", "all-2026", "--share", "0.05")
    options = "--experiment hero --experiment exp_0000000000001 --unit session --metric revenue"
    named = api.run("holdout", "create", "q4", "--share", "0.1", *options.split(), "--json")

    assert plain.stdout == "holdout all-2026 is running, 5.0% of users\n"
    assert json.loads(named.stdout) == HOLDOUT
    assert [body for _, body in api.requests] == [
        {"key": "all-2026", "share": 0.05, "experiments": ["*"], "unit": "user"},
        {
            "key": "q4",
            "share": 0.1,
            "experiments": ["hero", "exp_0000000000001"],
            "unit": "session",
            "primaryMetric": "revenue",
        },
    ]


def test_list_stats_end_and_archive(api, stats):
    ended = {**HOLDOUT, "status": "ended", "endedAt": 1_700_000_000_009}
    api.answers |= {
        "GET /holdouts": (200, {"holdouts": [HOLDOUT]}),
        "GET /holdouts/all-2026/stats": (200, stats),
        "DELETE /holdouts/all-2026": (200, ended),
        "POST /holdouts/all-2026/archive": (200, {**ended, "status": "archived"}),
    }

    assert "all-2026" in api.run("holdout", "list").stdout
    assert json.loads(api.run("holdout", "list", "--json").stdout) == {"holdouts": [HOLDOUT]}
    assert json.loads(api.run("holdout", "stats", "all-2026", "--json").stdout) == stats
    assert api.run("holdout", "stats", "all-2026", "--at", "conclusion").exit_code == 0
    assert "all-2026 is ended" in api.run("holdout", "end", "all-2026").stdout
    assert "is archived" in api.run("holdout", "archive", "all-2026").stdout
    assert "GET /holdouts/all-2026/stats?at=conclusion" in [line for line, _ in api.requests]


def test_a_refusal_says_code_and_path(api):
    error = {"code": "OUT_OF_RANGE", "message": "share == 0.0", "path": "share"}
    api.answers["POST /holdouts"] = (422, {"error": error})

    result = api.run("holdout", "create", "all", "--share", "0")

    assert result.exit_code != 0
    assert "OUT_OF_RANGE" in result.stderr
