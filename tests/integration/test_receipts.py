"""First receipts on real servers: kept by Redis, rebuilt from the log, one a unit without it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import sys
from collections.abc import AsyncIterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from streams.kafka.admin import create_topics
from streams.kafka.source import KafkaSource
from streams.local.children import Child
from streams.local.valkey import answers_redis, start_valkey
from streams.projection.connection import connect
from streams.projection.keys import Keys
from streams.projection.receipts import ReceiptStore
from streams.replay.live import projection_of
from streams.replay.partitions import FoldInputs
from streams.replay.verify import verify
from streams.settings import Settings
from tests.integration.api_process import api_of, logged_batches, run_experiment
from tests.integration.engine_ledger import Workers, environment, workers_of
from tests.patience import PATIENCE_S, until_found


@pytest.fixture
def given(settings: Settings) -> Settings:
    return settings


@contextlib.asynccontextmanager
async def stack(
    settings: Settings, directory: Path, n_apis: int = 2
) -> AsyncIterator[tuple[Settings, Child, Workers, list[httpx.AsyncClient]]]:
    """A worker, API processes and a separate Valkey."""
    create_topics(settings)
    valkey, url = await start_valkey(directory / "own")
    settings = settings.model_copy(update={"redis_url": url})
    try:
        async with contextlib.AsyncExitStack() as resources:
            workers = resources.enter_context(workers_of(settings, directory))
            workers.start()
            clients = []
            for number in range(n_apis):
                own = settings.model_copy(
                    update={
                        "data_dir": directory / f"api-{number}",
                        "spool_dir": directory / f"spool-{number}",
                    }
                )
                opened = api_of(own, directory / f"api-{number}", name=f"api-{number}")
                clients.append((await resources.enter_async_context(opened))[1])
            await until_found(lambda: is_complete(settings))
            yield settings, valkey, workers, clients
    finally:
        await valkey.stop()


async def is_complete(settings: Settings) -> bool:
    async with connect(settings.redis_url) as redis:
        return bool(await redis.exists(Keys(settings.namespace).receipts_complete))


async def assign(http: httpx.AsyncClient, name: str, **context: Any) -> dict[str, Any]:
    answer = await http.post(f"/experiments/{name}/assign", json=context)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def sticky(http: httpx.AsyncClient, name: str, **context: Any) -> set[str]:
    """Return the receipts that a unit has had once Redis gives it one again."""
    receipts: set[str] = set()

    async def is_sticky() -> bool:
        found = await assign(http, name, **context)
        receipts.add(found["id"])
        return bool(found["reason"] == "STICKY")

    await until_found(is_sticky)
    return receipts


async def counted(http: httpx.AsyncClient, name: str, units: int) -> None:
    """Return once an experiment has so many units, and make sure that there are no more."""

    async def total() -> int:
        return int((await http.get(f"/experiments/{name}/stats")).json()["totalAssignments"])

    async def is_there() -> bool:
        return await total() >= units

    await until_found(is_there)
    await asyncio.sleep(1.0)
    assert await total() == units


async def test_an_emptied_redis_gets_the_first_receipts_back_from_the_log(
    given: Settings, tmp_path: Path
) -> None:
    async with stack(given, tmp_path) as (settings, _, workers, (http, other)):
        names = [
            await run_experiment(http, unit="user", type="thompson_sampling"),
            await run_experiment(http, unit="session", attributionWindow=3600, type="bayesian_ab"),
        ]
        units = [{"userId": f"u{number}", "sessionId": f"s{number}"} for number in range(60)]

        async def everywhere(client: httpx.AsyncClient) -> dict[tuple[str, str], dict[str, Any]]:
            return {
                (name, unit["userId"]): await assign(client, name, **unit)
                for name in names
                for unit in units
            }

        await until_found(lambda: known_to(other, names))
        first = await everywhere(http)
        receipts = {key: found["id"] for key, found in first.items()}

        async with connect(settings.redis_url) as redis:
            await until_found(lambda: is_logged(settings, len(first)))
            await redis.flushall()
        # The process that has given them out knows them still.
        at_once = await everywhere(http)
        # Those of its memory are in Redis again; the rebuild has to bring the rest.
        async with connect(settings.redis_url) as redis:
            await redis.flushall()
        await until_found(lambda: is_complete(settings))
        elsewhere = await everywhere(other)

        assert {found["reason"] for found in first.values()} == {"ASSIGNED"}
        for again in (at_once, elsewhere):
            assert {key: found["id"] for key, found in again.items()} == receipts
            assert {found["reason"] for found in again.values()} == {"STICKY"}
        for name in names:
            await counted(http, name, len(units))
        assert workers.log().count("first receipts are complete") > 1

        async with connect(settings.redis_url) as redis:
            await ReceiptStore(redis, Keys(settings.namespace), 60).free(names[0], 0)
        assert await experiment(settings, "receipts", "status") == {
            "complete": True,
            "experiments": [names[1]],
        }
        rebuilt = await experiment(settings, "receipts", "rebuild")
        assert rebuilt["complete"]
        assert rebuilt["kept"] == len(units)
        found = await everywhere(other)
        assert {key: each["id"] for key, each in found.items()} == receipts


async def experiment(settings: Settings, *words: str) -> dict[str, Any]:
    """Run a command and return what it printed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "streams.cli", *words, "--json"),
        env=os.environ | environment(settings),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    found: dict[str, Any] = json.loads(output)
    return found


