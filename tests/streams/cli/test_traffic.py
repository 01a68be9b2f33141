"""Assignments, exposures and voids on the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.streams.cli.conftest import EXPERIMENT_ID

ASSIGNMENT = {
    "id": "AQEB",
    "experimentId": EXPERIMENT_ID,
    "variantId": f"{EXPERIMENT_ID}_v1",
    "variantName": "B",
    "config": {"adId": "ad_2"},
    "enrolled": True,
    "reason": "ASSIGNED",
    "propensity": 1 / 3,
}
PLACE = f"POST /experiments/{EXPERIMENT_ID}/assign"


def test_assign_sends_the_request_and_its_eligible_variants(api: Any) -> None:
    api.answers[PLACE] = (200, ASSIGNMENT)

    options = "--user u1 --device mobile --feature age=35 --feature campaign=x --feature zip=01"
    eligible = ("--eligible", "A", "--eligible", "B, too")
    result = api.run("assign", EXPERIMENT_ID, *options.split(), *eligible)

    features = {"age": 35, "campaign": "x", "zip": "01"}
    body = {"userId": "u1", "device": "mobile", "features": features, "eligible": ["A", "B, too"]}
    assert api.requests == [(PLACE, body)]
    assert result.stdout.splitlines() == [
        f"variant    B ({EXPERIMENT_ID}_v1)",
        "reason     ASSIGNED",
        "propensity 0.333333",
        'config     {"adId":"ad_2"}',
        "id         AQEB",
    ]


def test_assign_prints_the_answer_as_json(api: Any) -> None:
    outside = {**ASSIGNMENT, "id": None, "propensity": None, "enrolled": False}
    api.answers[PLACE] = (200, outside)

    assert json.loads(api.run("assign", EXPERIMENT_ID, "--json").stdout) == outside
    text = api.run("assign", EXPERIMENT_ID).stdout
    assert "propensity" not in text
    assert "id  " not in text


def test_a_refused_assignment_says_code_and_path(api: Any) -> None:
    error = {"code": "UNKNOWN_VARIANT", "message": "no", "path": "eligible[0]"}
    api.answers[PLACE] = (422, {"error": error})

    result = api.run("assign", EXPERIMENT_ID, "--eligible", "X")

    assert result.exit_code == 1
    assert "UNKNOWN_VARIANT" in result.stderr
    assert "eligible[0]" in result.stderr


def test_a_feature_without_a_name_is_refused(api: Any) -> None:
    for pair in ("=1", "age"):
        assert "--feature" in api.run("assign", EXPERIMENT_ID, "--feature", pair).stderr
    assert not api.requests


def test_arguments_are_voided_for_a_reason(api: Any) -> None:
    api.answers["POST /assignments/void"] = (202, {"accepted": 2})

    result = api.run("void", "A1", "A2", "--reason", "ivt")

    members = [{"assignmentId": each, "reason": "ivt"} for each in ("A1", "A2")]
    assert api.requests == [("POST /assignments/void", members)]
    assert (result.exit_code, result.stdout) == (0, "2 taken, 0 refused\n")


def test_lines_are_ids_or_json_and_the_refused_ones_are_named(api: Any, tmp_path: Path) -> None:
    rejected = {"index": 2, "code": "VOID_TOO_LATE", "path": "[2].assignmentId", "message": "late"}
    answer = {"accepted": 3, "rejected": [rejected], "rejectedCount": 1}
    api.answers["POST /assignments/void"] = (202, answer)
    file = tmp_path / "voids"
    own = json.dumps({"assignmentId": "A2", "reason": "deletion"})
    file.write_text(f'A1\r\n\n{own}\n  "A3"\n{{"assignmentId": "A4"}}')

    result = api.run("void", "--file", str(file), "--reason", "bot", "--json")

    [(_, members)] = api.requests
    assert members == [
        {"assignmentId": "A1", "reason": "bot"},
        {"assignmentId": "A2", "reason": "deletion"},
        {"assignmentId": "A3", "reason": "bot"},
        {"assignmentId": "A4", "reason": "bot"},
    ]
    refused, numbers = map(json.loads, result.stdout.splitlines())
    assert refused == {
        "line": 4,
        "code": "VOID_TOO_LATE",
        "path": "assignmentId",
        "message": "late",
    }
    assert numbers == {"accepted": 3, "rejectedCount": 1}
    assert result.exit_code == 1


@pytest.mark.parametrize("line", ["[", '{"assignmentId":', "[1]", "7", '{"assignmentId": 7}'])
def test_a_line_that_is_neither_is_refused_by_the_api_and_named(line: str, api: Any) -> None:
    error = {"code": "WRONG_TYPE", "message": "must be an object", "path": "[0]"}
    api.answers["POST /assignments/void"] = (422, {"error": error})

    result = api.run("void", "--file", "-", "--reason", "bot", stdin=f"{line}\n")

    assert (result.exit_code, len(api.requests)) == (1, 1)
    assert result.stdout.startswith("line 1: WRONG_TYPE")


def test_a_void_needs_a_reason_and_both_need_assignments(api: Any, tmp_path: Path) -> None:
    assert "--reason" in api.run("void", "A1").stderr
    assert "--file" in api.run("void", "--reason", "ivt").stderr
    assert "--file" in api.run("expose").stderr
    assert "UNREADABLE_FILE" in api.run("expose", "--file", str(tmp_path / "none")).stderr
    assert not api.requests


def test_exposures_are_posted_a_hundred_at_a_time(api: Any) -> None:
    api.answers["POST /exposures"] = (202, {"accepted": 100})
    lines = "\n".join(f"A{n}" for n in range(250))

    result = api.run("expose", "--file", "-", "--timestamp", "5", stdin=lines)

    assert [len(members) for _, members in api.requests] == [100, 100, 50]
    assert api.requests[2][1][-1] == {"assignmentId": "A249", "timestamp": 5}
    assert result.stdout == "250 taken, 0 refused\n"


def test_what_was_taken_before_a_failure_is_said(api: Any, monkeypatch: Any) -> None:
    """A list that is repeated from that line on is not posted twice."""
    answers = iter([(202, {"accepted": 100}), (401, {"error": {"code": "NO", "message": "no"}})])

    class Once(dict[str, Any]):
        def get(self, *_: Any) -> Any:
            return next(answers)

    monkeypatch.setattr(api, "answers", Once())

    result = api.run("expose", "--file", "-", stdin="\n".join(f"A{n}" for n in range(250)))

    assert result.exit_code == 1
    assert "100 taken, 0 refused before line 101" in result.stderr
