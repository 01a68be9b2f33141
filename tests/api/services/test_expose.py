"""Exposures over HTTP: what is good is taken, what is bad is named."""

from __future__ import annotations

import pytest

from streams.model.events import EXPOSED, EXPOSURE
from streams.model.ids import experiment_id
from tests.api.memory import DAY_MS, KEYRING, NOW_MS, Api

FLAGS = "/ofrep/v1/evaluate/flags"
CONTEXT = {"context": {"targetingKey": "user-123"}}
WINDOW_S = 86_400


async def assigned(api: Api, config: dict[str, object] | None = None) -> str:
    settings = {"exposure": "event", "unit": "user", "attributionWindow": WINDOW_S}
    name = await api.run(settings | (config or {}))
    answer = await api.http.post(f"/experiments/{name}/assign", json={"userId": "u"})
    receipt: str = answer.json()["id"]
    return receipt


async def test_an_exposure_is_logged_with_its_time(api: Api) -> None:
    receipt = await assigned(api)

    one = await api.http.post("/exposures", json={"assignmentId": receipt})
    several = await api.http.post(
        "/exposures",
        json=[{"assignmentId": receipt, "timestamp": NOW_MS - 5, "eventId": "e"}],
    )

    assert (one.status_code, one.json()) == (several.status_code, several.json())
    assert (one.status_code, one.json()) == (202, {"accepted": 1})
    first, second = api.topics.observations()
    assert (first.metric, first.value, first.observed_at_ms) == (EXPOSURE, EXPOSED, NOW_MS)
    assert (second.assignment_id, second.event_id, second.observed_at_ms) == (
        receipt,
        "e",
        NOW_MS - 5,
    )


async def test_the_reserved_metric_of_observations_is_an_exposure(api: Api) -> None:
    receipt = await assigned(api)
    event = {"assignmentId": receipt, "metric": EXPOSURE, "value": 1}

    taken = await api.http.post("/observations", json=event)
    wrong = await api.http.post("/observations", json={**event, "value": 2})

    assert taken.status_code == 202
    error = wrong.json()["error"]
    assert (wrong.status_code, error["code"], error["path"]) == (422, "INVALID_EXPOSURE", "value")


@pytest.mark.parametrize(
    ("change", "code", "path"),
    [
        ({"assignmentId": "forged"}, "FORGED_RECEIPT", "assignmentId"),
        ({"assignmentId": "x" * 40}, "MALFORMED_RECEIPT", "assignmentId"),
        ({"assignmentId": 5}, "WRONG_TYPE", "assignmentId"),
        ({"assignmentId": None}, "WRONG_TYPE", "assignmentId"),
        ({"value": 1}, "UNKNOWN_FIELD", "value"),
        ({"metric": "click"}, "UNKNOWN_FIELD", "metric"),
        ({"eventId": ""}, "OUT_OF_RANGE", "eventId"),
        ({"timestamp": "now"}, "WRONG_TYPE", "timestamp"),
        ({"timestamp": NOW_MS - DAY_MS}, "OBSERVED_BEFORE_ASSIGNMENT", "timestamp"),
        ({"timestamp": NOW_MS + WINDOW_S * 1000 + 1}, "EXPIRED_RECEIPT", "timestamp"),
    ],
)
async def test_a_bad_exposure_is_refused_with_its_code_and_path(
    api: Api, change: dict[str, object], code: str, path: str
) -> None:
    receipt = await assigned(api)
    if change == {"assignmentId": "forged"}:
        change = {"assignmentId": receipt[:-3] + ("AAA" if receipt[-3:] != "AAA" else "AAE")}
    bad = {"assignmentId": receipt, **change}

    alone = await api.http.post("/exposures", json=bad)
    beside = await api.http.post("/exposures", json=[{"assignmentId": receipt}, bad])

    error = alone.json()["error"]
    assert (alone.status_code, error["code"], error["path"]) == (422, code, path)
    assert beside.json()["accepted"] == 1
    [rejected] = beside.json()["rejected"]
    assert (rejected["index"], rejected["code"], rejected["path"]) == (1, code, f"[1].{path}")


async def test_an_exposure_needs_an_assignment(api: Api) -> None:
    answer = await api.http.post("/exposures", json={})

    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["path"]) == (
        422,
        "MISSING_FIELD",
        "assignmentId",
    )


