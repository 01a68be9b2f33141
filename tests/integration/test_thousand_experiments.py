"""A thousand targeted experiments, assigned by the API and beside it while keys are rotated."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path
from typing import Any

import httpx
from pydantic import SecretStr

from experiment_streams_client.local import Keyring, LocalAssigner, LocalAssignment, LocalRequest
from streams.kafka.admin import create_topics
from streams.model.events import CommandKind
from streams.model.experiment_keys import key_number
from streams.model.ids import experiment_id
from streams.model.quantities import MICRO
from streams.settings import Settings
from tests.integration.api_process import api_of, metric, run_experiment
from tests.integration.engine_ledger import Ledger, workers_of
from tests.integration.test_key_rotation import NEW, OLD, key_of
from tests.patience import until_found, until_true

EXPERIMENTS = 1_000
NAMES = ("A", "B", "C")
FLOWS = 3
VISITS = 40
"""At least so many in every phase of the rotation."""


def commands(ledger: Ledger) -> None:
    """Create and start the experiments, each for the requests of one page."""
    for n in range(EXPERIMENTS):
        number = key_number(f"page-{n}")
        config = {
            "name": f"page {n}",
            "key": f"page-{n}",
            "type": "bayesian_ab",
            "unit": "user",
            "primaryMetric": "click",
            "targeting": {"==": [{"var": "features.page"}, n]},
        }
        variants = [
            {"name": name, "isControl": not index, "config": {"ad": f"{n}-{name}"}}
            for index, name in enumerate(NAMES)
        ]
        ledger.append(number, CommandKind.CREATE, {"config": config, "variants": variants})
        ledger.append(number, CommandKind.START, {"receiptKey": 1})


class Traffic:
    """Users who are assigned by the API, by the assigner or by both, and click.

    Args:
        ledger: Notes what must be counted.
        http: The API.
        assigner: The process beside it.
    """

    def __init__(self, ledger: Ledger, http: httpx.AsyncClient, assigner: LocalAssigner) -> None:
        self.visits = 0
        self.experiments: set[int] = set()
        self._ledger = ledger
        self._http = http
        self._assigner = assigner

    @contextlib.asynccontextmanager
    async def flowing(self) -> AsyncIterator[None]:
        """Let users come until the block ends; those who are there by then are served."""
        ending = asyncio.Event()
        tasks = [asyncio.create_task(self._flow(start, ending)) for start in range(FLOWS)]
        try:
            yield
        finally:
            ending.set()
            await asyncio.gather(*tasks)

    async def more(self) -> None:
        """Return once so many more have come."""
        goal = self.visits + VISITS

        async def reached() -> bool:
            return self.visits >= goal

        await until_found(reached)

    async def _flow(self, start: int, ending: asyncio.Event) -> None:
        for number in count(start, FLOWS):
            if ending.is_set():
                return
            await self._visit(number)
            self.visits += 1

    async def _visit(self, number: int) -> None:
        """Ask for the experiment of a page, and for one of another page."""
        page = number * 37 % EXPERIMENTS
        name, user = f"page-{page}", f"user-{number}"
        found = [
            await ask(name, user, page)
            for ask in ((self._of_api,), (self._here,), (self._of_api, self._here))[number % 3]
        ]
        [receipt] = {each["id"] for each in found}
        opened = self._ledger.opened(receipt)
        for each in found:
            assert (each["reason"], each["variantName"]) == ("ASSIGNED", NAMES[opened.variant])
            assert each["config"] == {"ad": f"{page}-{NAMES[opened.variant]}"}
            assert each["experimentId"] == experiment_id(opened.experiment)
        assert opened.experiment == key_number(name)
        other = await (self._of_api, self._here)[number % 2](name, user, page + 1)
        assert (other["reason"], other["variantName"], other["id"]) == ("NOT_TARGETED", "A", None)
        click = {"assignmentId": receipt, "metric": "click", "value": 1, "eventId": user}
        taken = await self._http.post("/observations", json=click)
        assert (taken.status_code, taken.json()) == (202, {"accepted": 1}), taken.text
        self.experiments.add(opened.experiment)
        self._ledger.assignments[opened.experiment, opened.variant] += 1
        self._ledger.count(receipt, "click", MICRO)

    async def _of_api(self, name: str, user: str, page: int) -> dict[str, Any]:
        body = {"userId": user, "features": {"page": page}}
        answer = await self._http.post(f"/experiments/{name}/assign", json=body)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def _here(self, name: str, user: str, page: int) -> dict[str, Any]:
        request = LocalRequest(user_id=user, features={"page": page})
        return as_api(await self._assigner.assign_async(name, request))


def as_api(found: LocalAssignment) -> dict[str, Any]:
    """Return the fields that are compared, as the API names them."""
    return {
        "id": found.id,
        "experimentId": found.experiment_id,
        "variantName": found.variant_name,
        "config": found.config,
        "reason": found.reason,
    }


async def test_keys_rotate_under_the_traffic_of_a_thousand_targeted_experiments(
    settings: Settings, tmp_path: Path
) -> None:
    create_topics(settings)
    file = tmp_path / "receipt-keys"
    file.write_text(OLD + "\n")
    both = SecretStr(f"{OLD},{NEW}")
    ledger = Ledger(settings.model_copy(update={"receipt_keys": both, "receipt_keys_file": None}))
    settings = settings.model_copy(
        update={
            "receipt_keys": None,
            "receipt_keys_file": file,
            "max_experiments": EXPERIMENTS + 1,
        }
    )
    with workers_of(settings, tmp_path) as workers:
        worker = workers.start()
        commands(ledger)
        async with api_of(settings, tmp_path) as (api, http):

            async def all_run() -> bool:
                running = await metric(http, 'experiment_experiments{status="running"}')
                return running == EXPERIMENTS

            await until_found(all_run)
            assigner = await asyncio.to_thread(
                LocalAssigner, str(http.base_url), Keyring.parse(OLD), tmp_path / "ads",
                every_s=0.05, timeout_s=30.0,
            )  # fmt: skip
            try:
                traffic = Traffic(ledger, http, assigner)

                async def roll(text: str) -> None:
                    """Have the processes take the file one after the other, under traffic."""
                    file.write_text(text)
                    for pid in (worker.pid, api.pid):
                        assert pid is not None
                        os.kill(pid, signal.SIGHUP)
                        await traffic.more()

                async with traffic.flowing():
                    await traffic.more()
                    await roll(f"{OLD}\n{NEW}\n")
                    await roll(f"{NEW}\n{OLD}\n")
                    newer = await run_experiment(http, key="newer", type="bayesian_ab", unit="user")
                    await traffic.more()
                assert assigner.asked == 0
                # Of one that began with the new key, which the assigner does not have.
                await until_true(lambda: "newer" in assigner.experiments.by_name)
                found = await assigner.assign_async("newer", LocalRequest(user_id="user"))
                assert (found.experiment_id, key_of(str(found.id))) == (newer, 2)
            finally:
                assert await asyncio.to_thread(assigner.close)

            left = set(traffic.experiments)

            async def counted() -> bool:
                """Look at those alone that were not counted before."""
                left.difference_update([*filter(ledger.is_exact, left)])
                return not left

            await until_found(counted)

    assert len(traffic.experiments) > VISITS
    assert workers.endings() == [0] * len(workers.endings())
