"""The whole path over HTTP: API, Kafka, worker, Redis, API."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from streams.kafka.admin import create_topics
from streams.settings import Settings
from tests.integration.api_process import api_of, metric, run_experiment
from tests.integration.engine_ledger import workers_of
from tests.patience import until_found

N_IMPRESSIONS = 120


async def test_what_was_assigned_and_observed_is_what_the_statistics_count(
    settings: Settings, tmp_path: Path
) -> None:
    create_topics(settings)
    with workers_of(settings, tmp_path) as workers:
        workers.start()
        async with api_of(settings, tmp_path) as (_, http):
            name = await run_experiment(http)
            path = f"/experiments/{name}"
            answers = [
                (await http.post(f"{path}/assign", json={"device": "mobile"})).json()
                for _ in range(N_IMPRESSIONS)
            ]
            assigned = Counter(answer["variantId"] for answer in answers)
            clicks = [
                {"assignmentId": answer["id"], "metric": "click", "value": 1, "eventId": "c"}
                for answer in answers
                if answer["variantName"] == "B"
            ]
            for _ in range(2):  # the second time all of it is a repetition
                accepted = await http.post("/observations", json=clicks)
                assert accepted.json() == {"accepted": len(clicks)}

            async def counted():
                stats = (await http.get(f"{path}/stats")).json()
                return (
                    stats["totalAssignments"] == N_IMPRESSIONS
                    and stats["totalObservations"] == len(clicks)
                    and stats["duplicates"] == len(clicks)
                    and stats
                )

            stats = await until_found(counted)
            ready = (await http.get("/ready")).json()
            refused = await http.post(f"{path}/start")
            winner = {"winnerVariantId": f"{name}_v1"}
            concluded = await http.post(f"{path}/conclude", json=winner)
            late = await http.post(f"{path}/assign", json={})

            async def is_final():
                return (await http.get(f"{path}/stats")).json()["winner"]

            final = await until_found(is_final)
            conclusions = await metric(http, "experiment_conclusions_total")

    assert ready == {"ready": True, "missing": [], "degraded": []}
    found = {variant["id"]: variant["stats"]["assignments"] for variant in stats["variants"]}
    assert found == {f"{name}_v{index}": assigned[f"{name}_v{index}"] for index in range(2)}
    b = stats["variants"][1]["stats"]
    assert b["metrics"]["click"]["sumMicro"] == 1_000_000 * len(clicks)
    assert b["allocation"] > 0.5
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "INVALID_TRANSITION")
    assert concluded.json()["winnerVariantId"] == f"{name}_v1"
    shipped = late.json()
    assert (shipped["reason"], shipped["variantName"], shipped["id"]) == ("SHIPPED", "B", None)
    assert final == {"id": f"{name}_v1", "name": "B"}
    assert conclusions == 1


async def test_a_user_that_comes_again_counts_once(settings: Settings, tmp_path: Path) -> None:
    create_topics(settings)
    with workers_of(settings, tmp_path) as workers:
        workers.start()
        async with api_of(settings, tmp_path) as (_, http):
            fixed = await run_experiment(http, type="bayesian_ab")
            bandit = await run_experiment(http, unit="session")
            # Those who come once come last: with 40 of them, every partition has one, and has
            # counted what was before it (but for one run in 20,000, which then proves less).
            for numbers in (range(30), range(30), range(70)):
                body = {
                    "experimentIds": [fixed, bandit],
                    "units": [
                        {"userId": f"u{number}", "sessionId": f"s{number}"} for number in numbers
                    ],
                }
                answer = await http.post("/assign", json=body)
                assert answer.status_code == 200

            async def totals():
                return [
                    (await http.get(f"/experiments/{name}/stats")).json()["totalAssignments"]
                    for name in (fixed, bandit)
                ]

            async def are_counted():
                return min(await totals()) >= 70

            await until_found(are_counted)
            counted = await totals()

    assert counted == [70, 70]