@pytest.mark.parametrize("path", ["/exposures", "/observations"])
async def test_units_that_count_from_their_assignment_are_not_exposed(api: Api, path: str) -> None:
    receipt = await assigned(api, {"exposure": "assignment"})
    event: dict[str, object] = {"assignmentId": receipt}
    if path == "/observations":
        event |= {"metric": EXPOSURE, "value": 1}

    answer = await api.http.post(path, json=event)

    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (422, "EXPOSURE_NOT_USED")
    assert error["path"] == "assignmentId"


async def test_an_observation_may_come_two_windows_after_the_assignment(api: Api) -> None:
    receipt = await assigned(api)
    event = {"assignmentId": receipt, "metric": "click", "value": 1}
    end = KEYRING.verify(receipt).assigned_at_ms + 2 * WINDOW_S * 1000

    inside = await api.http.post("/observations", json={**event, "timestamp": end})
    after = await api.http.post("/observations", json={**event, "timestamp": end + 1})

    assert (inside.status_code, after.status_code) == (202, 422)
    assert after.json()["error"]["code"] == "EXPIRED_RECEIPT"


async def test_a_process_that_does_not_know_the_experiment_yet_refuses_no_later_window(
    api: Api,
) -> None:
    receipt = await assigned(api)
    opened = KEYRING.verify(receipt)
    later = opened.assigned_at_ms + WINDOW_S * 1000 + 1
    event = {"assignmentId": receipt, "metric": "click", "value": 1, "timestamp": later}
    api.experiments.drop(experiment_id(opened.experiment))

    known_to_be_none = await api.http.post("/observations", json=event)
    api.experiments.is_complete = False
    not_read_yet = await api.http.post("/observations", json=event)

    assert (known_to_be_none.status_code, not_read_yet.status_code) == (422, 202)


@pytest.mark.parametrize("unit", ["user", "impression"])
async def test_all_flags_have_the_receipts_of_experiments_that_count_exposures(
    api: Api, unit: str
) -> None:
    await api.run({"key": "shown", "exposure": "event", "unit": unit})
    await api.run({"key": "used", "unit": "user"})

    answer = await api.http.post(FLAGS, json=CONTEXT)
    shown, used = answer.json()["flags"]
    exposed = await api.http.post(
        "/exposures", json={"assignmentId": shown["metadata"]["assignmentId"]}
    )

    assert "assignmentId" not in used["metadata"]
    assert (exposed.status_code, exposed.json()) == (202, {"accepted": 1})
    logged = [len(group.units) for batch in api.topics.impressions() for group in batch.groups]
    assert logged == [1]


async def test_the_validator_of_all_flags_leaves_receipts_out(api: Api) -> None:
    await api.run({"key": "shown", "exposure": "event", "unit": "user"})

    first = await api.http.post(FLAGS, json=CONTEXT)
    again = await api.http.post(
        FLAGS, json=CONTEXT, headers={"If-None-Match": first.headers["etag"]}
    )

    assert again.status_code == 304


async def test_a_client_whose_unit_has_changed_gets_the_receipts_of_that_unit(api: Api) -> None:
    """A person who logs in is another unit, also where all flags are the same for both."""
    await api.run({"key": "shown", "exposure": "event", "unit": "user"})
    first = await api.http.post(FLAGS, json=CONTEXT)
    [before] = first.json()["flags"]
    condition = {"If-None-Match": first.headers["etag"]}

    answers = [
        await api.http.post(FLAGS, json={"context": {"targetingKey": f"u{n}"}}, headers=condition)
        for n in range(8)
    ]

    assert {each.status_code for each in answers} == {200}
    flags = [flag for each in answers for flag in each.json()["flags"]]
    assert before["variant"] in {flag["variant"] for flag in flags}
    receipts = {flag["metadata"]["assignmentId"] for flag in [before, *flags]}
    assert len(receipts) == 1 + len(flags)


@pytest.mark.parametrize("value", ["shown", "", 1, None, True, ["event"]])
async def test_another_exposure_is_refused(api: Api, value: object) -> None:
    body = {
        "config": {"name": "x", "type": "bayesian_ab", "primaryMetric": "c", "exposure": value},
        "variants": [{"name": "a", "isControl": True}, {"name": "b"}],
    }

    answer = await api.http.post("/experiments", json=body)

    assert answer.status_code == 422
    assert answer.json()["error"]["path"] == "config.exposure"
