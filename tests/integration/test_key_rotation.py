"""Receipt keys are rotated under traffic: no receipt is refused, and nothing counts twice."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from base64 import urlsafe_b64decode
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import httpx

from streams.kafka.admin import create_topics
from streams.kafka.source import KafkaSource
from streams.replay.live import projection_of
from streams.replay.partitions import FoldInputs
from streams.replay.verify import verify
from streams.settings import Settings
from tests.integration.api_process import api_of, run_experiment
from tests.integration.engine_ledger import workers_of
from tests.patience import until_found

OLD, NEW = f"1:{'5a' * 32}", f"2:{'c3' * 32}"
USERS = 60


def key_of(receipt: str) -> int:
    """Return the id of the key that signed: the second byte."""
    return urlsafe_b64decode(receipt[:4])[1]


@dataclass
class Traffic:
    """Users who come again and again, and click with every receipt they get.

    Attributes:
        receipts: Receipts by experiment and user; a user of an experiment has one.
    """

    apis: list[httpx.AsyncClient]
    experiments: list[str]
    receipts: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    clicks: int = 0

    @contextlib.asynccontextmanager
    async def flowing(self) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self._flow(start)) for start in range(3)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            for ended in await asyncio.gather(*tasks, return_exceptions=True):
                assert isinstance(ended, asyncio.CancelledError), ended

    async def more(self, rounds: int = 40) -> None:
        goal = self.clicks + rounds

        async def reached() -> bool:
            return self.clicks >= goal

        await until_found(reached)

    async def _flow(self, start: int) -> None:
        for number in count(start, 3):
            api = self.apis[number % len(self.apis)]
            name = self.experiments[number % len(self.experiments)]
            user = f"user-{number * 7 % USERS}"
            # Shielded, so that what is under way at the end is counted.
            await asyncio.shield(self._visit(api, name, user))

    async def _visit(self, api: httpx.AsyncClient, name: str, user: str) -> None:
        answer = await api.post(f"/experiments/{name}/assign", json={"userId": user})
        assert answer.status_code == 200, answer.text
        receipts = self.receipts.setdefault((name, user), set())
        receipts.add(answer.json()["id"])
        for receipt in receipts:
            body = {"assignmentId": receipt, "metric": "click", "value": 1, "eventId": "once"}
            taken = await api.post("/observations", json=body)
            assert taken.status_code == 202, taken.text
            assert taken.json()["accepted"] == 1, taken.text
        self.clicks += 1


async def test_keys_are_rotated_under_traffic_without_a_refused_receipt(
    settings: Settings, tmp_path: Path
) -> None:
    create_topics(settings)
    file = tmp_path / "receipt-keys"
    file.write_text(OLD + "\n")
    settings = settings.model_copy(update={"receipt_keys": None, "receipt_keys_file": file})
    with workers_of(settings, tmp_path) as workers:
        worker = workers.start()
        async with (
            api_of(settings, tmp_path, name="api-1") as (first, http),
            api_of(
                settings.model_copy(update={"spool_dir": tmp_path / "2"}), tmp_path, name="api-2"
            ) as (second, other),
        ):
            fixed = await run_experiment(http, type="bayesian_ab")
            adaptive = await run_experiment(http, unit="user")

            async def everywhere() -> bool:
                found = [await other.get(f"/experiments/{name}") for name in (fixed, adaptive)]
                return all(each.is_success and each.json()["status"] == "running" for each in found)

            await until_found(everywhere)
            traffic = Traffic([http, other], [fixed, adaptive])
            processes = [worker.pid, first.pid, second.pid]

            async def roll(text: str) -> None:
                """Have the processes take the file one after the other, under traffic."""
                file.write_text(text)
                for pid in processes:
                    assert pid is not None
                    os.kill(pid, signal.SIGHUP)
                    await traffic.more()

            async with traffic.flowing():
                await traffic.more()
                await roll("not keys at all")  # changes nothing
                await roll(f"{OLD}\n{NEW}  # verifies\n")
                await roll(f"{NEW}\n{OLD}\n")
                newer = await run_experiment(http, type="bayesian_ab")
                await until_found(lambda: is_running(other, newer))
                traffic.experiments.append(newer)
                await traffic.more(200)

            sent = {
                name: sum(1 for found, _ in traffic.receipts if found == name)
                for name in (fixed, adaptive, newer)
            }

            async def counted() -> bool:
                for name, users in sent.items():
                    stats = (await http.get(f"/experiments/{name}/stats")).json()
                    reports = [each["stats"] for each in stats["variants"]]
                    clicks = sum(
                        each["metrics"].get("click", {}).get("units", 0) for each in reports
                    )
                    if (stats["totalAssignments"], clicks) != (users, users):
                        return False
                return True

            await until_found(counted)
            report = await asyncio.to_thread(
                verify,
                KafkaSource(settings),
                projection_of(settings),
                FoldInputs.of(settings),
                processes=1,
            )
            stats = [(await http.get(f"/experiments/{name}/stats")).json() for name in sent]

    assert [each["totalObservations"] for each in stats] == list(sent.values())
    keys = {
        name: {key_of(each) for (found, _), ids in traffic.receipts.items() if found == name
               for each in ids}
        for name in sent
    }  # fmt: skip
    assert keys == {fixed: {1}, adaptive: {1}, newer: {2}}
    assert all(len(ids) == 1 for ids in traffic.receipts.values())
    assert report.is_equal, report.difference
    assert report.key_ids == (2, 1)
    assert workers.endings() == [0] * len(workers.endings())
    assert "cannot be read again, keeping what there was" in workers.log()


async def is_running(http: httpx.AsyncClient, name: str) -> bool:
    """Return whether an API knows that an experiment runs."""
    answer = await http.get(f"/experiments/{name}")
    return answer.is_success and answer.json()["status"] == "running"
