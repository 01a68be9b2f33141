"""Observations over HTTP: what is good is taken, what is bad is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from streams.model.ids import experiment_number
from streams.model.receipts import Receipt
from tests.api.memory import DAY_MS, KEYRING, NOW_MS, Api, memory_api

RECEIPT = Receipt(5, 1, 1 << 31, 3, NOW_MS - 1_000, 99, 86_400)
SIGNED = KEYRING.sign(RECEIPT)
CLICK = {"assignmentId": SIGNED, "metric": "click", "value": 1}


async def test_one_observation_is_taken_with_its_time(api: Api) -> None:
    answer = await api.http.post("/observations", json=CLICK)

    assert (answer.status_code, answer.json()) == (202, {"accepted": 1})
    [found] = api.topics.observations()
    assert (found.assignment_id, found.metric, found.value) == (SIGNED, "click", 1_000_000)
    assert (found.event_id, found.observed_at_ms) == (None, NOW_MS)


async def test_a_list_is_taken_in_order_and_answered_by_number(api: Api) -> None:
    several = [{**CLICK, "value": value, "eventId": f"e{value}"} for value in (1, 2.5, 49.99)]

    answer = await api.http.post("/observations", json=several)

    assert (answer.status_code, answer.json()) == (202, {"accepted": 3})
    values = [found.value for found in api.topics.observations()]
    assert values == [1_000_000, 2_500_000, 49_990_000]
    assert len(api.topics.records) == 1  # one assignment, one partition, one record


async def test_an_empty_list_is_nothing(api: Api) -> None:
    answer = await api.http.post("/observations", json=[])

    assert (answer.status_code, answer.json()) == (202, {"accepted": 0})
    assert api.topics.records == []


FORGED = SIGNED[:-3] + ("AAA" if SIGNED[-3:] != "AAA" else "AAE")


@pytest.mark.parametrize(
    ("timestamp", "code", "hint"),
    [
        (0, "OBSERVED_BEFORE_ASSIGNMENT", "seconds?"),
        (NOW_MS // 1000, "OBSERVED_BEFORE_ASSIGNMENT", "seconds?"),
        (NOW_MS * 1000, "OUT_OF_RANGE", "microseconds?"),
        (NOW_MS * 1_000_000, "OUT_OF_RANGE", "nanoseconds?"),
    ],
)
async def test_a_time_in_another_unit_is_asked_about(
    api: Api, timestamp: int, code: str, hint: str
) -> None:
    answer = await api.http.post("/observations", json={**CLICK, "timestamp": timestamp})

    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["path"]) == (422, code, "timestamp")
    assert hint in error["message"]


@pytest.mark.parametrize(
    ("change", "code", "path"),
    [
        ({"assignmentId": FORGED}, "FORGED_RECEIPT", "assignmentId"),
        ({"assignmentId": SIGNED[:40]}, "MALFORMED_RECEIPT", "assignmentId"),
        ({"assignmentId": ""}, "OUT_OF_RANGE", "assignmentId"),
        ({"assignmentId": None}, "WRONG_TYPE", "assignmentId"),
        ({"timestamp": NOW_MS + 2 * DAY_MS}, "EXPIRED_RECEIPT", "timestamp"),
        ({"timestamp": NOW_MS - DAY_MS}, "OBSERVED_BEFORE_ASSIGNMENT", "timestamp"),
        ({"timestamp": "now"}, "WRONG_TYPE", "timestamp"),
        ({"metric": "no spaces"}, "INVALID_NAME", "metric"),
        ({"metric": "x" * 65}, "INVALID_NAME", "metric"),
        ({"value": 2e9}, "VALUE_OUT_OF_RANGE", "value"),
        ({"value": float("nan")}, "NOT_FINITE", "value"),
        ({"value": float("-inf")}, "NOT_FINITE", "value"),
        ({"value": "1"}, "WRONG_TYPE", "value"),
        ({"value": True}, "WRONG_TYPE", "value"),
        ({"eventId": "e" * 257}, "OUT_OF_RANGE", "eventId"),
        ({"evenId": "e"}, "UNKNOWN_FIELD", "evenId"),
    ],
)
async def test_a_bad_observation_is_422_and_does_not_cost_the_others_of_its_list(
    api: Api, change, code: str, path: str
) -> None:
    bad = {**CLICK, **change}

    alone = await api.http.post("/observations", content=json.dumps(bad))
    all_bad = await api.http.post("/observations", content=json.dumps([bad, bad]))
    assert api.topics.records == []
    in_list = await api.http.post("/observations", content=json.dumps([CLICK, CLICK, bad, CLICK]))

    for answer, expected in ((alone, path), (all_bad, f"[0].{path}")):
        assert answer.status_code == 422
        error = answer.json()["error"]
        assert (error["code"], error["path"]) == (code, expected)
    assert in_list.status_code == 202
    summary = in_list.json()
    [rejected] = summary["rejected"]
    assert (summary["accepted"], summary["rejectedCount"]) == (3, 1)
    assert (rejected["index"], rejected["code"], rejected["path"]) == (2, code, f"[2].{path}")
    assert len(api.topics.observations()) == 3


async def test_one_bad_event_among_500_is_named_and_499_are_taken(tmp_path: Path) -> None:
    several = [{**CLICK, "eventId": f"e{index}"} for index in range(500)]
    several[123] = {**CLICK, "value": "NaN"}

    async with memory_api(tmp_path, max_body_bytes=2**20) as api:
        answer = await api.http.post("/observations", json=several)
        n_taken = len(api.topics.observations())

    assert answer.status_code == 202
    summary = answer.json()
    assert summary["accepted"] == 499
    assert summary["rejected"] == [
        {
            "index": 123,
            "code": "WRONG_TYPE",
            "path": "[123].value",
            "message": "must be a number",
        }
    ]
    assert n_taken == 499


async def test_of_many_bad_observations_a_hundred_are_named_and_all_are_counted(api: Api) -> None:
    several = [CLICK, *[{**CLICK, "metric": "no spaces"}] * 500]

    summary = (await api.http.post("/observations", json=several)).json()

    assert (summary["accepted"], summary["rejectedCount"]) == (1, 500)
    assert [each["index"] for each in summary["rejected"]] == list(range(1, 101))


@pytest.mark.parametrize("event_id", ['"\\ud800"', '"\\udfff\\ud800"'])
async def test_a_lone_surrogate_is_refused_where_it_stands(api: Api, event_id: str) -> None:
    bad = json.dumps({**CLICK, "eventId": "?"}).replace('"?"', event_id.replace("\\\\", "\\"))

    alone = await api.http.post("/observations", content=bad)
    in_list = await api.http.post("/observations", content=f"[{json.dumps(CLICK)}, {bad}]")

    assert (alone.status_code, alone.json()["error"]["code"]) == (422, "INVALID_JSON")
    assert (in_list.status_code, in_list.json()["accepted"]) == (202, 1)
    assert in_list.json()["rejected"][0]["code"] == "INVALID_JSON"


async def test_a_list_of_which_nothing_can_be_kept_is_taken_not_at_all(tmp_path: Path) -> None:
    several = [{**CLICK, "eventId": f"e{index}"} for index in range(500)]
    async with memory_api(tmp_path, spool_max_bytes=2**10, max_body_bytes=2**20) as api:
        answer = await api.http.post("/observations", json=[*several, {**CLICK, "value": "x"}])

        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "SPOOL_FULL")
        assert api.topics.records == []


async def test_a_body_over_the_limit_is_413(api: Api) -> None:
    answer = await api.http.post("/observations", content=b"x" * 70_000)

    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "BODY_TOO_LARGE")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "INVALID_JSON"),
        (b"{", "INVALID_JSON"),
        (b"[" * 30_000, "INVALID_JSON"),
        (b"\xff\xfe", "INVALID_JSON"),
        (b'"click"', "WRONG_TYPE"),
        (b"[1]", "WRONG_TYPE"),
    ],
)
async def test_what_is_no_observation_is_422(api: Api, body: bytes, code: str) -> None:
    answer = await api.http.post("/observations", content=body)

    assert (answer.status_code, answer.json()["error"]["code"]) == (422, code)


async def test_an_observation_after_the_window_is_refused_by_the_api_clock(api: Api) -> None:
    api.clock.now_ms = NOW_MS + 2 * DAY_MS

    answer = await api.http.post("/observations", json=CLICK)

    assert answer.json()["error"]["code"] == "EXPIRED_RECEIPT"


async def test_a_value_that_is_declared_impossible_is_refused_where_its_sender_hears_of_it(
    api: Api,
) -> None:
    metrics = {"click": {"kind": "binary"}, "spent": {"minValue": -20, "maxValue": 200}}
    made = await api.create(
        {"primaryMetric": "click", "guardrailMetrics": ["spent"], "metrics": metrics}
    )
    number = experiment_number(made)
    signed = KEYRING.sign(RECEIPT._replace(experiment=number))
    several = [
        {"assignmentId": signed, "metric": metric, "value": value}
        for metric, value in [
            ("click", 1),
            ("click", 2),
            ("click", 0.5),
            ("spent", -20),
            ("spent", -1e9),
            ("other", -1e9),
        ]
    ]

    answer = await api.http.post("/observations", json=several)

    rejected = [(each["index"], each["code"], each["path"]) for each in answer.json()["rejected"]]
    assert rejected == [
        (1, "VALUE_OUT_OF_BOUNDS", "[1].value"),
        (2, "VALUE_NOT_WHOLE", "[2].value"),
        (4, "VALUE_OUT_OF_BOUNDS", "[4].value"),
    ]
    alone = await api.http.post("/observations", json=several[1])
    assert (alone.status_code, alone.json()["error"]["code"], alone.json()["error"]["path"]) == (
        422,
        "VALUE_OUT_OF_BOUNDS",
        "value",
    )
