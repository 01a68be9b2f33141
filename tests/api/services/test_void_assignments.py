"""Voids over HTTP: one assignment or a list, the good ones of which are taken."""

from __future__ import annotations

from typing import Any

import pytest

from experiment_streams_client import ExperimentClient, VoidRequest
from streams.model.errors import InputError
from streams.model.receipts import Receipt
from streams.model.validation import parse
from tests.api.memory import DAY_MS, KEYRING, NOW_MS, Api

RECEIPT = Receipt(5, 1, 1 << 31, 3, NOW_MS - 1_000, 99, 86_400)
SIGNED = KEYRING.sign(RECEIPT)
VOID = {"assignmentId": SIGNED, "reason": "ivt"}
FORGED = SIGNED[:-3] + ("AAA" if SIGNED[-3:] != "AAA" else "AAE")
ENDED = KEYRING.sign(RECEIPT._replace(assigned_at_ms=NOW_MS - DAY_MS - 1))


async def test_a_void_is_logged_with_the_observations_of_its_assignment(api: Api) -> None:
    click = {"assignmentId": SIGNED, "metric": "click", "value": 1}
    await api.http.post("/observations", json=click)
    answer = await api.http.post("/assignments/void", json=VOID)

    assert (answer.status_code, answer.json()) == (202, {"accepted": 1})
    first, void = api.topics.observations()
    assert (void.assignment_id, void.metric) == (first.assignment_id, "$void.ivt")
    assert void.observed_at_ms == NOW_MS
    assert len({record.partition for record in api.topics.records}) == 1


async def test_an_assignment_without_a_window_can_be_voided_at_any_time(api: Api) -> None:
    old = KEYRING.sign(RECEIPT._replace(assigned_at_ms=1, attribution_window_s=0))

    answer = await api.http.post("/assignments/void", json={**VOID, "assignmentId": old})

    assert answer.status_code == 202


BAD: list[tuple[Any, str, str]] = [
    ({"assignmentId": FORGED}, "FORGED_RECEIPT", "assignmentId"),
    ({"assignmentId": "unknown"}, "MALFORMED_RECEIPT", "assignmentId"),
    ({"assignmentId": ""}, "OUT_OF_RANGE", "assignmentId"),
    ({"assignmentId": None}, "WRONG_TYPE", "assignmentId"),
    ({"assignmentId": ENDED}, "VOID_TOO_LATE", "assignmentId"),
    ({"reason": "Bot!"}, "INVALID_REASON", "reason"),
    ({"reason": ""}, "INVALID_REASON", "reason"),
    ({"reason": 1}, "WRONG_TYPE", "reason"),
    ({"because": "x"}, "UNKNOWN_FIELD", "because"),
]


@pytest.mark.parametrize(("change", "code", "path"), BAD)
async def test_a_bad_void_is_refused_and_does_not_cost_the_others(
    api: Api, change: Any, code: str, path: str
) -> None:
    alone = await api.http.post("/assignments/void", json=VOID | change)
    among = await api.http.post("/assignments/void", json=[VOID, VOID | change, VOID])

    error = alone.json()["error"]
    assert (alone.status_code, error["code"], error["path"]) == (422, code, path)
    assert (among.status_code, among.json()["accepted"]) == (202, 2)
    [rejected] = among.json()["rejected"]
    assert (rejected["index"], rejected["code"]) == (1, code)
    assert rejected["path"] == f"[1].{path}"


@pytest.mark.parametrize("body", [b"", b"x", b"5", b'{"reason": "ivt"}'])
async def test_what_is_no_void_is_refused(api: Api, body: bytes) -> None:
    answer = await api.http.post("/assignments/void", content=body)

    assert answer.status_code in {400, 422}
    assert not api.topics.records


def test_the_client_sends_it_again_where_the_connection_broke_off() -> None:
    call = ExperimentClient.void_assignments([VoidRequest(assignment_id=SIGNED, reason="ivt")])

    assert (call.method, call.path, call.body) == ("POST", "/assignments/void", [VOID])
    assert call.is_repeatable


def test_the_message_of_a_bad_reason_is_a_sentence() -> None:
    with pytest.raises(InputError) as caught:
        parse(VoidRequest, {"assignmentId": SIGNED, "reason": "!"})

    assert (caught.value.code, caught.value.path) == ("INVALID_REASON", "reason")
    assert caught.value.message.startswith("'!' is not a lower-case letter")
