"""Variants that change over HTTP: what units get that were there before, and new ones."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from streams.model.receipt_layout import raw_of
from streams.projection.receipts import ReceiptPlace
from tests.api.memory import KEYRING, Api, definition

THREE = [{"name": "A", "isControl": True}, {"name": "B"}, {"name": "C"}]
KINDS = [{"type": "bayesian_ab", "unit": "user"}, {"type": "thompson_sampling", "unit": "user"}]


async def assigned(api: Api, name: str, prefix: str, n: int = 120) -> list[dict[str, Any]]:
    body = {"experimentIds": [name], "units": [{"userId": f"{prefix}{i}"} for i in range(n)]}
    answer = await api.http.post("/assign", json=body)
    assert answer.status_code == 200, answer.text
    return [row[0] for row in answer.json()["assignments"]]


async def change(api: Api, name: str, variant: str, status: int = 200, /, **body: Any) -> Any:
    answer = await api.http.patch(f"/experiments/{name}/variants/{variant}", json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


async def add(api: Api, name: str, status: int = 201, /, **body: Any) -> Any:
    answer = await api.http.post(f"/experiments/{name}/variants", json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


async def rebuild(api: Api, name: str, answers: list[dict[str, Any]]) -> None:
    """Keep the receipts of the log, and say so, as a worker does."""
    for each in answers:
        unit = KEYRING.verify(each["id"]).unit
        api.receipts.receipts.setdefault(ReceiptPlace(name, 0, unit), raw_of(each["id"]))
    await api.receipts.note_rebuilt([name])
    api.sticky.rebuilt = await api.receipts.rebuilt()


async def test_a_draft_is_edited_by_the_version_that_was_read(api: Api) -> None:
    name = await api.create()
    body = {**definition({"name": "Other"}), "version": 1}

    edited = await api.http.put(f"/experiments/{name}", json=body)
    again = await api.http.put(f"/experiments/{name}", json=body)
    wrong = await api.http.put(f"/experiments/{name}", json={**body, "version": 2, "variants": []})

    assert (edited.status_code, edited.json()["config"]["name"]) == (200, "Other")
    assert edited.json()["version"] == 2
    assert (again.status_code, again.json()["error"]["code"]) == (409, "VERSION_CONFLICT")
    assert (wrong.status_code, wrong.json()["error"]["path"]) == (422, "variants")
    await api.http.post(f"/experiments/{name}/start")
    late = await api.http.put(f"/experiments/{name}", json={**body, "version": 3})
    assert (late.status_code, late.json()["error"]["code"]) == (409, "INVALID_TRANSITION")


async def test_changes_are_refused_with_code_and_path(api: Api) -> None:
    name = await api.run(KINDS[0], THREE)

    async def refused(status: int, variant: str, /, **body: Any) -> tuple[str, str]:
        error = (await change(api, name, variant, status, **body))["error"]
        return error["code"], error["path"]

    assert await refused(422, "A", isActive=False) == ("CONTROL_STOPPED", "isActive")
    assert await refused(404, "D", isActive=False) == ("VARIANT_NOT_FOUND", "variantId")
    assert await refused(422, f"{name}_v1", name="C") == ("DUPLICATE_NAME", "variants[2].name")
    assert await refused(422, "B", name="") == ("OUT_OF_RANGE", "name")
    assert await refused(422, "B", isActive="no") == ("WRONG_TYPE", "isActive")
    assert await refused(422, "B", weight=0.2) == ("VARIANT_FIXED", "weight")
    assert (await add(api, name, 422, name="B"))["error"]["code"] == "DUPLICATE_NAME"
    assert (await add(api, name, 422, name="D", weight=2))["error"]["path"] == "weight"
    assert (await add(api, name, 422))["error"]["code"] == "MISSING_FIELD"
    await change(api, name, "B", isActive=False)
    assert await refused(422, "C", isActive=False) == ("TOO_FEW_ACTIVE", "variants")
    unknown = await api.http.patch("/experiments/exp_0000000000000/variants/B", json={"name": "D"})
    assert unknown.json()["error"]["code"] == "EXPERIMENT_NOT_FOUND"


async def test_a_request_that_is_sent_again_adds_one_variant(api: Api) -> None:
    name = await api.run(KINDS[0], THREE)

    for _ in range(2):
        answer = await api.http.post(
            f"/experiments/{name}/variants",
            json={"name": "D"},
            headers={"Idempotency-Key": "once"},
        )
        assert answer.status_code == 201
        assert [each["name"] for each in answer.json()["variants"]] == ["A", "B", "C", "D"]


@pytest.mark.parametrize("kind", KINDS)
async def test_units_of_a_stopped_variant_see_another_and_keep_their_receipt(
    api: Api, kind: dict[str, Any]
) -> None:
    name = await api.run(kind, THREE)
    before = await assigned(api, name, "old")
    stopped = f"{name}_v1"
    answer = await change(api, name, "B", isActive=False)
    assert [each["isActive"] for each in answer["variants"]] == [True, False, True]

    # Under fixed weights nothing was kept: until the log is read, no new unit is taken for one.
    during = await assigned(api, name, "old")
    new = await assigned(api, name, "new")
    assert stopped not in {each["variantId"] for each in (*during, *new)}
    for was, now in zip(before, during, strict=True):
        if was["variantId"] != stopped:
            assert (now["id"], now["variantId"]) == (was["id"], was["variantId"])
        else:
            assert now["reason"] == "REDRAWN"

    await rebuild(api, name, before)
    after = await assigned(api, name, "old")
    assert [each["id"] for each in after] == [each["id"] for each in before]
    assert {each["reason"] for each in after} == {"STICKY", "REDRAWN"}
    assert stopped not in {each["variantId"] for each in after}
    seen = Counter(each["variantId"] for each in await assigned(api, name, "newer"))
    assert set(seen) == {f"{name}_v0", f"{name}_v2"}
    assert all(each["enrolled"] for each in await assigned(api, name, "newer"))

    # Reactivated, it is theirs again.
    await change(api, name, "B", isActive=True)
    again = await assigned(api, name, "old")
    assert [(each["id"], each["variantId"]) for each in again] == [
        (each["id"], each["variantId"]) for each in before
    ]


@pytest.mark.parametrize("kind", KINDS)
async def test_units_of_before_keep_their_variant_when_one_is_added(
    api: Api, kind: dict[str, Any]
) -> None:
    name = await api.run(kind, THREE[:2])
    before = await assigned(api, name, "old")
    answer = await add(api, name, name="C", config={"adId": "new"})
    added = answer["variants"][2]
    assert (added["id"], added["config"]) == (f"{name}_v2", {"adId": "new"})

    during = await assigned(api, name, "old")
    assert [each["id"] for each in during] == [each["id"] for each in before]
    await rebuild(api, name, before)

    after, new = await assigned(api, name, "old"), await assigned(api, name, "new", 300)
    assert [each["id"] for each in after] == [each["id"] for each in before]
    assert {each["reason"] for each in after} == {"STICKY"}
    assert set(Counter(each["variantId"] for each in new)) == {f"{name}_v{i}" for i in range(3)}
    weights = {len(KEYRING.verify(each["id"]).weights) for each in new}
    assert weights == {3}


async def test_a_stopped_variant_is_not_eligible(api: Api) -> None:
    name = await api.run({"type": "bayesian_ab", "unit": "impression"}, THREE)
    await change(api, name, "B", isActive=False)

    async def ask(*eligible: str) -> Any:
        body = {"eligible": eligible}
        answer = await api.http.post(f"/experiments/{name}/assign", json=body)
        return answer.json()

    assert {(await ask("B", "C"))["variantId"] for _ in range(8)} == {f"{name}_v2"}
    assert (await ask("B"))["error"]["code"] == "NONE_ELIGIBLE"


async def test_what_is_stopped_cannot_be_concluded_with(api: Api) -> None:
    name = await api.run(KINDS[1], THREE)
    await change(api, name, "B", isActive=False)

    answer = await api.http.post(
        f"/experiments/{name}/conclude", json={"winnerVariantId": f"{name}_v1"}
    )

    assert answer.json()["error"]["code"] == "VARIANT_STOPPED"
    assert answer.json()["error"]["path"] == "winnerVariantId"


async def test_of_two_changes_of_one_version_the_first_wins(api: Api) -> None:
    name = await api.run(KINDS[0], THREE)
    seen = (await api.http.get(f"/experiments/{name}")).json()["version"]
    place = f"/experiments/{name}?expectedVersion={seen}"

    first = await api.http.patch(place, json={"trafficAllocation": 0.5})
    tried = await api.http.patch(f"{place}&dryRun=true", json={"trafficAllocation": 0.9})
    second = await api.http.patch(place, json={"trafficAllocation": 0.9})
    unseen = await api.http.patch(f"/experiments/{name}", json={"trafficAllocation": 0.8})

    assert (first.status_code, first.json()["version"]) == (200, seen + 1)
    for each in (tried, second):
        error = each.json()["error"]
        assert (each.status_code, error["code"]) == (409, "VERSION_CONFLICT")
        assert error["path"] == "expectedVersion"
    assert (unseen.status_code, unseen.json()["config"]["trafficAllocation"]) == (200, 0.8)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "pause", {}),
        ("POST", "conclude", {}),
        ("POST", "variants", {"name": "D"}),
        ("PATCH", "variants/B", {"name": "Blue"}),
        ("PUT", "", {**definition({"name": "Other"})}),
    ],
)
async def test_every_command_to_an_experiment_takes_the_version_that_was_seen(
    api: Api, method: str, path: str, body: dict[str, Any]
) -> None:
    name = await api.create() if method == "PUT" else await api.run(KINDS[0], THREE)
    place = f"/experiments/{name}/{path}".removesuffix("/")

    refused = await api.http.request(method, f"{place}?expectedVersion=99", json=body)
    wrong = await api.http.request(method, f"{place}?expectedVersion=0", json=body)

    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "VERSION_CONFLICT")
    assert (wrong.status_code, wrong.json()["error"]["path"]) == (422, "query.expectedVersion")


async def test_a_key_is_not_that_of_the_same_command_with_another_version(api: Api) -> None:
    name = await api.run(KINDS[0], THREE)
    headers = {"Idempotency-Key": "once"}

    stale = await api.http.post(f"/experiments/{name}/pause?expectedVersion=1", headers=headers)
    reused = await api.http.post(f"/experiments/{name}/pause?expectedVersion=2", headers=headers)

    assert stale.json()["error"]["code"] == "VERSION_CONFLICT"
    assert reused.json()["error"]["code"] == "IDEMPOTENCY_KEY_REUSED"