async def test_without_redis_a_unit_has_one_receipt_in_all_processes(
    given: Settings, tmp_path: Path
) -> None:
    async with stack(given, tmp_path) as (settings, valkey, _, clients):
        http = clients[0]
        names = [
            await run_experiment(http, unit="user", type="thompson_sampling"),
            await run_experiment(http, unit="user", type="bayesian_ab", attributionWindow=86_400),
        ]
        await until_found(lambda: known_to(clients[1], names))
        before = {name: (await assign(http, name, userId="before"))["id"] for name in names}
        psutil.Process(valkey.pid).kill()
        await valkey.ended()

        without = {
            name: [
                await assign(client, name, userId="during") for _ in range(10) for client in clients
            ]
            for name in names
        }
        held = {name: await assign(http, name, userId="before") for name in names}

        await valkey.start()
        await valkey.ready(lambda: answers_redis(settings.redis_url), timeout_s=PATIENCE_S)
        await until_found(lambda: is_complete(settings))
        after = {
            (name, client): await sticky(client, name, userId="during")
            for name in names
            for client in clients
        }

        for name in names:
            assert len({found["id"] for found in without[name]}) == 1
            assert {found["reason"] for found in without[name]} == {"STICKY_UNAVAILABLE"}
            assert held[name]["id"] == before[name]
            assert held[name]["reason"] == "STICKY"
            for client in clients:
                assert after[name, client] == {without[name][0]["id"]}
            await counted(http, name, 2)


@pytest.mark.parametrize("kind", ["thompson_sampling", "bayesian_ab"])
async def test_a_late_user_counts_from_the_first_assignment_and_once_after_the_window(
    given: Settings, tmp_path: Path, kind: str
) -> None:
    async with stack(given, tmp_path, n_apis=1) as (_, _, _, (http,)):
        name = await run_experiment(http, unit="user", type=kind, attributionWindow=3)
        await asyncio.sleep(4.0)  # more than a window after the start
        for n_units in count(1):
            late = f"late-{n_units}"
            first = await assign(http, name, userId=late)
            click = {"assignmentId": first["id"], "metric": "click", "value": 1}
            if (await http.post("/observations", json=click)).status_code == 202:
                break  # else the machine has stopped for the window in between
        await asyncio.sleep(4.0)
        again = await assign(http, name, userId=late)
        refused = await http.post("/observations", json=click)

        assert (again["id"], again["reason"]) == (first["id"], "STICKY")
        assert refused.status_code == 422
        assert refused.json()["error"]["code"] == "EXPIRED_RECEIPT"
        await counted(http, name, n_units)

        async def observations() -> bool:
            stats = (await http.get(f"/experiments/{name}/stats")).json()
            return int(stats["totalObservations"]) == 1

        await until_found(observations)


async def test_a_unit_with_two_ids_is_one_unit_also_after_a_flush(
    given: Settings, tmp_path: Path
) -> None:
    async with stack(given, tmp_path) as (settings, _, _, (http, other)):
        names = [
            await run_experiment(http, unit="user", type="thompson_sampling"),
            await run_experiment(http, unit="user", type="bayesian_ab"),
        ]
        await until_found(lambda: known_to(other, names))
        for n_before, name in enumerate(names):
            found = []
            for number in range(10):
                anonymous, user = f"anonymous-{number}", f"user-{number}"
                first = await assign(http, name, userId=anonymous)
                found.append((first["id"], user, anonymous))
                both = await assign(http, name, userId=user, fallbackUnitId=anonymous)
                assert both["id"] == first["id"]
            # Every answer is logged: 20 of each experiment before, and 20 after the flush.
            await until_found(partial(is_logged, settings, 40 * n_before + 20))
            async with connect(settings.redis_url) as redis:
                await redis.flushall()
            await until_found(lambda: is_complete(settings))
            await asyncio.sleep(3.0)  # every process looks for such experiments once a second
            for text, user, anonymous in found:
                assert (await assign(other, name, userId=user))["id"] == text
                assert (await assign(other, name, userId=anonymous))["id"] == text
            await counted(http, name, 10)


async def known_to(http: httpx.AsyncClient, names: list[str]) -> bool:
    answers = [await http.get(f"/experiments/{name}") for name in names]
    return all(answer.is_success and answer.json()["status"] == "running" for answer in answers)


