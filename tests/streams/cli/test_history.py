from tests.streams.cli.conftest import EXPERIMENT_ID

ENTRY = {
    "id": "a" * 32,
    "at": 1_700_000_000_000,
    "kind": "update",
    "author": "key:analyst/ana",
    "reason": "too many errors",
    "reasonCode": "",
    "version": 3,
    "accepted": True,
    "code": "",
    "changes": [{"path": "config.trafficAllocation", "before": 1.0, "after": 0.5}],
    "omittedChanges": 0,
    "undo": {"code": "COMPLETE", "method": "PATCH", "path": "/experiments/x", "body": {}},
}


def test_history_shows_who_what_and_why(api):
    api.answers[f"GET /experiments/{EXPERIMENT_ID}/history"] = (
        200,
        {"entries": [ENTRY], "nextCursor": None},
    )

    shown = api.run("history", EXPERIMENT_ID, "--kind", "update").stdout

    for part in ("key:analyst/ana", "update", "config.trafficAllocation: 1.0 -> 0.5", "errors"):
        assert part in shown
    assert api.requests[0][0].endswith("/history?limit=200&kind=update")


def test_a_command_carries_its_reason_and_declared_author(api, experiment):
    api.answers[f"POST /experiments/{EXPERIMENT_ID}/pause"] = (200, experiment)

    api.run("pause", EXPERIMENT_ID, "--reason", "too many errors", "--author", "ana")

    line, _ = api.requests[0]
    assert line.endswith("/pause?reason=too+many+errors&author=ana")


def test_a_command_carries_the_version_that_was_seen(api, experiment):
    api.answers[f"POST /experiments/{EXPERIMENT_ID}/pause"] = (200, experiment)

    api.run("pause", EXPERIMENT_ID, "--expected-version", "7")

    line, _ = api.requests[0]
    assert line.endswith("/pause?expectedVersion=7")
