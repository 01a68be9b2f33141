"""This release beside the next one, in either order: nothing is lost or counted wrongly."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from schemas import library
from streams.kafka.admin import create_topics
from streams.settings import Settings
from tests.integration.api_process import api_of, run_experiment
from tests.integration.engine_ledger import Ledger, Workers, environment, workers_of
from tests.integration.next_release import next_release
from tests.patience import PATIENCE_S, until_found

FEATURE = {
    "config": {
        "name": "Later",
        "type": "thompson_sampling",
        "primaryMetric": "click",
        "warmUpS": 5,
    },
    "variants": [{"name": "A", "isControl": True}, {"name": "B"}],
}


WRITTEN = (
    ("impressions", "impression_batch"),
    ("observations", "observation_batch"),
    ("tallies", "tally_cell"),
    ("posteriors", "snapshot"),
)
"""Topics that have records of one schema only, and which."""


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    return next_release(tmp_path_factory.mktemp("next") / "release")


@dataclass
class Traffic:
    """Assignments and observations without a break, by whichever API is to be used."""

    experiment: str
    http: httpx.AsyncClient
    assigned: Counter[str] = field(default_factory=Counter)
    observed: int = 0
    _is_paused: bool = False
    _is_idle: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        path = f"/experiments/{self.experiment}"
        while True:
            if self._is_paused:
                self._is_idle.set()
                await asyncio.sleep(0.01)
                continue
            http = self.http
            answer = await http.post(f"{path}/assign", json={"device": "mobile"})
            assert answer.status_code == 200, answer.text
            receipt = answer.json()
            self.assigned[receipt["variantId"]] += 1
            click = {"assignmentId": receipt["id"], "metric": "click", "value": 1, "eventId": "c"}
            accepted = await http.post("/observations", json=[click])
            assert accepted.json() == {"accepted": 1}
            self.observed += 1

    async def use(self, http: httpx.AsyncClient) -> None:
        """Go over to another API; the one before has no open request then."""
        await self.pause()
        self.http = http
        self.go_on()

    async def pause(self) -> None:
        self._is_idle.clear()
        self._is_paused = True
        await asyncio.wait_for(self._is_idle.wait(), PATIENCE_S)

    def go_on(self) -> None:
        self._is_paused = False

    async def is_counted(self) -> bool:
        stats = (await self.http.get(f"/experiments/{self.experiment}/stats")).json()
        counted = {each["id"]: each["stats"]["assignments"] for each in stats["variants"]}
        assert stats["totalAssignments"] <= sum(self.assigned.values())
        assert stats["totalObservations"] <= self.observed
        return stats["totalObservations"] == self.observed and counted == dict(self.assigned)

    async def progress(self) -> None:
        """Wait until more has been counted than now."""

        async def total() -> int:
            answer = await self.http.get(f"/experiments/{self.experiment}/stats")
            return int(answer.json()["totalAssignments"])

        before = await total()
        await until_found(lambda: _above(total, before))


async def _above(total: Any, before: int) -> bool:
    return bool(await total() > before)


def run_cli(settings: Settings, release: Path | None, *options: str) -> tuple[int, str]:
    """Run a command of a release, and return its exit code and what it says."""
    ended = subprocess.run(
        [
            *(sys.executable, *(["-P"] if release else []), "-m", "streams.cli", *options),
            *("--api", "http://127.0.0.1:1"),  # no embedded stack there: the environment holds
        ],
        env=os.environ
        | environment(settings)
        | {"PATH": "", "PYTHONPATH": str(release or Path.cwd())},
        capture_output=True,
        check=False,
        timeout=PATIENCE_S,
    )
    return ended.returncode, ended.stdout.decode() + ended.stderr.decode()


async def cli(settings: Settings, release: Path | None, *options: str) -> tuple[int, str]:
    return await asyncio.to_thread(run_cli, settings, release, *options)


async def verify(settings: Settings, release: Path | None) -> None:
    code, said = await cli(settings, release, "replay", "verify", "--json")
    assert code == 0, said


async def living(ledger: Ledger, workers: Workers, count: int) -> None:
    async def are_ready() -> bool:
        assert 70 not in workers.endings(), workers.log()
        return ledger.ready_workers() == count

    await until_found(are_ready)


async def roll_workers(
    workers: Workers, ledger: Ledger, traffic: Traffic, release: Path | None
) -> None:
    """Replace the workers one by one."""
    for old in workers.running():
        workers.start(release)
        await living(ledger, workers, len(workers.running()))
        await traffic.progress()
        old.terminate()
        assert await asyncio.to_thread(old.wait, PATIENCE_S) == 0, workers.log()
        await living(ledger, workers, len(workers.running()))
        await traffic.progress()


def written(ledger: Ledger, topic: str, name: str) -> set[int]:
    """Return the versions of a schema that records of a topic have; 0 for the next release's."""
    known = {bytes(each.fingerprint): each.version for each in library.versions(name)}
    values = [value for _, value in ledger.read(topic) if value is not None]
    return {known.get(value[2:10], 0) for value in values if value[:2] == b"\xc3\x01"}


