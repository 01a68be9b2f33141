"""Keys of experiments over HTTP: a key stands wherever an id does, and no two share one."""

from __future__ import annotations

import asyncio

import pytest

from streams.model.experiment_keys import key_number
from streams.model.ids import experiment_id
from tests.api.memory import Api, definition

KEY = "homepage-hero"
UNIT = {"userId": "user_123"}


async def test_a_key_stands_wherever_an_id_does(api: Api) -> None:
    created = await api.http.post("/experiments", json=definition({"key": KEY, "unit": "user"}))
    name = created.json()["id"]
    path = f"/experiments/{KEY}"

    started = await api.http.post(f"{path}/start")
    found = await api.http.get(path)
    stats = await api.http.get(f"{path}/stats")
    one = await api.http.post(f"{path}/assign", json=UNIT)
    many = await api.http.post("/assign", json={"experimentIds": [KEY, name], "units": [UNIT]})
    changed = await api.http.patch(path, json={"trafficAllocation": 0.5})
    listed = await api.http.get("/experiments")

    assert (created.json()["key"], name) == (KEY, experiment_id(key_number(KEY)))
    assert (started.json()["id"], started.json()["status"]) == (name, "running")
    assert (found.json()["id"], stats.json()["key"]) == (name, KEY)
    assert one.json()["experimentId"] == name
    by_key, by_id = many.json()["assignments"][0]
    assert by_key["variantId"] == by_id["variantId"] == one.json()["variantId"]
    assert changed.json()["config"]["trafficAllocation"] == 0.5
    assert [each["key"] for each in listed.json()["experiments"]] == [KEY]


async def test_a_key_that_ended_assigns_no_longer(api: Api) -> None:
    await api.run({"key": KEY, "unit": "user"})
    await api.http.post(f"/experiments/{KEY}/conclude", json={"serve": "none"})

    answer = await api.http.post(f"/experiments/{KEY}/assign", json=UNIT)
    again = await api.http.get(f"/experiments/{KEY}")

    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "EXPERIMENT_NOT_RUNNING")
    assert again.json()["status"] == "concluded"


async def test_of_many_creations_with_one_key_one_is_accepted(api: Api) -> None:
    bodies = [definition({"key": KEY, "name": f"Hero {index}"}) for index in range(20)]

    answers = await asyncio.gather(*(api.http.post("/experiments", json=each) for each in bodies))

    assert sorted(each.status_code for each in answers) == [201] + [409] * 19
    refused = next(each.json()["error"] for each in answers if each.status_code == 409)
    assert (refused["code"], refused["path"]) == ("KEY_TAKEN", "config.key")


async def test_the_key_of_an_archived_experiment_stays_taken(api: Api) -> None:
    await api.create({"key": KEY})
    await api.http.post(f"/experiments/{KEY}/archive")

    answer = await api.http.post("/experiments", json=definition({"key": KEY}))

    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "KEY_TAKEN")


async def test_a_repeated_creation_gives_the_first_answer(api: Api) -> None:
    headers = {"Idempotency-Key": "order-1"}
    first = await api.http.post("/experiments", json=definition({"key": KEY}), headers=headers)

    again = await api.http.post("/experiments", json=definition({"key": KEY}), headers=headers)
    other = definition({"key": KEY, "name": "Another"})
    refused = await api.http.post("/experiments", json=other, headers=headers)

    assert (again.status_code, again.json()) == (201, first.json())
    assert refused.json()["error"]["code"] == "IDEMPOTENCY_KEY_REUSED"


@pytest.mark.parametrize(
    ("key", "code"),
    [
        ("", "INVALID_KEY"),
        ("Hero", "INVALID_KEY"),
        ("-hero", "INVALID_KEY"),
        ("a/b", "INVALID_KEY"),
        ("k" * 101, "INVALID_KEY"),
        ("exp_0000000000000", "INVALID_KEY"),
        (7, "WRONG_TYPE"),
        (["hero"], "WRONG_TYPE"),
    ],
)
async def test_what_is_no_key_is_refused(api: Api, key: object, code: str) -> None:
    answer = await api.http.post("/experiments", json=definition({"key": key}))

    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["path"]) == (422, code, "config.key")


async def test_a_key_does_not_change(api: Api) -> None:
    await api.create({"key": KEY})

    answer = await api.http.patch(f"/experiments/{KEY}", json={"key": "another"})

    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["path"]) == (422, "KEY_FIXED", "key")


@pytest.mark.parametrize("verb", ["start", "pause", "conclude", "archive"])
async def test_a_key_of_nothing_is_not_found(api: Api, verb: str) -> None:
    answer = await api.http.post(f"/experiments/nobody/{verb}")

    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "EXPERIMENT_NOT_FOUND")


@pytest.mark.parametrize("name", ["homepage-hero", "exp_0000000000007"])
@pytest.mark.parametrize("query", ["", "?dryRun=true"])
async def test_an_experiment_that_a_command_does_not_find_is_named_as_by_the_caller(
    api: Api, name: str, query: str
) -> None:
    answer = await api.http.post(f"/experiments/{name}/start{query}")

    assert answer.status_code == 404
    assert answer.json()["error"] == {
        "code": "EXPERIMENT_NOT_FOUND",
        "message": f"there is no experiment '{name}'",
        "path": "experimentId",
    }
