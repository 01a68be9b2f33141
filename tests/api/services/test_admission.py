"""Assignments that an experiment is not for: targeting and overrides over HTTP."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.api.memory import Api

MOBILE = {"==": [{"var": "device"}, "mobile"]}
KINDS = [
    {"type": "bayesian_ab"},
    {"type": "thompson_sampling"},
    {"type": "thompson_sampling", "unit": "user"},
    {"type": "bayesian_ab", "attributionWindow": 3600},
]


async def assign(api: Api, name: str, **context: object):
    answer = await api.http.post(f"/experiments/{name}/assign", json=context)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize("kind", KINDS)
async def test_who_is_not_targeted_sees_the_control_and_is_not_logged(api: Api, kind) -> None:
    name = await api.run({**kind, "targeting": MOBILE})

    targeted = await assign(api, name, userId="u", device="mobile")
    logged = len(api.topics.records)
    others = [
        await assign(api, name, userId="v", device="desktop"),
        await assign(api, name, userId="v"),
        await assign(api, name, userId="u"),  # whatever it got before
    ]

    assert targeted["enrolled"]
    assert targeted["reason"] == "ASSIGNED"
    assert others[0] == {
        "id": None,
        "experimentId": name,
        "variantId": f"{name}_v0",
        "variantName": "A",
        "config": {"adId": "ad_1"},
        "enrolled": False,
        "reason": "NOT_TARGETED",
        "propensity": None,
    }
    assert others[1:] == [others[0]] * 2
    assert logged == len(api.topics.records) == 1
    assert api.answered["NOT_TARGETED"] == 3


@pytest.mark.parametrize("kind", KINDS)
async def test_an_override_holds_until_it_is_changed_and_counts_for_nothing(api: Api, kind) -> None:
    name = await api.run({**kind, "targeting": MOBILE, "overrides": {"qa": "B"}})

    forced = await assign(api, name, userId="qa")
    changed = await api.http.patch(f"/experiments/{name}", json={"overrides": {"qa": "A"}})
    again = await assign(api, name, userId="qa")
    cleared = await api.http.patch(f"/experiments/{name}", json={"overrides": {}})
    after = await assign(api, name, userId="qa", device="mobile")

    assert forced | {"variantName": "B", "id": None, "reason": "FORCED"} == forced
    assert (forced["enrolled"], forced["propensity"], forced["config"]) == (
        False,
        None,
        {"adId": "ad_2"},
    )
    assert changed.status_code == cleared.status_code == 200, changed.text
    assert (again["variantName"], again["reason"]) == ("A", "FORCED")
    assert after["reason"] == "ASSIGNED"
    assert len(api.topics.records) == 1


async def test_one_call_for_several_experiments_says_it_of_each(api: Api) -> None:
    names = [
        await api.run({"type": "bayesian_ab", "targeting": MOBILE}),
        await api.run({"type": "bayesian_ab", "overrides": {"qa": "B"}}),
        await api.run({"type": "bayesian_ab", "ignoredUnits": ["qa"], "overrides": {"qa": "B"}}),
    ]
    body = {"experimentIds": names, "units": [{"userId": "qa"}, {"userId": "u"}]}
    answer = await api.http.post("/assign", json=body)

    reasons = [[each["reason"] for each in row] for row in answer.json()["assignments"]]
    assert reasons == [
        ["NOT_TARGETED", "FORCED", "INVALID_UNIT"],
        ["NOT_TARGETED", "ASSIGNED", "ASSIGNED"],
    ]


async def test_a_rule_that_does_not_parse_is_422_with_code_and_path(api: Api) -> None:
    body = {
        "config": {
            "name": "Hero",
            "type": "bayesian_ab",
            "primaryMetric": "click",
            "targeting": {"and": [MOBILE, {"matches": [{"var": "device"}, "(a+)+$"]}]},
        },
        "variants": [{"name": "A", "isControl": True}, {"name": "B"}],
    }
    answer = await api.http.post("/experiments", json=body)

    assert answer.status_code == 422
    error = answer.json()["error"]
    assert (error["code"], error["path"]) == ("UNKNOWN_OPERATOR", "config.targeting.and[1]")


async def test_changes_that_are_refused(api: Api) -> None:
    name = await api.run({"type": "bayesian_ab"})

    rule = await api.http.patch(f"/experiments/{name}", json={"targeting": MOBILE})
    variant = await api.http.patch(f"/experiments/{name}", json={"overrides": {"qa": "Z"}})

    assert (rule.status_code, rule.json()["error"]["code"]) == (422, "TARGETING_FIXED")
    assert rule.json()["error"]["path"] == "targeting"
    assert (variant.status_code, variant.json()["error"]["code"]) == (422, "UNKNOWN_VARIANT")


HALF = {"key": "homepage", "range": [0, 0.5]}


async def create(api: Api, **config: object):
    body = {
        "config": {"name": "Hero", "type": "bayesian_ab", "primaryMetric": "click", **config},
        "variants": [{"name": "A", "isControl": True}, {"name": "B"}],
    }
    return await api.http.post("/experiments", json=body)


async def test_units_of_a_layer_are_in_one_of_its_experiments(api: Api) -> None:
    names = [
        await api.run({"type": "bayesian_ab", "layer": HALF}),
        await api.run({"type": "thompson_sampling", "unit": "user",
                       "layer": {"key": "homepage", "range": [0.5, 0.75]}}),
    ]  # fmt: skip
    body = {"experimentIds": names, "units": [{"userId": f"user_{n}"} for n in range(400)]}
    answer = await api.http.post("/assign", json=body)

    rows = [[each["reason"] for each in row] for row in answer.json()["assignments"]]
    assert not [row for row in rows if row == ["ASSIGNED", "ASSIGNED"]]
    assert {tuple(row) for row in rows} == {
        ("ASSIGNED", "NOT_IN_LAYER"),
        ("NOT_IN_LAYER", "ASSIGNED"),
        ("NOT_IN_LAYER", "NOT_IN_LAYER"),
    }
    logged = sum(len(group.units) for batch in api.topics.impressions() for group in batch.groups)
    assert logged == sum(row.count("ASSIGNED") for row in rows)


async def test_overlapping_layers_are_422_with_the_id_of_the_other_until_it_is_over(
    api: Api,
) -> None:
    first = (await create(api, layer=HALF)).json()["id"]

    overlap = await create(api, layer={"key": "homepage", "range": [0.4, 0.6]})
    beside = await create(api, layer={"key": "homepage", "range": [0.5, 0.6]})
    sessions = await create(api, unit="session", layer={"key": "homepage", "range": [0.9, 1]})
    await api.http.post(f"/experiments/{first}/archive")
    after = await create(api, layer={"key": "homepage", "range": [0.4, 0.5]})

    error = overlap.json()["error"]
    assert overlap.status_code == 422
    assert (error["code"], error["path"]) == ("LAYER_OVERLAP", "config.layer.range")
    assert first in error["message"]
    assert beside.status_code == after.status_code == 201
    assert (sessions.status_code, sessions.json()["error"]["code"]) == (422, "LAYER_UNITS_DIFFER")


async def test_a_draft_that_overlaps_a_running_experiment_does_not_start(api: Api) -> None:
    older = await api.run({"type": "bayesian_ab", "layer": HALF})
    before = api.projection.snapshot(older)
    concluded = await api.http.post(f"/experiments/{older}/conclude", json={})
    younger = (await create(api, layer=HALF)).json()["id"]
    again = replace(before.experiment, version=before.experiment.version + 2)
    api.publish(older, experiment=again)  # as if both had been created at once

    started = await api.http.post(f"/experiments/{younger}/start")

    assert concluded.status_code == 200
    assert (started.status_code, started.json()["error"]["code"]) == (422, "LAYER_OVERLAP")
