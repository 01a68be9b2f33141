"""`GET /experiments/{id}/history`, and the authors and reasons of commands."""

from __future__ import annotations

import pytest

from api.auth import ApiKeyAuth
from streams.api_keys import new_key
from tests.api.memory import Api, definition, memory_api


async def test_a_history_has_the_key_the_declared_name_and_the_reason(tmp_path):
    secret, entry = new_key("analyst", ["manage", "read"])
    async with memory_api(tmp_path, auth=ApiKeyAuth([entry])) as api:
        api.http.headers["authorization"] = f"Bearer {secret}"
        name = (await api.http.post("/experiments", json=definition())).json()["id"]
        given = {"author": "Ana Müller", "reason": "the campaign\nbegins"}
        await api.http.post(f"/experiments/{name}/start", params=given)
        found = (await api.http.get(f"/experiments/{name}/history")).json()

    started, created = found["entries"]
    assert (created["kind"], created["author"]) == ("create", "key:analyst")
    assert (started["author"], started["reason"]) == (
        "key:analyst/Ana Müller",
        "the campaign\nbegins",
    )
    assert started["changes"] == [
        {"path": "status", "before": "draft", "after": "running", "isOmitted": False}
    ]
    assert started["undo"] == {
        "code": "PARTIAL",
        "method": "POST",
        "path": f"/experiments/{name}/pause",
        "body": {},
    }
    assert found["nextCursor"] is None


async def test_pages_lead_through_a_history_newest_first(api: Api):
    name = await api.run()
    for share in (0.9, 0.8, 0.7):
        await api.http.patch(f"/experiments/{name}", json={"trafficAllocation": share})
    found, cursor = [], None
    while True:
        query = {"limit": 2} | ({} if cursor is None else {"cursor": cursor})
        page = (await api.http.get(f"/experiments/{name}/history", params=query)).json()
        found += [entry["version"] for entry in page["entries"]]
        if (cursor := page["nextCursor"]) is None:
            break
    assert found == [5, 4, 3, 2, 1]
    only = await api.http.get(f"/experiments/{name}/history", params={"kind": "start,create"})
    assert [entry["kind"] for entry in only.json()["entries"]] == ["start", "create"]


async def test_a_refused_command_stands_in_the_history_with_its_code(api: Api):
    name = await api.create()
    await api.http.post(f"/experiments/{name}/resume", params={"author": "bo"})
    entry = (await api.http.get(f"/experiments/{name}/history")).json()["entries"][0]
    assert (entry["author"], entry["accepted"], entry["code"]) == (
        "open/bo",
        False,
        "INVALID_TRANSITION",
    )


@pytest.mark.parametrize(
    ("query", "code", "path"),
    [
        ({"limit": 0}, "OUT_OF_RANGE", "query.limit"),
        ({"limit": "x"}, "WRONG_TYPE", "query.limit"),
        ({"cursor": "nope"}, "INVALID_NAME", "query.cursor"),
        ({"kind": "tick"}, "UNKNOWN_VALUE", "query.kind"),
        ({"order": "old"}, "UNKNOWN_PARAMETER", "query.order"),
    ],
)
async def test_a_hostile_query_of_a_history_is_refused(api: Api, query, code, path):
    name = await api.create()
    answer = await api.http.get(f"/experiments/{name}/history", params=query)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["path"]) == (422, code, path)


@pytest.mark.parametrize(
    ("query", "code", "path"),
    [
        ({"author": "x" * 101}, "OUT_OF_RANGE", "query.author"),
        ({"author": "a\nb"}, "INVALID_NAME", "query.author"),
        ({"reason": "x" * 501}, "OUT_OF_RANGE", "query.reason"),
        ({"reason": "\u202e"}, "INVALID_NAME", "query.reason"),
        ({"why": "x"}, "UNKNOWN_PARAMETER", "query.why"),
    ],
)
async def test_a_hostile_author_or_reason_is_refused_and_changes_nothing(
    api: Api, query, code, path
):
    name = await api.create()
    answer = await api.http.post(f"/experiments/{name}/start", params=query)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["path"]) == (422, code, path)
    assert api.experiments.snapshot(name).experiment.status == "draft"


async def test_the_history_of_what_is_not_there_is_404(api: Api):
    answer = await api.http.get("/experiments/exp_0000000000001/history")
    assert answer.json()["error"]["code"] == "EXPERIMENT_NOT_FOUND"
