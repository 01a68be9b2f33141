"""A concluded experiment over HTTP: all users get what it serves, until it is archived."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.memory import Api

SHIPPED = {"id": None, "enrolled": False, "reason": "SHIPPED", "propensity": None}


async def conclude(api: Api, name: str, **body: Any) -> dict[str, Any]:
    answer = await api.http.post(f"/experiments/{name}/conclude", json=body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def asked(api: Api, name: str, **context: Any) -> dict[str, Any]:
    answer = await api.http.post(f"/experiments/{name}/assign", json=context)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


@pytest.mark.parametrize("unit", ["user", "session", "impression"])
@pytest.mark.parametrize("kind", ["bayesian_ab", "thompson_sampling"])
async def test_who_asks_after_the_conclusion_gets_the_winner(
    api: Api, unit: str, kind: str
) -> None:
    name = await api.run({"type": kind, "unit": unit, "trafficAllocation": 0.1})
    concluded = await conclude(api, name, winnerVariantId=f"{name}_v1")
    since = api.clock.now_ms

    found = [await asked(api, name, userId=f"u{n}", sessionId=f"u{n}") for n in range(20)]
    found.append(await asked(api, name))  # no unit at all
    found.append(await asked(api, name, userId="anonymous", sessionId=""))

    assert concluded["served"] == {"variantId": f"{name}_v1", "since": since}
    assert concluded["promotion"] is None
    ships = {
        "experimentId": name,
        "variantId": f"{name}_v1",
        "variantName": "B",
        "config": {"adId": "ad_2"},
    }
    assert all(each == SHIPPED | ships for each in found)
    assert api.topics.impressions() == []
    body = {"experimentIds": [name, "exp_0000000000000"], "units": [{}, {"userId": "u"}]}
    rows = (await api.http.post("/assign", json=body)).json()["assignments"]
    assert [row[0] for row in rows] == [SHIPPED | ships] * 2
    assert api.answered["SHIPPED"] == 24


async def test_a_roll_back_serves_the_control_and_an_archived_one_nothing(api: Api) -> None:
    name = await api.run({"unit": "user"})
    await conclude(api, name, winnerVariantId=f"{name}_v1")
    api.clock.now_ms += 1_000

    rolled_back = (await api.http.post(f"/experiments/{name}/rollback")).json()
    after = await asked(api, name, userId="u")
    again = await api.http.post(f"/experiments/{name}/rollback")
    archived = (await api.http.post(f"/experiments/{name}/archive")).json()
    refused = await api.http.post(f"/experiments/{name}/assign", json={"userId": "u"})

    assert rolled_back["winnerVariantId"] == f"{name}_v0"
    assert rolled_back["served"] == {"variantId": f"{name}_v0", "since": api.clock.now_ms}
    assert (after["variantName"], after["reason"]) == ("A", "SHIPPED")
    assert (again.status_code, again.json()["error"]["code"]) == (409, "INVALID_TRANSITION")
    assert archived["served"] is None
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "EXPERIMENT_NOT_RUNNING")


@pytest.mark.parametrize(
    ("body", "served"),
    [
        ({}, "v0"),
        ({"serve": "control"}, "v0"),
        ({"winner": 1, "serve": "control"}, "v0"),
        ({"winner": 1, "serve": "winner", "controlShare": 0}, "v1"),
        ({"winner": 0, "serve": "winner", "controlShare": 0.1}, "v0"),
        ({"winner": 1, "serve": "none"}, None),
        ({"serve": "none"}, None),
    ],
)
async def test_what_is_served_is_what_the_conclusion_says(
    api: Api, body: dict[str, Any], served: str | None
) -> None:
    """The experiment's own control share is not used where the winner is not served."""
    name = await api.run({"unit": "user", "controlShare": 0.25, "key": "hero"})
    if "winner" in body:
        body = body | {"winnerVariantId": f"{name}_v{body.pop('winner')}"}

    concluded = await conclude(api, name, **body)
    answer = await api.http.post("/experiments/hero/assign", json={"userId": "u"})
    flag = (await api.http.post("/ofrep/v1/evaluate/flags/hero")).json()
    every = {"context": {"targetingKey": "u"}}
    [listed] = (await api.http.post("/ofrep/v1/evaluate/flags", json=every)).json()["flags"]

    if served is None:
        assert concluded["served"] is None
        assert answer.json()["error"]["code"] == "EXPERIMENT_NOT_RUNNING"
        assert flag["reason"] == listed["reason"] == "DISABLED"
        return
    assert concluded["served"]["variantId"] == answer.json()["variantId"] == f"{name}_{served}"
    assert flag == listed
    assert (flag["reason"], flag["metadata"]["variantId"]) == ("STATIC", f"{name}_{served}")
    assert flag["value"] == answer.json()["config"]
    assert "assignmentId" not in flag["metadata"]


