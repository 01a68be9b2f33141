"""One hostile receipt among honest ones, on real servers: it bends nothing, and is named."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx

from streams.kafka.admin import create_topics
from streams.model.events import Observation
from streams.model.quantities import MICRO
from streams.settings import Settings
from streams.wire.dead_letters import decode_dead_letter
from streams.wire.observations import encode_observation
from tests.integration.api_process import api_of, run_experiment
from tests.integration.engine_ledger import Ledger, workers_of
from tests.integration.test_replay import replayed
from tests.integration.topics import records_of
from tests.patience import until_found

N_UNITS = 200
N_EVENTS = 3_000
INVENTED = [f"invented{number}" for number in range(64)]
CONFIG = {
    "type": "bayesian_ab",
    "unit": "user",
    "guardrailMetrics": ["revenue", "latency"],
    "metrics": {
        "click": {"kind": "binary"},
        "revenue": {"kind": "revenue", "cap": 500},
        "latency": {"kind": "continuous", "minValue": 0, "maxValue": 60},
    },
}


def dead_letters(settings: Settings) -> Counter[str]:
    """Return how many events were refused, by code."""
    found: Counter[str] = Counter()
    for record in records_of(settings, "dead-letters"):
        letter = decode_dead_letter(record.value())
        found[letter.code] += letter.count
    return found


async def assigned(http: httpx.AsyncClient, name: str) -> list[dict[str, Any]]:
    units = [{"userId": f"user-{number}"} for number in range(N_UNITS)]
    body = {"experimentIds": [name], "units": units}
    answer = await http.post("/assign", json=body)
    assert answer.status_code == 200, answer.text
    return [row[0] for row in answer.json()["assignments"]]


async def take_out(
    http: httpx.AsyncClient,
    heavy: list[dict[str, Any]],
    honest: list[dict[str, Any]],
    stats: Callable[[], Awaitable[dict[str, Any]]],
) -> None:
    """Void the one heavy unit, which is not an honest one, and wait until it is gone."""
    [unit] = heavy
    assert unit["observations"] == 1_000
    assert unit["assignmentId"] not in {each["id"] for each in honest}
    void = [{"assignmentId": unit["assignmentId"], "reason": "bot"}]
    assert (await http.post("/assignments/void", json=void)).status_code == 202

    async def is_out() -> bool:
        return not (await stats())["evidence"]["miscounts"]["isHeavy"]

    await until_found(is_out)
    assert (await stats())["voided"] == [{"reason": "bot", "units": 1}]


def several_of(honest: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return observations of every unit that may be counted, further ones among them."""
    return [
        {"assignmentId": each["id"], "metric": metric, "value": value, "eventId": event}
        for number, each in enumerate(honest)
        for metric, value, event in (
            ("click", 1, "first"),
            ("click", 1, "second"),  # a second click is no second conversion
            ("revenue", 20, "paid"),
            ("revenue", -5, "refund"),
            ("latency", number % 60, "e"),
            ("extra", 1, "e"),
        )
    ]


async def test_one_hostile_receipt_bends_nothing_and_is_named(
    settings: Settings, tmp_path: Path
) -> None:
    create_topics(settings)
    ledger = Ledger(settings)
    with workers_of(settings, tmp_path) as workers:
        workers.start()
        async with api_of(settings, tmp_path) as (_, http):
            name = await run_experiment(http, **CONFIG)
            hostile, *honest = await assigned(http, name)
            text = str(hostile["id"])

            def send(metric: str, value: int, event_id: str) -> None:
                observation = Observation(text, metric, value, event_id)
                ledger.produce("observations", encode_observation(observation), key=text)

            # Over Kafka, where no API looks at it first.
            for metric in INVENTED:
                send(metric, MICRO, "e")
            for number in range(N_EVENTS):
                send("click", MICRO, f"e{number}")
            for number, value in enumerate((-(10**9), 1, 10**9, -(10**9))):
                send("revenue", value * MICRO, f"r{number}")
            send("click", 2 * MICRO, "two")
            send("click", MICRO // 2, "half")
            send("latency", -MICRO, "below")
            ledger.producer.flush()
            refused = await http.post(
                "/observations", json={"assignmentId": text, "metric": "latency", "value": 61}
            )

            several = several_of(honest)
            for start in range(0, len(several), 500):
                answer = await http.post("/observations", json=several[start : start + 500])
                assert answer.status_code == 202, answer.text

            async def stats() -> dict[str, Any]:
                return dict((await http.get(f"/experiments/{name}/stats")).json())

            async def is_counted() -> bool:
                found = await stats()
                latency = sum(
                    variant["stats"]["metrics"].get("latency", {}).get("units", 0)
                    for variant in found["variants"]
                )
                mostly: int = (found["evidence"] or {}).get("miscounts", {}).get("mostEvents", 0)
                return latency == len(honest) and mostly == 1_000

            await until_found(is_counted)
            found = await stats()
            await take_out(http, found["evidence"]["miscounts"]["heavyUnits"], honest, stats)
        assert workers.stop()[-1] == 0

    error = refused.json()["error"]
    assert (refused.status_code, error["code"]) == (422, "VALUE_OUT_OF_BOUNDS")
    sums: Counter[str] = Counter()
    for variant in found["variants"]:
        for metric, each in variant["stats"]["metrics"].items():
            sums[metric] += int(each["sumMicro"])
    assert sums["click"] == N_UNITS * MICRO  # all users once, the hostile one as well
    assert sums["revenue"] == len(honest) * 15 * MICRO  # and nothing below the floor of one unit
    assert sums["extra"] == len(honest) * MICRO
    assert len([metric for metric in sums if metric in INVENTED]) == 8
    assert found["recommendedAction"] != "investigate"
    assert all(each["contradiction"] is None for each in found["metrics"].values())
    miscounts = found["evidence"]["miscounts"]
    assert (miscounts["mostEvents"], miscounts["fullUnits"]) == (1_000, 1)
    assert miscounts["isHeavy"]
    assert not miscounts["isMemoryFull"]
    assert miscounts["unitsInSeveralVariants"] == 0
    assert dead_letters(settings) == {
        "TOO_MANY_METRICS": len(INVENTED) - 8,
        "TOO_MANY_EVENTS": N_EVENTS - 1_000,
        "VALUE_OUT_OF_BOUNDS": 2,
        "VALUE_NOT_WHOLE": 1,
    }

    code, report = replayed(settings, "verify", "--experiment", name)
    assert report["difference"] is None, json.dumps(report)[:3000]
    assert code == 0