async def is_logged(settings: Settings, impressions: int) -> bool:
    batches = await asyncio.to_thread(logged_batches, settings)
    return sum(len(group.units) for batch in batches for group in batch.groups) >= impressions


async def test_a_lowered_share_loses_no_unit_that_was_in(given: Settings, tmp_path: Path) -> None:
    async with stack(given, tmp_path) as (settings, _, workers, (http, other)):
        name = await run_experiment(http, unit="user", type="bayesian_ab")
        await until_found(lambda: known_to(other, [name]))
        units = [f"u{number}" for number in range(60)]
        first = {unit: await assign(http, name, userId=unit) for unit in units}
        await until_found(lambda: is_logged(settings, len(units)))

        lowered = await http.patch(f"/experiments/{name}", json={"trafficAllocation": 0.1})
        assert lowered.status_code == 200, lowered.text
        during = {unit: await assign(http, name, userId=unit) for unit in units}
        keys = Keys(settings.namespace)

        async def is_rebuilt() -> bool:
            async with connect(settings.redis_url) as redis:
                rebuilt = await ReceiptStore(redis, keys, 60).rebuilt()
            return name in rebuilt

        numbers = itertools.count()  # who was let in before it saw the lower share stays in

        async def admits_few() -> bool:
            new = [await assign(other, name, userId=f"n{next(numbers)}") for _ in range(200)]
            return sum(bool(found["enrolled"]) for found in new) < 80

        await until_found(is_rebuilt)
        await until_found(admits_few)  # it looks once a second for what was rebuilt
        after = {unit: await assign(other, name, userId=unit) for unit in units}

        for again in (during, after):
            assert {unit: found["id"] for unit, found in again.items()} == {
                unit: found["id"] for unit, found in first.items()
            }
        assert {found["reason"] for found in after.values()} == {"STICKY"}
        assert workers.running()


async def test_a_variant_is_added_and_one_stopped_while_users_come(
    given: Settings, tmp_path: Path
) -> None:
    """Under fixed weights, of which nothing was kept: all users keep the first receipt."""
    async with stack(given, tmp_path) as (settings, _, workers, (http, other)):
        name = await run_experiment(http, ("A", "B", "C"), unit="user", type="bayesian_ab")
        await until_found(lambda: known_to(other, [name]))
        units = [f"u{number}" for number in range(60)]
        first = {unit: await assign(http, name, userId=unit) for unit in units}
        await until_found(lambda: is_logged(settings, len(units)))
        stopped = f"{name}_v1"

        answer = await http.patch(f"/experiments/{name}/variants/B", json={"isActive": False})
        assert answer.status_code == 200, answer.text
        answer = await http.post(f"/experiments/{name}/variants", json={"name": "D"})
        assert answer.status_code == 201, answer.text
        numbers = itertools.count()

        async def gives_the_new_one() -> bool:
            new = [await assign(other, name, userId=f"n{next(numbers)}") for _ in range(20)]
            return f"{name}_v3" in {each["variantId"] for each in new if each["id"]}

        await until_found(gives_the_new_one)
        after = {unit: await assign(other, name, userId=unit) for unit in units}
        new = [await assign(other, name, userId=f"later{number}") for number in range(60)]

        assert {unit: each["id"] for unit, each in after.items()} == {
            unit: each["id"] for unit, each in first.items()
        }
        for unit, each in after.items():
            is_redrawn = first[unit]["variantId"] == stopped
            assert each["reason"] == ("REDRAWN" if is_redrawn else "STICKY")
            assert (each["variantId"] == first[unit]["variantId"]) is not is_redrawn
        seen = {each["variantId"] for each in new}
        assert seen == {f"{name}_v{index}" for index in (0, 2, 3)}
        clicks = [{"assignmentId": each["id"], "metric": "click", "value": 1} for each in new]
        assert (await other.post("/observations", json=clicks)).status_code == 202

        async def is_counted() -> bool:
            found = (await http.get(f"/experiments/{name}/stats")).json()
            return bool(found["totalObservations"] == len(clicks))

        await until_found(is_counted)
        stats = (await http.get(f"/experiments/{name}/stats")).json()
        of_stopped = next(each for each in stats["variants"] if each["id"] == stopped)
        had_it = sum(each["variantId"] == stopped for each in first.values())
        assert of_stopped["isActive"] is False
        assert (of_stopped["stats"]["assignments"], of_stopped["stats"]["allocation"]) == (
            had_it,
            0,
        )
        assert sum(each["stats"]["allocation"] for each in stats["variants"]) == 1.0
        assert not stats["evidence"]["miscounts"]["unitsInSeveralVariants"]

        inputs = FoldInputs.of(settings)
        report = await asyncio.to_thread(
            verify, KafkaSource(settings), projection_of(settings), inputs
        )
        assert report.is_equal, report.difference
        assert workers.running()
