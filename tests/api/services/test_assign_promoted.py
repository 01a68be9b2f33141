"""A promoted winner over HTTP: who sees what until the experiment is archived."""

from __future__ import annotations

from typing import Any

import pytest

from api.http.models.responses import Experiment
from streams.analysis.evaluate import evaluate
from streams.experiments.snapshot import Snapshot
from streams.experiments.stats_response import Stats
from streams.model.quantities import PROPENSITY_ONE
from streams.tallies.cell import Tally
from tests.api.memory import DAY_MS, KEYRING, Api

GUARDED = {"guardrailMetrics": ["crash"], "metrics": {"crash": {"direction": "decrease"}}}
WINNER_SHARE = 62_259 / 65_536
USERS = [f"user_{number}" for number in range(1_000)]


def settled(api: Api, name: str) -> Snapshot:
    """Let the worker publish what a real one would without events, and return it."""
    found = evaluate(api.experiments.snapshot(name).experiment, Tally(), ())
    api.publish(
        name,
        allocation=found.allocation,
        evidence=found.evidence,
        metrics=found.metrics,
        reason_code=found.reason_code,
    )
    return found


async def conclude(api: Api, name: str, **body: object) -> Experiment:
    answer = await api.http.post(
        f"/experiments/{name}/conclude", json={"winnerVariantId": f"{name}_v1", **body}
    )
    assert answer.status_code == 200, answer.text
    settled(api, name)
    return Experiment.model_validate(answer.json())


async def answers(api: Api, name: str) -> list[dict[str, Any]]:
    body = {"experimentIds": [name], "units": [{"userId": user} for user in USERS]}
    rows = (await api.http.post("/assign", json=body)).json()["assignments"]
    return [row[0] for row in rows]


@pytest.mark.parametrize("kind", ["thompson_sampling", "bayesian_ab"])
async def test_a_promoted_winner_is_assigned_beside_the_control(api: Api, kind: str) -> None:
    name = await api.run({"type": kind, "unit": "user", "autoPromoteWinner": True, **GUARDED})
    settled(api, name)
    before = await answers(api, name)

    concluded = await conclude(api, name)
    found = await answers(api, name)

    assert concluded.promotion is not None
    assert concluded.promotion.control_share == 3_277 / 65_536
    assert (concluded.promotion.is_automatic, concluded.promotion.rolled_back_at) == (False, None)
    assert {each["reason"] for each in found} == {"ASSIGNED"}
    by_variant = {each["variantName"]: each["propensity"] for each in found}
    assert by_variant == {"A": 1 - WINNER_SHARE, "B": WINNER_SHARE}
    for each in found:
        receipt = KEYRING.verify(each["id"])
        assert receipt.variant == {"A": 256, "B": 257}[each["variantName"]]
        assert receipt.propensity == each["propensity"] * PROPENSITY_ONE
        assert receipt.allocation_version == 3
        assert each["config"] == {"adId": {"A": "ad_1", "B": "ad_2"}[each["variantName"]]}
    assert {each["id"] for each in before}.isdisjoint(each["id"] for each in found)

    api.clock.now_ms += 90 * DAY_MS
    api.publish(name)
    assert await answers(api, name) == found


async def test_after_a_roll_back_all_users_see_the_control(api: Api) -> None:
    name = await api.run({"unit": "user", "controlShare": 0.1, **GUARDED})
    await conclude(api, name)
    api.clock.now_ms += DAY_MS

    answer = await api.http.post(f"/experiments/{name}/rollback")
    settled(api, name)
    found = await answers(api, name)

    assert answer.status_code == 200, answer.text
    after = Experiment.model_validate(answer.json())
    assert after.promotion is not None
    assert (after.status, after.winner_variant_id) == ("concluded", f"{name}_v0")
    assert after.promotion.variant_id == f"{name}_v1"
    assert after.promotion.rolled_back_at == api.clock.now_ms
    assert {(each["variantName"], each["propensity"]) for each in found} == {("A", 1.0)}
    assert {KEYRING.verify(each["id"]).variant for each in found} == {512}
    again = await api.http.post(f"/experiments/{name}/rollback")
    assert (again.status_code, again.json()["error"]["code"]) == (409, "INVALID_TRANSITION")


async def test_an_archived_experiment_and_one_without_a_share_do_not_assign(api: Api) -> None:
    plain = await api.run({"unit": "user"})
    stated = await api.run({"unit": "user", "autoPromoteWinner": True})
    archived = await api.run({"unit": "user", "autoPromoteWinner": True})

    assert (await conclude(api, plain)).promotion is None
    assert (await conclude(api, stated, controlShare=0)).promotion is None
    assert (await conclude(api, archived)).promotion is not None
    assert (await api.http.post(f"/experiments/{archived}/archive")).status_code == 200

    for name in (plain, stated):
        answer = await api.http.post(f"/experiments/{name}/assign", json={"userId": "u"})
        assert (answer.status_code, answer.json()["reason"]) == (200, "SHIPPED")
    answer = await api.http.post(f"/experiments/{archived}/assign", json={"userId": "u"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "EXPERIMENT_NOT_RUNNING")
    assert (await api.http.post(f"/experiments/{archived}/rollback")).status_code == 409


async def test_statistics_show_how_the_winner_does(api: Api) -> None:
    name = await api.run({"unit": "user", "controlShare": 0.25, **GUARDED})
    await conclude(api, name)

    payload = (await api.http.get(f"/experiments/{name}/stats")).json()
    stats = Stats.from_json(payload)

    assert [each.stats.allocation for each in stats.variants] == [0.25, 0.75]
    assert stats.reason.startswith("B was promoted; A keeps 0.25")
    assert stats.evidence is not None
    assert stats.evidence.since_conclusion is not None
    assert stats.evidence.since_conclusion.units == (0, 0)
    assert [each.metric for each in stats.evidence.since_conclusion.guardrails] == ["crash"]


async def test_a_share_beyond_a_half_is_refused(api: Api) -> None:
    name = await api.run()

    body = {"winnerVariantId": f"{name}_v1", "controlShare": 0.51}
    answer = await api.http.post(f"/experiments/{name}/conclude", json=body)

    assert (answer.status_code, answer.json()["error"]["path"]) == (422, "controlShare")


async def test_a_contextual_winner_is_shown_whatever_the_context(api: Api) -> None:
    features = [{"name": "device", "type": "category", "values": ["mobile", "desktop"]}]
    name = await api.run(
        {
            "type": "lin_ts",
            "unit": "user",
            "parameters": {"features": features},
            "controlShare": 0.5,
        }
    )
    model = evaluate(api.experiments.snapshot(name).experiment, Tally(), ()).model
    api.publish(name, model=model)
    await conclude(api, name)
    api.publish(name, model=settled(api, name).model)

    body = {"userId": "u", "features": {"device": "mobile"}}
    answer = (await api.http.post(f"/experiments/{name}/assign", json=body)).json()

    assert answer["propensity"] == 0.5
    assert len(answer["id"]) == 75  # nothing of the request decided, so nothing of it is carried


async def test_units_are_shared_out_afresh(api: Api) -> None:
    """Every other user saw A, and of those who see it now as well.

    Of 50 expected among 1,000, all are on one side of the earlier split with a probability below
    1e-12.
    """
    name = await api.run({"type": "bayesian_ab", "autoPromoteWinner": True})
    settled(api, name)
    before = await answers(api, name)
    await conclude(api, name)
    after = await answers(api, name)

    earlier = {
        was["variantName"]
        for was, now in zip(before, after, strict=True)
        if now["variantName"] == "A"
    }
    assert earlier == {"A", "B"}