@pytest.mark.parametrize(
    ("body", "code", "path"),
    [
        ({"serve": "winner"}, "WINNER_NOT_NAMED", "serve"),
        ({"serve": "control", "controlShare": 0.1}, "CONTROL_SHARE_NOT_USED", "controlShare"),
        ({"serve": "none", "controlShare": 0.1}, "CONTROL_SHARE_NOT_USED", "controlShare"),
        ({"serve": "all"}, "UNKNOWN_VALUE", "serve"),
        ({"serve": 1}, "UNKNOWN_VALUE", "serve"),
    ],
)
async def test_a_conclusion_that_contradicts_itself_is_refused(
    api: Api, body: dict[str, Any], code: str, path: str
) -> None:
    name = await api.run({"unit": "user"})

    answer = await api.http.post(f"/experiments/{name}/conclude", json=body)

    assert answer.status_code == 422
    assert (answer.json()["error"]["code"], answer.json()["error"]["path"]) == (code, path)
    assert (await api.http.get(f"/experiments/{name}")).json()["status"] == "running"


async def test_those_that_were_excluded_are_excluded_still(api: Api) -> None:
    targeting = {"==": [{"var": "device"}, "mobile"]}
    name = await api.run(
        {"unit": "user", "targeting": targeting, "overrides": {"qa": "A"}, "layer": {
            "key": "page", "range": [0, 1e-6]}}
    )  # fmt: skip
    await conclude(api, name, winnerVariantId=f"{name}_v1")

    found = [
        await asked(api, name, userId="qa"),
        await asked(api, name, userId="u", device="desktop"),
        await asked(api, name, userId="u", device="mobile"),
    ]

    assert [(each["variantName"], each["reason"]) for each in found] == [
        ("A", "FORCED"),
        ("A", "NOT_TARGETED"),
        ("B", "SHIPPED"),
    ]


@pytest.mark.parametrize("ids", [{"userId": "anonymous"}, {}])
async def test_overrides_are_of_the_unit_of_the_experiment(api: Api, ids: dict[str, str]) -> None:
    name = await api.run({"unit": "user", "overrides": {"qa": "B"}})
    running = await api.http.post(
        f"/experiments/{name}/assign", json={"userId": "anonymous", "sessionId": "qa"}
    )
    await conclude(api, name)

    found = await asked(api, name, sessionId="qa", **ids)

    assert running.json()["reason"] == "INVALID_UNIT"
    assert (found["reason"], found["variantName"]) == ("SHIPPED", "A")


async def test_who_cannot_show_what_is_shipped_gets_the_first_that_can_be_shown(api: Api) -> None:
    name = await api.run({"unit": "user", "overrides": {"qa": "A"}})
    await conclude(api, name, winnerVariantId=f"{name}_v1")

    found = [
        await asked(api, name, userId="u", eligible=["A", "B"]),
        await asked(api, name, userId="u", eligible=[f"{name}_v0"]),
        await asked(api, name, userId="qa", eligible=["B"]),
    ]
    refused = await api.http.post(f"/experiments/{name}/assign", json={"eligible": ["C"]})

    assert [(each["variantName"], each["reason"]) for each in found] == [
        ("B", "SHIPPED"),
        ("A", "SHIPPED"),
        ("A", "FORCED"),
    ]
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "UNKNOWN_VARIANT")


async def test_flags_that_are_listed_change_with_what_is_served(api: Api) -> None:
    name = await api.run({"unit": "user", "key": "hero"})
    etags = []
    for verb, body in (("conclude", {"winnerVariantId": f"{name}_v1"}), ("rollback", {})):
        await api.http.post(f"/experiments/{name}/{verb}", json=body)
        listed = await api.http.post(
            "/ofrep/v1/evaluate/flags", json={"context": {"targetingKey": "u"}}
        )
        etags.append(listed.headers["ETag"])

    assert len(set(etags)) == 2
