"""Snapshots for processes that assign by themselves, and the way of their impressions."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from typing import Any

import orjson
import pytest

from api.auth import ApiKeyAuth
from streams.api_keys import new_key
from streams.experiments.assignment import Assigner
from streams.experiments.lifecycle import Status
from streams.model.errors import EventError
from streams.model.events import ImpressionBatch, ImpressionGroup
from streams.model.ids import experiment_number
from streams.model.receipts import Keyring
from streams.wire.batch_tags import sealer
from streams.wire.impressions import encode_impression_batch
from streams.wire.snapshots import read_serving_state
from tests.api.memory import KEYRING, NOW_MS, Api, memory_api
from tests.patience import PATIENCE_S


async def snapshots(api: Api, **query: Any) -> dict[str, Any]:
    answer = await api.http.get("/snapshots", params=query)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def sealed(name: str, keyring: Keyring = KEYRING, partition: int = 1, sequence: int = 0) -> str:
    group = ImpressionGroup(
        experiment_number(name), True, [0], [2**31], [1], [NOW_MS], [5], (), (), ()
    )
    batch = ImpressionBatch(77, partition, sequence, [group])
    value = sealer(keyring)("impressions", partition, encode_impression_batch(batch))
    return b64encode(value).decode()


async def test_snapshots_decide_as_those_of_the_api(api: Api) -> None:
    name = await api.run({"type": "thompson_sampling", "unit": "user"})

    [state] = (await snapshots(api))["states"]

    mine, theirs = Assigner(read_serving_state(state)), api.experiments.running(name).assigner
    assert [mine.assign(f"u{n}", NOW_MS) for n in range(200)] == [
        theirs.assign(f"u{n}", NOW_MS) for n in range(200)
    ]


async def test_the_clock_of_the_api_is_sent(api: Api) -> None:
    assert (await snapshots(api))["nowMs"] == NOW_MS


async def test_after_a_position_come_the_changes_alone(api: Api) -> None:
    first, second = await api.run(), await api.run()
    whole = await snapshots(api)
    assert (whole["isWhole"], len(whole["states"])) == (True, 2)

    await api.http.post(f"/experiments/{second}/pause")
    changed = await snapshots(api, after=whole["position"])

    assert (changed["isWhole"], changed["states"], changed["gone"]) == (False, [], [second])
    api.publish(first)
    again = await snapshots(api, after=changed["position"])
    assert [state["experiment"]["experiment_id"] for state in again["states"]] == [first]
    elsewhere = await snapshots(api, after="other.5.0")
    assert (elsewhere["isWhole"], len(elsewhere["states"])) == (True, 1)


async def test_a_waiting_reader_hears_of_a_change_at_once(api: Api) -> None:
    position = (await snapshots(api))["position"]

    reader = asyncio.create_task(snapshots(api, after=position, wait=30))
    await asyncio.sleep(0.05)
    name = await api.run()
    found = await asyncio.wait_for(reader, PATIENCE_S)

    assert found["states"][-1]["experiment"]["experiment_id"] == name
    assert found["states"][-1]["experiment"]["status"] == Status.RUNNING


async def test_a_draft_is_no_change(api: Api) -> None:
    """It woke every reader for nothing, and the reader of a start heard of the draft alone."""
    position = (await snapshots(api))["position"]

    await api.create()

    assert (await snapshots(api))["position"] == position


async def test_those_whose_units_another_one_of_their_layer_has_are_named(api: Api) -> None:
    first, second = await api.run_overlapping({"type": "bayesian_ab"})
    before = await snapshots(api)
    await api.http.post(f"/experiments/{first}/pause")
    paused = await snapshots(api, after=before["position"])
    await api.http.post(f"/experiments/{first}/conclude", json={"serve": "none"})
    after = await snapshots(api, after=paused["position"])

    assert [each["refused"] for each in (before, paused, after)] == [[second], [second], []]
    assert after["position"] != paused["position"]
    assert (paused["gone"], after["gone"]) == ([first], [])


async def test_experiments_whose_units_must_be_asked_for_are_named(api: Api) -> None:
    name = await api.run({"type": "bayesian_ab"})
    before = await snapshots(api)

    body = {"userId": "a", "fallbackUnitId": "b"}
    await api.http.post(f"/experiments/{name}/assign", json=body)
    after = await snapshots(api, after=before["position"], wait=30)

    assert (before["askedFor"], after["askedFor"]) == ([], [name])


async def test_batches_of_impressions_are_logged_as_they_are(api: Api) -> None:
    name = await api.run({"type": "bayesian_ab"})
    texts = [sealed(name), sealed(name, partition=9), "?", sealed(name, Keyring({1: b"x" * 32}))]

    answer = await api.http.post("/impressions", json={"batches": texts})

    assert answer.status_code == 202
    found = answer.json()
    assert (found["accepted"], found["rejectedCount"]) == (1, 3)
    assert [(each["index"], each["code"]) for each in found["rejected"]] == [
        (1, "OUT_OF_RANGE"), (2, "UNDECODABLE_RECORD"), (3, "SEQUENCE_NOT_AUTHENTIC"),
    ]  # fmt: skip
    [batch] = api.topics.impressions()
    assert (batch.incarnation, batch.partition, batch.sequence) == (77, 1, 0)


@pytest.mark.parametrize(
    ("body", "code", "path"),
    [
        ({"batches": []}, "TOO_SHORT", "batches"),
        ({"batches": [5]}, "WRONG_TYPE", "batches[0]"),
        ({"batches": ["é", "AAAA"]}, "UNDECODABLE_RECORD", "batches[0]"),
        ({}, "MISSING_FIELD", "batches"),
    ],
)
async def test_bodies_without_a_batch_are_refused(
    api: Api, body: Any, code: str, path: str
) -> None:
    answer = await api.http.post("/impressions", content=orjson.dumps(body))

    assert answer.status_code == 422
    error = answer.json()["error"]
    assert error["path"] == path, error
    assert error["code"] in {code, "OUT_OF_RANGE"}, error


async def test_the_scope_of_assigners_is_its_own(tmp_path: Any) -> None:
    key, entry = new_key("ads", ["assign", "observe", "read", "manage"])
    own, other = new_key("server", ["assigner"])
    async with memory_api(tmp_path, auth=ApiKeyAuth([entry, other])) as api:
        for token, expected in ((key, 403), (own, 200)):
            headers = {"authorization": f"Bearer {token}"}
            answer = await api.http.get("/snapshots", headers=headers)
            assert answer.status_code == expected
            taken = await api.http.post("/impressions", json={"batches": []}, headers=headers)
            assert taken.status_code == (422 if expected == 200 else 403)


async def test_a_state_of_a_later_version_is_an_error_of_it(api: Api) -> None:
    await api.run()
    [state] = (await snapshots(api))["states"]
    state["experiment"]["definition"] = state["experiment"]["definition"].replace(
        '"type"', '"newField":1,"type"'
    )

    with pytest.raises(EventError) as caught:
        read_serving_state(state)
    assert caught.value.code == "UNKNOWN_FIELD"
