"""Overlapping experiments of a layer that two processes have started in the same moment."""

from __future__ import annotations

from tests.api.memory import Api

HALF = {"key": "page", "range": [0, 0.5]}
AB = {"type": "bayesian_ab"}


async def assign(api: Api, name: str):
    return await api.http.post(f"/experiments/{name}/assign", json={"userId": "u"})


async def test_the_one_that_started_first_assigns_and_the_other_is_refused(api: Api) -> None:
    first, second = await api.run_overlapping({**AB, "key": "second"}, {"key": "first"})

    for name in (second, "second"):
        refused = await assign(api, name)
        assert (refused.status_code, refused.json()["error"]["code"]) == (422, "LAYER_OVERLAP")
        assert first in refused.json()["error"]["message"]
    assert (await assign(api, "first")).status_code == 200
    await api.http.post(f"/experiments/{first}/conclude", json={"serve": "none"})
    assert (await assign(api, "second")).status_code == 200


async def test_of_one_that_is_paused_its_status_is_said(api: Api) -> None:
    """A refusal would say that another one has its units, and a flag would be no disabled one."""
    _, second = await api.run_overlapping({**AB, "key": "second"})
    await api.http.post(f"/experiments/{second}/pause")

    answer = await assign(api, second)
    flag = await api.http.post(
        "/ofrep/v1/evaluate/flags/second", json={"context": {"targetingKey": "u"}}
    )

    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "EXPERIMENT_NOT_RUNNING")
    assert (flag.status_code, flag.json()["reason"]) == (200, "DISABLED")


async def test_a_user_is_in_one_experiment_of_a_layer_whatever_their_units_are(api: Api) -> None:
    by_user = await api.run({**AB, "layer": HALF})
    other = {"key": "page", "range": [0.5, 1]}
    by_impression = await api.run({"type": "thompson_sampling", "layer": other})

    for number in range(40):
        body = {"experimentIds": [by_user, by_impression], "units": [{"userId": f"u{number}"}]}
        [row] = (await api.http.post("/assign", json=body)).json()["assignments"]
        assert {each["reason"] for each in row} == {"ASSIGNED", "NOT_IN_LAYER"}
    logged = len(api.topics.impressions())
    nobody = await api.http.post(f"/experiments/{by_impression}/assign", json={"sessionId": "s"})
    assert (nobody.json()["reason"], nobody.json()["id"]) == ("NOT_IN_LAYER", None)
    assert len(api.topics.impressions()) == logged
