"""Another generation is built beside the active one and takes over; nothing is lost or doubled."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from streams.kafka.admin import create_topics, partitions_of_topics
from streams.kafka.generations import append_change
from streams.model.events import CommandKind
from streams.model.generations import ChangeKind
from streams.projection.keys import Keys
from streams.settings import Settings
from streams.wire.cells import decode_cell, encode_cell
from streams.wire.decisions import decode_decision
from tests.integration.api_process import api_of, run_experiment
from tests.integration.engine_ledger import Ledger, environment, workers_of
from tests.patience import PATIENCE_S, patience, until, until_found

PAUSE_S = 0.005
EXPERIMENT = 7


@pytest.fixture
def rebuilt(settings: Settings) -> Settings:
    return settings.model_copy(update={"generation": 2})


@pytest.fixture
def ledger(settings: Settings) -> Ledger:
    return Ledger(settings)


def command(*words: str) -> list[str]:
    # No embedded stack has port 1, so the settings are those of the environment.
    api = ("--api", "http://127.0.0.1:1")
    return [sys.executable, "-m", "streams.cli", "replay", *words, *api]


def replay(settings: Settings, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command of `experiment replay` to its end."""
    return subprocess.run(
        command(*words),
        env=environment(settings) | {"PATH": "", "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )


def verified(settings: Settings) -> dict[str, Any]:
    ended = replay(settings, "verify", "--json", "--processes", "1")
    assert ended.stdout, ended.stderr
    return cast(dict[str, Any], json.loads(ended.stdout))


def live_workers(ledger: Ledger) -> Counter[int]:
    """Return how many workers each generation has."""
    names = cast(set[bytes], ledger.redis.smembers(ledger.keys.workers))
    signs = [ledger.redis.get(ledger.keys.worker(name.decode())) for name in names]
    return Counter(json.loads(cast(bytes, sign))["generation"] for sign in signs if sign)


def active_generation(ledger: Ledger) -> int:
    name = ledger.keys.active_generation
    return int(cast(bytes | None, ledger.redis.hget(name, "generation")) or 0)


@dataclass
class Traffic:
    """Assignments and clicks over HTTP.

    Attributes:
        assigned: How many were answered.
        clicked: How many clicks were accepted.
        failures: Failed requests.
    """

    assigned: int = 0
    clicked: int = 0
    failures: list[str] = field(default_factory=list)
    ends: bool = False

    async def run(self, http: httpx.AsyncClient, experiment: str) -> None:
        while not self.ends:
            answer = await http.post(f"/experiments/{experiment}/assign", json={})
            if not answer.is_success or not answer.json().get("id"):
                self.failures.append(answer.text)
                continue
            self.assigned += 1
            click = {"assignmentId": answer.json()["id"], "metric": "click", "value": 1}
            if self.assigned % 3 == 0:
                accepted = await http.post("/observations", json=[click | {"eventId": "c"}])
                self.clicked += accepted.json()["accepted"]
            await asyncio.sleep(0.002)

    @contextlib.asynccontextmanager
    async def flows(self, http: httpx.AsyncClient, experiment: str) -> AsyncIterator[None]:
        task = asyncio.create_task(self.run(http, experiment))
        try:
            yield
        finally:
            await asyncio.sleep(0.3)
            self.ends = True  # and every request is answered: an assignment counts either way
            await task


@contextlib.contextmanager
def building(settings: Settings, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A `rebuild start --switch` that runs."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command("rebuild", "start", "--switch", "--processes", "1"),
            env=environment(settings) | {"PATH": "", "PYTHONPATH": ":".join(sys.path)},
            stdout=output,
            stderr=output,
        )
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE_S) == 0, log.read_text()


async def is_counted(http: httpx.AsyncClient, experiment: str, traffic: Traffic) -> bool:
    stats = (await http.get(f"/experiments/{experiment}/stats")).json()
    counted = stats["totalAssignments"], stats["totalObservations"]
    assert counted <= (traffic.assigned, traffic.clicked)
    return counted == (traffic.assigned, traffic.clicked)


async def until_counted(http: httpx.AsyncClient, experiment: str, traffic: Traffic) -> None:
    await until_found(lambda: is_counted(http, experiment, traffic))


async def test_a_generation_is_built_and_served_while_assignments_go_on(
    settings: Settings, rebuilt: Settings, ledger: Ledger, tmp_path: Path
) -> None:
    create_topics(settings)
    traffic = Traffic()
    with workers_of(settings, tmp_path / "one") as old:
        old.start()
        async with api_of(settings, tmp_path) as (_, http):
            name = await run_experiment(http)
            log = tmp_path / "rebuild.log"
            async with contextlib.AsyncExitStack() as stack:
                await stack.enter_async_context(traffic.flows(http, name))
                build = stack.enter_context(building(settings, log))
                async with patience():
                    while b"is active" not in log.read_bytes():
                        assert build.poll() is None, log.read_text()
                        await asyncio.sleep(0.1)
                assert active_generation(ledger) == 2
                stopped = await asyncio.to_thread(old.stop)
                assert stopped == [0]
                before = traffic.assigned
                await asyncio.to_thread(until, lambda: traffic.assigned > before)
                # The old one does not come back when Redis forgets which is active.
                ledger.redis.delete(*ledger.redis.keys(f"{settings.namespace}:*"))
                await asyncio.to_thread(until, lambda: active_generation(ledger) == 2)

                refused = await asyncio.to_thread(replay, settings, "rebuild", "drop", "2")
                assert (refused.returncode, "GENERATION_SERVED" in refused.stderr) == (1, True)
                dropped = await asyncio.to_thread(replay, settings, "rebuild", "drop", "1")
                assert dropped.returncode == 0, dropped.stderr
                left = {each.removeprefix(settings.topic_prefix) for each in topics(settings)}
                assert not left & {"tallies", "posteriors"}
                assert {"g2-tallies", "commands", "decisions"} <= left
                assert not ledger.redis.keys(f"{settings.namespace}:v1:snapshot:*")
                late = await asyncio.to_thread(lambda: old.start().wait(PATIENCE_S))
                assert late == 2
                assert "was dropped" in old.log()

                paused = await http.post(f"/experiments/{name}/pause")
                assert paused.status_code == 200
                assert (await http.post(f"/experiments/{name}/resume")).status_code == 200
                before = traffic.assigned
                await asyncio.to_thread(until, lambda: traffic.assigned > before)
                traffic.failures.clear()  # paused, it assigned no unit
                await asyncio.sleep(0.5)
                assert not traffic.failures
            # The workers have ended with the command. Others continue, and find all that was sent.
            with workers_of(rebuilt, tmp_path / "two") as new:
                new.start()
                await until_counted(http, name, traffic)
                report = await asyncio.to_thread(verified, settings)
    assert report["difference"] is None
    assert report["commands"] == 4


def topics(settings: Settings) -> list[str]:
    found = partitions_of_topics(settings)
    return [name for name in found if name.startswith(settings.topic_prefix)]


@contextlib.contextmanager
def poison(ledger: Ledger) -> Iterator[None]:
    """Unusable records, without a break."""
    done = threading.Event()

    def send() -> None:
        while not done.wait(PAUSE_S):
            ledger.poison("observations", b"noise", "UNDECODABLE_RECORD")

    sender = threading.Thread(target=send)
    sender.start()
    try:
        yield
    finally:
        done.set()
        sender.join()
        ledger.producer.flush()


@pytest.mark.long
def test_what_follows_from_a_record_is_shown_however_often_the_generations_change(
    settings: Settings, rebuilt: Settings, ledger: Ledger, tmp_path: Path
) -> None:
    create_topics(settings)
    answered = 0
    with (
        workers_of(settings, tmp_path / "one") as old,
        workers_of(rebuilt, tmp_path / "two") as new,
    ):
        old.start()
        ledger.start_experiment(EXPERIMENT, minSampleSize=10)
        with ledger.traffic(EXPERIMENT), poison(ledger):
            new.start()
            until(lambda: live_workers(ledger) == {1: 1, 2: 1})
            for number in (2, 1, 2):
                append_change(settings, number, ChangeKind.SERVED)
                while active_generation(ledger) != number:
                    kind = CommandKind.RESUME if answered % 2 else CommandKind.PAUSE
                    assert ledger.command(EXPERIMENT, kind)["accepted"]
                    answered += 1
            # A crash in the middle of it all.
            new.start()
            new.running()[0].kill()
        if answered % 2:
            assert ledger.command(EXPERIMENT, CommandKind.RESUME)["accepted"]
            answered += 1
        assert old.stop() == [0]
        ledger.keys = Keys(settings.namespace, 2)
        until(lambda: ledger.is_exact(EXPERIMENT))
        until(lambda: ledger.dead_letters() == ledger.letters)
        decisions = [decode_decision(value) for _, value in ledger.read("decisions")]
        report = until(lambda: equal_report(settings)) or {}
    commands = {each.evidence["commandId"] for each in decisions if each.kind == "command"}
    assert len(commands) == 2 + answered
    assert report["commands"] >= 2 + answered
    assert report["behind"] == 0


def equal_report(settings: Settings) -> dict[str, Any] | None:
    """Return the report of a comparison, None when it differs (the take-over has its rounds)."""
    report = verified(settings)
    return report if report["difference"] is None else None


def test_a_generation_that_is_not_what_the_log_gives_does_not_become_active(
    settings: Settings, rebuilt: Settings, ledger: Ledger, tmp_path: Path
) -> None:
    create_topics(settings)
    with (
        workers_of(settings, tmp_path / "one") as old,
        workers_of(rebuilt, tmp_path / "two") as new,
    ):
        old.start()
        ledger.start_experiment(EXPERIMENT)
        for receipt in ledger.assign(EXPERIMENT, 0):
            ledger.observe(receipt)
        ledger.producer.flush()
        until(lambda: ledger.is_exact(EXPERIMENT))
        unknown = replay(settings, "rebuild", "switch", "2")
        built = replay(settings, "rebuild", "start", "--processes", "1")
        alone = replay(settings, "rebuild", "switch", "2")
        new.start()
        until(lambda: live_workers(ledger) == {1: 1, 2: 1})
        alive = replay(settings, "rebuild", "drop", "2")
        shown = replay(settings, "rebuild", "status", "--json")
        cell = max(
            (decode_cell(value) for _, value in ledger.read("g2-tallies")),
            key=lambda each: each.last_offset,
        )
        tampered = encode_cell(replace(cell, duplicates=cell.duplicates + 1))
        ledger.produce("g2-tallies", tampered, "a compacted topic wants a key", partition=0)
        ledger.producer.flush()
        different = replay(settings, "rebuild", "switch", "2", "--processes", "1")

        assert "GENERATION_UNKNOWN" in unknown.stderr
        assert built.returncode == 0, built.stderr
        assert "Equal" in built.stdout
        assert "GENERATION_WITHOUT_WORKERS" in alone.stderr
        assert "GENERATION_HAS_WORKERS" in alive.stderr
        assert [each["is_active"] for each in json.loads(shown.stdout)] == [True, False]
        assert "GENERATION_DIFFERENT" in different.stderr
        assert {each.returncode for each in (unknown, alone, alive, different)} == {1}
        assert active_generation(ledger) == 1
