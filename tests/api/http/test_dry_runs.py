"""Dry runs: checked as the command itself, with its effects, and nothing changes."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.memory import Api, definition

DRY = {"dryRun": "true"}


def codes(answer: dict[str, list[dict[str, object]]]) -> list[object]:
    return [each["code"] for each in answer["effects"]]


async def test_a_dry_run_says_what_each_command_would_do_and_changes_nothing(api: Api):
    made = (
        await api.http.post("/experiments", params=DRY, json=definition({"key": "hero"}))
    ).json()
    assert (made["dryRun"], codes(made)) == (True, ["DRAFT_CREATED"])
    assert (await api.http.get("/experiments/hero")).status_code == 404

    name = await api.create()
    for method, path, body, wanted in (
        ("POST", "/start", None, ["ASSIGNMENT_STARTS"]),
        ("PUT", "", definition({"name": "Banner"}), ["DEFINITION_CHANGED"]),
        ("POST", "/archive", None, ["ARCHIVED"]),
    ):
        answer = await api.http.request(
            method, f"/experiments/{name}{path}", params=DRY, json=body or {}
        )
        assert (answer.status_code, codes(answer.json())) == (200, wanted), answer.text
    await api.http.post(f"/experiments/{name}/start")
    b = f"{name}_v1"
    commands: tuple[tuple[str, str, dict[str, Any], list[str]], ...] = (
        ("POST", "/pause", {}, ["ASSIGNMENT_STOPS"]),
        ("PATCH", "", {"trafficAllocation": 0.5}, ["TRAFFIC_LOWERED"]),
        ("POST", "/variants", {"name": "C"}, ["VARIANT_ADDED"]),
        ("PATCH", "/variants/B", {"config": {"x": 1}}, ["CONTENT_CHANGED"]),
        (
            "POST",
            "/conclude",
            {"winnerVariantId": b},
            ["ASSIGNMENT_STOPS", "STATISTICS_FROZEN", "WINNER_SERVED"],
        ),
        (
            "POST",
            "/conclude",
            {"winnerVariantId": b, "controlShare": 0.1},
            ["STATISTICS_FROZEN", "WINNER_PROMOTED"],
        ),
    )
    for method, path, changes, wanted in commands:
        answer = await api.http.request(
            method, f"/experiments/{name}{path}", params=DRY, json=changes
        )
        assert (answer.status_code, codes(answer.json())) == (200, wanted), answer.text
    before = len(api.worker.commands)
    experiment = (await api.http.get(f"/experiments/{name}")).json()
    assert (experiment["status"], experiment["version"], before) == ("running", 2, 2)
    await api.http.post(f"/experiments/{name}/conclude", json={"winnerVariantId": b})
    undone = await api.http.post(f"/experiments/{name}/rollback", params=DRY)
    assert codes(undone.json()) == ["WINNER_TAKEN_BACK"]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/experiments", definition({"type": "best"})),
        ("POST", "/experiments", definition({"key": "taken"})),
        ("POST", "/experiments/{id}/resume", {}),
        ("POST", "/experiments/{id}/conclude", {"winnerVariantId": "nobody"}),
        ("PATCH", "/experiments/{id}", {"trafficAllocation": 2}),
        ("PATCH", "/experiments/{id}", {}),
        ("PATCH", "/experiments/{id}", {"minSampleSize": None}),
        ("PATCH", "/experiments/{id}/variants/A", {}),
        ("PATCH", "/experiments/{id}/variants/A", {"name": None}),
        ("PATCH", "/experiments/{id}/variants/A", {"isActive": False}),
        ("PATCH", "/experiments/{id}/variants/Z", {"name": "Y"}),
        ("PUT", "/experiments/{id}", {**definition({"key": "taken"}), "version": 9}),
        ("POST", "/experiments/exp_0000000000001/start", {}),
    ],
)
async def test_a_dry_run_is_refused_as_the_command_itself(api: Api, method, path, body):
    name = await api.run({"key": "taken"})
    target = path.replace("{id}", name)
    tried = await api.http.request(method, target, params=DRY, json=body)
    given = len(api.worker.commands)
    real = await api.http.request(method, target, json=body)
    assert tried.status_code >= 400
    assert (tried.status_code, tried.json()) == (real.status_code, real.json())
    assert given == 2


async def test_units_of_a_layer_are_checked_in_a_dry_run(api: Api):
    layer = {"unit": "user", "layer": {"key": "home", "range": [0.0, 0.6]}}
    await api.run(layer)
    body = definition({**layer, "layer": {"key": "home", "range": [0.5, 1.0]}})
    tried = await api.http.post("/experiments", params=DRY, json=body)
    assert (tried.status_code, tried.json()["error"]["code"]) == (422, "LAYER_OVERLAP")


async def test_a_dry_run_of_an_edit_compares_what_the_edit_would_send(api: Api):
    same: dict[str, Any] = definition()
    same["variants"][1]["config"] = {"color": None}
    made = await api.http.post("/experiments", json=same)
    tried = await api.http.put(f"/experiments/{made.json()['id']}", params=DRY, json=same)
    assert (tried.status_code, tried.json()["changes"]) == (200, [])


@pytest.mark.parametrize("value", ["yes", "1", "", "TRUE"])
async def test_another_value_of_dry_run_is_refused_and_nothing_is_done(api: Api, value):
    name = await api.create()
    answer = await api.http.post(f"/experiments/{name}/start", params={"dryRun": value})
    error = answer.json()["error"]
    assert (answer.status_code, error["path"]) == (422, "query.dryRun")
    assert len(api.worker.commands) == 1