@contextlib.asynccontextmanager
async def running(traffic: Traffic) -> AsyncIterator[None]:
    task = asyncio.create_task(traffic.run())
    try:
        yield
        await traffic.pause()
        assert not task.done(), task.exception()
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def is_refused(http: httpx.AsyncClient) -> None:
    """Check that a feature of the next release cannot be used yet, and all else can."""
    refused = await http.post("/experiments", json=FEATURE)
    assert refused.status_code == 409, refused.text
    error = refused.json()["error"]
    assert (error["code"], error["path"]) == ("SCHEMA_NOT_ENABLED", "config.warmUpS")
    await run_experiment(http)  # without the new field, workers of this release read it


async def is_not_enabled(settings: Settings, release: Path, behind: str) -> None:
    """Check that newer versions are not enabled while a process cannot read them."""
    code, said = await cli(settings, release, "schemas", "enable")
    assert (code, behind in said, "cannot read" in said) == (1, True, True), said


async def is_enabled(settings: Settings, release: Path, ledger: Ledger) -> None:
    """Enable the newer versions, and wait until all of them are written."""
    code, said = await cli(settings, release, "schemas", "enable")
    assert code == 0, said

    async def are_written() -> bool:
        return all(0 in written(ledger, topic, name) for topic, name in WRITTEN)

    await until_found(are_written)


async def is_exact(
    settings: Settings, ledger: Ledger, traffic: Traffic, *releases: Path | None
) -> None:
    """Check that all that was sent is counted, and that a replay by each release agrees."""
    await traffic.pause()
    await until_found(traffic.is_counted)
    for release in releases:
        await verify(settings, release)
    assert ledger.dead_letters() == {}


@pytest.mark.timeout(900)  # ten processes are started one after the other
@pytest.mark.parametrize("first", ["workers", pytest.param("api", marks=pytest.mark.long)])
async def test_every_count_is_exact_while_one_release_replaces_another(
    settings, tmp_path, release, first
):
    """Two workers and an API are replaced one by one, in either order, under traffic."""
    settings = settings.model_copy(update={"command_timeout_s": 30.0})
    create_topics(settings)
    ledger = Ledger(settings)
    async with AsyncExitStack() as stack:
        workers = stack.enter_context(workers_of(settings, tmp_path))
        workers.start()
        workers.start()
        await living(ledger, workers, 2)
        old_api = await stack.enter_async_context(AsyncExitStack())
        _, http = await old_api.enter_async_context(api_of(settings, tmp_path / "n", name="n"))
        traffic = Traffic(await run_experiment(http), http)
        await stack.enter_async_context(running(traffic))
        await traffic.progress()
        if first == "workers":
            await roll_workers(workers, ledger, traffic, release)
            await is_not_enabled(settings, release, "api")
        own_spool = settings.model_copy(update={"spool_dir": tmp_path / "next-spool"})
        _, http = await stack.enter_async_context(
            api_of(own_spool, tmp_path / "m", name="m", release=release)
        )
        await traffic.use(http)
        await old_api.aclose()
        await traffic.progress()
        await is_refused(http)
        if first == "api":
            await is_not_enabled(settings, release, "worker")
            await roll_workers(workers, ledger, traffic, release)
        await is_exact(settings, ledger, traffic, None, release)
        for topic, name in WRITTEN:
            assert written(ledger, topic, name) == {library.current(name).version}

        traffic.go_on()
        await is_enabled(settings, release, ledger)

        accepted = await http.post("/experiments", json=FEATURE)
        assert accepted.status_code == 201, accepted.text
        assert accepted.json()["config"]["warmUpS"] == 5
        for worker in workers.running():  # what the next release has written is read back
            workers.start(release)
            worker.kill()
        await traffic.progress()
        await is_exact(settings, ledger, traffic, release)
        late = workers.start()
        assert await asyncio.to_thread(late.wait, PATIENCE_S) == 2, workers.log()
        assert "newer than what this release reads" in workers.log()
