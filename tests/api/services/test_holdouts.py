"""Holdouts over HTTP: who is held out, what is logged of whom, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from streams.experiments.holdouts import Holdout, HoldoutSpec
from streams.experiments.unit_kind import UnitKind
from streams.model.events import EXPOSURE
from streams.policies.bucketing import lasting_unit
from tests.api.memory import KEYRING, Api

SHARE = 0.2
SPEC = HoldoutSpec(key="all-2026", share=SHARE)
HOLDOUT = Holdout(SPEC.number, SPEC, 1, 0, UnitKind.USER)
UNITS = [f"user_{n}" for n in range(60)]
HELD = next(unit for unit in UNITS if HOLDOUT.holds(lasting_unit(unit)))
FREE = next(unit for unit in UNITS if not HOLDOUT.holds(lasting_unit(unit)))
AB = {"type": "bayesian_ab"}
ADAPTIVE = {"type": "thompson_sampling"}
MOBILE = {"==": [{"var": "device"}, "mobile"]}


async def begin(api: Api, **changes: Any) -> Any:
    body = {"key": "all-2026", "share": SHARE, "experiments": ["*"]} | changes
    answer = await api.http.post("/holdouts", json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def assign(api: Api, name: str, **context: Any) -> Any:
    answer = await api.http.post(f"/experiments/{name}/assign", json=context)
    assert answer.status_code == 200, answer.text
    return answer.json()


def exposed(api: Api) -> list[tuple[int, int]]:
    """Return variant and unit of every exposure to the holdout, as logged."""
    found = []
    for observation in api.topics.observations():
        receipt = KEYRING.verify(observation.assignment_id)
        assert (observation.metric, receipt.experiment) == (EXPOSURE, SPEC.number)
        found.append((receipt.variant, receipt.unit))
    return found


@pytest.mark.parametrize("kind", [AB, {"type": "thompson_sampling", "unit": "user"}])
@pytest.mark.parametrize("is_first", [True, False])
async def test_units_are_held_out_of_all_and_both_sides_are_logged(
    api: Api, kind, is_first
) -> None:
    if is_first:
        await begin(api)
    names = [await api.run(kind), await api.run(AB)]
    if not is_first:
        await begin(api)
    body = {"experimentIds": names, "units": [{"userId": unit} for unit in UNITS]}
    rows = (await api.http.post("/assign", json=body)).json()["assignments"]

    for unit, row in zip(UNITS, rows, strict=True):
        is_held = HOLDOUT.holds(lasting_unit(unit))
        for each in row:
            assert (each["reason"] == "HOLDOUT") is is_held
            if is_held:
                receipt = KEYRING.verify(each["id"])
                assert (receipt.experiment, receipt.variant) == (SPEC.number, 0)
                assert (each["variantName"], each["enrolled"]) == ("A", False)
    expected = {(0 if HOLDOUT.holds(u) else 1, u) for u in map(lasting_unit, UNITS)}
    assert set(exposed(api)) == expected
    assert len(exposed(api)) == 2 * len(UNITS)


async def test_only_who_would_take_part_counts_on_either_side(api: Api) -> None:
    await begin(api)
    targeted = await api.run({**AB, "targeting": MOBILE})
    no_traffic = await api.run({**AB, "trafficAllocation": 0.0})
    forced = await api.run({**AB, "overrides": {HELD: "B"}})

    reasons = [
        (await assign(api, targeted, userId=HELD, device="desktop")),
        (await assign(api, targeted, userId=FREE, device="desktop")),
        (await assign(api, no_traffic, userId=HELD)),
        (await assign(api, no_traffic, userId=FREE)),
        (await assign(api, forced, userId=HELD)),
    ]

    assert [(each["reason"], each["id"]) for each in reasons] == [
        ("HOLDOUT", None),
        ("NOT_TARGETED", None),
        ("HOLDOUT", None),
        ("NOT_ENROLLED", None),
        ("FORCED", None),
    ]
    assert exposed(api) == []


async def test_named_experiments_other_units_and_the_end(api: Api) -> None:
    await begin(api, experiments=["hero", "to-come"])
    hero = await api.run({**AB, "key": "hero"})
    other = await api.run(AB)
    by_session = await api.run({**AB, "unit": "session", "key": "to-come"})
    by_impression = await api.run(ADAPTIVE)

    assert (await assign(api, "hero", userId=HELD))["reason"] == "HOLDOUT"
    assert (await assign(api, other, userId=HELD))["reason"] == "ASSIGNED"
    assert (await assign(api, by_session, sessionId=HELD))["reason"] == "ASSIGNED"
    assert (await assign(api, by_impression, userId=HELD))["reason"] == "ASSIGNED"

    ended = await api.http.delete("/holdouts/all-2026")
    again = await api.http.delete("/holdouts/all-2026")
    assert (ended.status_code, ended.json()["status"]) == (200, "ended")
    assert (again.status_code, again.json()["error"]["code"]) == (409, "INVALID_TRANSITION")
    assert (await assign(api, hero, userId=HELD))["reason"] == "ASSIGNED"
    archived = await api.http.post("/holdouts/all-2026/archive")
    assert archived.json()["status"] == "archived"


async def test_an_impression_is_held_out_by_its_user_and_counts_on_neither_side(api: Api) -> None:
    await begin(api)
    name = await api.run(ADAPTIVE)

    for unit in UNITS:
        found = await assign(api, name, userId=unit)
        is_held = HOLDOUT.holds(lasting_unit(unit))
        assert found["reason"] == ("HOLDOUT" if is_held else "ASSIGNED")
        assert (found["id"] is None) is is_held
        assert not is_held or found["variantName"] == "A"
    for context in ({}, {"sessionId": HELD}, {"userId": "null"}):
        assert (await assign(api, name, **context))["reason"] == "ASSIGNED"
    assert (await assign(api, name, userId=FREE, fallbackUnitId=HELD))["reason"] == "HOLDOUT"
    assert list(api.topics.observations()) == []

    await api.http.delete("/holdouts/all-2026")
    assert (await assign(api, name, userId=HELD))["reason"] == "ASSIGNED"


async def test_an_impression_is_held_out_by_its_session_where_that_is_the_unit(api: Api) -> None:
    name = await api.run({**ADAPTIVE, "key": "hero"})
    await begin(api, unit="session", experiments=["hero"])

    assert (await assign(api, name, sessionId=HELD))["reason"] == "HOLDOUT"
    assert (await assign(api, name, userId=HELD, sessionId=FREE))["reason"] == "ASSIGNED"
    conclusion = {"winnerVariantId": f"{name}_v1", "controlShare": 0}
    await api.http.post(f"/experiments/{name}/conclude", json=conclusion)
    assert (await assign(api, name, sessionId=HELD))["reason"] == "HOLDOUT"
    assert (await assign(api, name, userId=HELD))["reason"] == "SHIPPED"


async def test_the_metric_of_a_holdout_is_of_experiments_by_which_units_count(api: Api) -> None:
    for _ in range(2):
        await api.run({**ADAPTIVE, "primaryMetric": "view"})
    await api.run({**AB, "primaryMetric": "revenue"})

    assert (await begin(api))["primaryMetric"] == "revenue"


async def test_what_is_shipped_is_withheld_too(api: Api) -> None:
    await begin(api)
    name = await api.run(AB)
    await api.http.post(
        f"/experiments/{name}/conclude", json={"winnerVariantId": f"{name}_v1", "controlShare": 0}
    )

    held, free = await assign(api, name, userId=HELD), await assign(api, name, userId=FREE)

    assert (held["reason"], held["variantName"], held["id"]) == ("HOLDOUT", "A", None)
    assert (free["reason"], free["variantName"]) == ("SHIPPED", "B")


async def test_a_unit_with_two_ids_stays_on_the_side_of_the_first(api: Api) -> None:
    name = await api.run({"type": "thompson_sampling", "unit": "user"})
    await begin(api)
    first = await assign(api, name, userId=FREE)
    await assign(api, name, userId=HELD, fallbackUnitId=FREE)
    await api.sticky.look()
    after = await assign(api, name, userId=HELD)

    assert after["id"] == first["id"]
    assert {variant for variant, _ in exposed(api)} == {1}


async def test_observations_by_unit_name_the_receipt_of_the_side(api: Api) -> None:
    await begin(api)
    names = [await api.run(AB), await api.run(AB)]
    for unit in (HELD, FREE):
        body = {"userId": unit, "metric": "click", "value": 1}
        assert (await api.http.post("/observations", json=body)).status_code == 202
    found = [
        (KEYRING.verify(each.assignment_id), each.event_id) for each in api.topics.observations()
    ]

    assert [receipt.experiment == SPEC.number for receipt, _ in found] == [True, False, False]
    assert len({receipt.experiment for receipt, _ in found}) == 1 + len(names)
    # One event by two receipts, which the holdout counts once.
    assert found[1][1] == found[2][1] is not None


@pytest.mark.parametrize(
    ("body", "code", "path"),
    [
        ({"share": 0}, "OUT_OF_RANGE", "share"),
        ({"share": 0.6}, "OUT_OF_RANGE", "share"),
        ({"share": 1e-320}, "OUT_OF_RANGE", "share"),
        ({"share": 0.0001}, None, None),
        ({"share": "0.1"}, "WRONG_TYPE", "share"),
        ({"key": "All"}, "INVALID_NAME", "key"),
        ({"key": ""}, "INVALID_NAME", "key"),
        ({"unit": "impression"}, "UNKNOWN_VALUE", "unit"),
        ({"experiments": []}, "OUT_OF_RANGE", "experiments"),
        ({"experiments": ["*", "a"]}, "ALL_AND_SOME", "experiments"),
        ({"experiments": ["a", "a"]}, "DUPLICATE_EXPERIMENT", "experiments"),
        ({"experiments": ["Ä"]}, "INVALID_EXPERIMENT_ID", "experiments[0]"),
        ({"experiments": ["exp_0000000000001"]}, "UNKNOWN_EXPERIMENT", "experiments[0]"),
        ({"experiments": [f"k{n}" for n in range(101)]}, "OUT_OF_RANGE", "experiments"),
        ({"experiments": "*"}, "WRONG_TYPE", "experiments"),
        ({"primaryMetric": ""}, "INVALID_NAME", "primaryMetric"),
        ({"primaryMetric": "$exposure"}, "INVALID_NAME", "primaryMetric"),
        ({"other": 1}, "UNKNOWN_FIELD", "other"),
    ],
)
async def test_what_is_refused(api: Api, body, code, path) -> None:
    good = {"key": "all-2026", "share": 0.1, "experiments": ["*"]}
    answer = await api.http.post("/holdouts", json=good | body)

    if code is None:
        assert answer.status_code == 201, answer.text
        return
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["path"]) == (422, code, path)


async def test_a_holdout_is_apart_from_experiments(api: Api) -> None:
    made = await begin(api, primaryMetric="revenue")
    session = await api.run({**AB, "unit": "session"})
    body = {"key": "x", "share": 0.1, "experiments": [session]}
    differs = await api.http.post("/holdouts", json=body)
    taken = await api.http.post("/holdouts", json={"key": "all-2026", "share": 0.1})
    config = {"name": "n", **AB, "primaryMetric": "click", "holdout": {"key": "x", "share": 0.1}}
    variants = [{"name": "A", "isControl": True}, {"name": "B"}]
    as_experiment = await api.http.post(
        "/experiments", json={"config": config, "variants": variants}
    )
    identity = made["experimentId"]

    assert differs.json()["error"]["code"] == "HOLDOUT_UNIT_DIFFERS"
    assert (taken.status_code, taken.json()["error"]["code"]) == (409, "KEY_TAKEN")
    assert as_experiment.json()["error"]["code"] == "NOT_A_HOLDOUT"
    assert (await api.run({**AB, "key": "all-2026"})) != identity
    listed = (await api.http.get("/experiments")).json()["experiments"]
    assert identity not in [each["id"] for each in listed]
    assert (await api.http.get("/holdouts")).json() == {"holdouts": [made]}
    assert (await api.http.get("/holdouts/all-2026")).json() == made
    assert (made["status"], made["primaryMetric"], made["endedAt"]) == ("running", "revenue", None)
    for answer in (
        await api.http.get("/holdouts/none"),
        await api.http.get("/holdouts/none/stats"),
        await api.http.delete(f"/holdouts/{session}"),
    ):
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "HOLDOUT_NOT_FOUND")
    paused = await api.http.post(f"/experiments/{identity}/pause")
    assert (paused.status_code, paused.json()["error"]["code"]) == (404, "EXPERIMENT_NOT_FOUND")
    assert (await api.http.post(f"/experiments/{identity}/assign", json={})).status_code == 409
    stats = (await api.http.get("/holdouts/all-2026/stats")).json()
    assert [each["name"] for each in stats["variants"]] == ["held out", "not held out"]
    assert stats["key"] == "all-2026"
