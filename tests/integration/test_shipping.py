"""A shipped winner and its frozen report on real servers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from redis import Redis

from streams.kafka.admin import create_topics
from streams.settings import Settings
from tests.integration.api_process import api_of, run_experiment
from tests.integration.engine_ledger import workers_of
from tests.integration.test_replay import replayed
from tests.patience import until_found

CONFIG = {"type": "bayesian_ab", "unit": "user"}
N_UNITS = 40


def flush(settings: Settings) -> None:
    """Empty Redis of all that this installation has there."""
    with Redis.from_url(settings.redis_url) as redis:
        for key in redis.scan_iter(f"{settings.namespace}:*"):
            redis.delete(key)


async def test_the_winner_is_served_and_late_values_move_no_report(
    settings: Settings, tmp_path: Path
) -> None:
    """A flush of Redis and a restart of the worker keep it, and a replay gives it again."""
    create_topics(settings)
    with workers_of(settings, tmp_path) as workers:
        workers.start()
        async with api_of(settings, tmp_path) as (_, http):
            name = await run_experiment(http, **CONFIG)
            units = [{"userId": f"u{n}"} for n in range(N_UNITS)]
            asked = await http.post("/assign", json={"experimentIds": [name], "units": units})
            receipts = [row[0]["id"] for row in asked.json()["assignments"]]

            async def observe(part: list[str]) -> None:
                values = [{"assignmentId": each, "metric": "click", "value": 1} for each in part]
                assert (await http.post("/observations", json=values)).status_code == 202

            async def stats(at: str = "") -> dict[str, Any]:
                answer = await http.get(f"/experiments/{name}/stats{at}")
                return dict(answer.json()) if answer.status_code == 200 else {}

            async def has(observations: int) -> bool:
                found = await stats()
                counts = found.get("totalAssignments"), found.get("totalObservations")
                return counts == (N_UNITS, observations)

            await observe(receipts[:10])
            await until_found(lambda: has(10))
            body = {"winnerVariantId": f"{name}_v1"}
            concluded = (await http.post(f"/experiments/{name}/conclude", json=body)).json()
            report = await stats("?at=conclusion")
            served = (await http.post(f"/experiments/{name}/assign", json={})).json()
            await observe(receipts[10:])
            await until_found(lambda: has(N_UNITS))
            late = await stats("?at=conclusion")

            async def is_back() -> bool:
                return await stats("?at=conclusion") == report

            flush(settings)
            await until_found(is_back)
            assert workers.stop()[-1] == 0
            flush(settings)
            workers.start()
            await until_found(is_back)
            await until_found(lambda: has(N_UNITS))
        assert workers.stop()[-1] == 0

    assert concluded["served"]["variantId"] == f"{name}_v1"
    assert (served["variantName"], served["reason"], served["id"]) == ("B", "SHIPPED", None)
    assert (report["totalAssignments"], report["totalObservations"]) == (N_UNITS, 10)
    assert late == report
    code, verified = replayed(settings, "verify", "--experiment", name)
    assert (code, verified["difference"], verified["conclusions"]) == (0, None, 1)
