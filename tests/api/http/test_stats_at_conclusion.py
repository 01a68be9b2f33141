"""The statistics of an experiment as of its conclusion, over HTTP."""

from __future__ import annotations

from tests.api.memory import Api


async def test_what_was_known_at_the_conclusion_stays_as_it_was(api: Api) -> None:
    name = await api.run({"unit": "user", "key": "hero"})
    await api.http.post(f"/experiments/{name}/conclude", json={"winnerVariantId": f"{name}_v1"})
    at_once = await api.http.get(f"/experiments/{name}/stats?at=conclusion")
    api.publish(name, confidence=0.75)

    kept = (await api.http.get("/experiments/hero/stats?at=conclusion")).json()
    now = (await api.http.get(f"/experiments/{name}/stats")).json()
    await api.http.post(f"/experiments/{name}/archive")
    archived = (await api.http.get(f"/experiments/{name}/stats?at=conclusion")).json()

    assert at_once.status_code == 200
    assert kept == at_once.json() == archived
    assert (kept["confidence"], now["confidence"]) == (0.5, 0.75)
    assert kept["status"] == "concluded"


async def test_before_a_conclusion_there_are_no_frozen_statistics(api: Api) -> None:
    name = await api.run()

    answer = await api.http.get(f"/experiments/{name}/stats?at=conclusion")
    unknown = await api.http.get("/experiments/exp_0000000000000/stats?at=conclusion")
    other = await api.http.get(f"/experiments/{name}/stats?at=start")

    assert answer.status_code == 409
    assert answer.json()["error"]["code"] == "NOT_CONCLUDED"
    assert answer.json()["error"]["path"] == "query.at"
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "EXPERIMENT_NOT_FOUND")
    assert (other.status_code, other.json()["error"]["path"]) == (422, "query.at")


async def test_one_that_is_not_there_yet_and_a_redis_that_does_not_answer_say_so(api: Api) -> None:
    name = await api.run()
    await api.http.post(f"/experiments/{name}/conclude")
    api.projection.conclusions.clear()

    missing = await api.http.get(f"/experiments/{name}/stats?at=conclusion")
    api.projection.is_away = True
    away = await api.http.get(f"/experiments/{name}/stats?at=conclusion")

    assert (missing.status_code, missing.json()["error"]["code"]) == (409, "REPORT_NOT_READY")
    assert away.status_code == 503
