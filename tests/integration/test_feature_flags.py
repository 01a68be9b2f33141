"""Feature flags and keys on a running stack, with two API processes."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from streams.kafka.admin import create_topics
from streams.settings import Settings
from tests.api.memory import definition
from tests.integration.api_process import api_of, logged_batches, logged_units
from tests.integration.engine_ledger import workers_of
from tests.patience import patience, until_found

FLAGS = "/ofrep/v1/evaluate/flags"
CONTEXT = {"context": {"targetingKey": "user-123"}}
CONFIG = {"key": "hero", "type": "bayesian_ab"}


async def test_two_processes_give_one_key_to_one_experiment_and_hear_of_each_other(
    settings: Settings, tmp_path: Path
) -> None:
    create_topics(settings)
    with workers_of(settings, tmp_path) as workers:
        workers.start()
        async with (
            api_of(settings, tmp_path, name="api-1") as (_, one),
            api_of(settings, tmp_path, name="api-2") as (_, two),
        ):
            bodies = [definition({**CONFIG, "name": f"Hero {index}"}) for index in range(6)]
            created = await asyncio.gather(
                *(
                    (one, two)[index % 2].post("/experiments", json=body)
                    for index, body in enumerate(bodies)
                )
            )
            started = await two.post("/experiments/hero/start")

            async def is_served():
                return (await one.post(f"{FLAGS}/hero", json=CONTEXT)).json()["reason"] == "SPLIT"

            await until_found(is_served)
            flag = (await two.post(f"{FLAGS}/hero", json=CONTEXT)).json()
            everything = await one.post(FLAGS, json=CONTEXT)
            etag = {"If-None-Match": everything.headers["etag"]}
            unchanged = await one.post(FLAGS, json=CONTEXT, headers=etag)
            url = everything.json()["eventStreams"][0]["url"]
            async with one.stream("GET", url) as events:
                lines = events.aiter_lines()
                await two.post("/experiments/hero/pause")
                changed = unchanged
                async with patience():
                    while changed.status_code == 304:  # the first event may be that of the start
                        event = await next_event(lines)
                        changed = await one.post(FLAGS, json=CONTEXT, headers=etag)
        units = logged_units(logged_batches(settings))

    assert sorted(each.status_code for each in created) == [201] + [409] * 5
    assert started.json()["key"] == "hero"
    [listed] = everything.json()["flags"]
    assert flag["metadata"].pop("assignmentId")
    assert listed == flag
    assert unchanged.status_code == 304
    assert event["type"] == "refetchEvaluation"
    assert (changed.status_code, changed.json()["flags"][0]["reason"]) == (200, "DISABLED")
    assert len(set(units)) == 1  # of the evaluations of one flag; that of all logs nothing


async def next_event(lines) -> dict[str, str]:
    async for line in lines:
        if line.startswith("data: "):
            found: dict[str, str] = json.loads(line.removeprefix("data: "))
            return found
    raise EOFError
