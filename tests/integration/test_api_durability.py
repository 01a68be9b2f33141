"""Durability of answered requests: SIGKILL, Kafka or Redis unavailable, a stop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import secrets
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from api.delivery import RETRY_PAUSE_S
from streams.experiments.definition import parse_definition
from streams.experiments.lifecycle import Experiment, Status
from streams.experiments.snapshot import Snapshot
from streams.kafka.admin import create_topics
from streams.local.tansu import start_tansu
from streams.local.valkey import start_valkey
from streams.model.receipts import Keyring
from streams.projection.connection import connect
from streams.projection.keys import Keys
from streams.projection.receipts import ReceiptStore
from streams.projection.writer import ProjectionWriter, SnapshotRecord
from streams.settings import Settings
from streams.wire.snapshots import encode_snapshot
from tests.api.memory import definition, snapshot_of
from tests.integration.api_process import api_of, logged_batches, logged_units, metric
from tests.integration.engine_ledger import environment
from tests.patience import PATIENCE_S, until_found

CONNECTIONS = 8
FULL_AT_BYTES = 20_000


def running_experiment(number: int, **config: object) -> Snapshot:
    parsed = parse_definition(**definition(config))  # type: ignore[arg-type]
    return snapshot_of(Experiment(number, parsed, Status.RUNNING, 2, 1, 2, 2))


async def publish(settings: Settings, *found: Snapshot) -> None:
    """Write what a worker would."""
    client = connect(settings.redis_url)
    writer = ProjectionWriter(client, Keys(settings.namespace))
    await writer.heartbeat("test", 600)
    store = ReceiptStore(client, Keys(settings.namespace), 600)
    await store.lease("test")
    await store.declare_complete("test")
    await writer.write_snapshots([SnapshotRecord.of(each, encode_snapshot(each)) for each in found])
    await client.aclose()


class Callers:
    """Ask for assignments without pause, and remember what was answered."""

    def __init__(self, http: httpx.AsyncClient, path: str) -> None:
        self._http = http
        self._path = path
        self.receipts: list[str] = []

    @contextlib.asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self._ask()) for _ in range(CONNECTIONS)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def reached(self, count: int) -> None:
        async def has() -> bool:
            return len(self.receipts) >= count

        await until_found(has)

    async def _ask(self) -> None:
        with contextlib.suppress(httpx.TransportError):  # the process was killed
            while True:
                answer = await self._http.post(self._path, json={"device": "mobile"})
                assert answer.status_code == 200, answer.text
                self.receipts.append(answer.json()["id"])


async def test_what_a_killed_process_answered_is_in_the_log_once_another_has_drained(
    settings: Settings, tmp_path: Path
) -> None:
    create_topics(settings)
    found = running_experiment(1)
    await publish(settings, found)
    path = f"/experiments/{found.experiment.id}/assign"
    receipts: list[str] = []
    for number in range(3):
        async with api_of(settings, tmp_path, name=f"api-{number}") as (process, http):
            callers = Callers(http, path)
            async with callers.at_work():
                await callers.reached(300)
                assert process.pid is not None
                os.kill(process.pid, signal.SIGKILL)
                await process.ended()
            receipts += callers.receipts

    async with api_of(settings, tmp_path, name="api-last") as (_, http):

        async def is_drained() -> bool:
            return await metric(http, "experiment_spool_bytes") == 0

        await until_found(is_drained)

    units = logged_units(logged_batches(settings))
    keyring = Keyring.parse(settings.signing_keys)
    answered = {keyring.verify(text).unit for text in receipts}
    assert len(answered) == len(receipts)
    assert len(units) == len(set(units))
    assert answered <= set(units)
    # What was logged and not answered is what was under way when the processes died.
    assert len(units) - len(receipts) <= 3 * CONNECTIONS
    assert list(settings.spool_dir.iterdir()) == []


async def test_a_stopped_process_leaves_nothing_behind(settings: Settings, tmp_path: Path) -> None:
    create_topics(settings)
    found = running_experiment(1)
    await publish(settings, found)
    async with api_of(settings, tmp_path) as (process, http):
        callers = Callers(http, f"/experiments/{found.experiment.id}/assign")
        async with callers.at_work():
            await callers.reached(100)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGTERM)
        assert await process.ended() == "exited with code 0", process.tail()

    assert list(settings.spool_dir.iterdir()) == []
    assert len(logged_units(logged_batches(settings))) >= len(callers.receipts)


@pytest.fixture
async def own_servers(tmp_path: Path):
    """A broker and a Valkey that a test may freeze; and settings for them."""
    broker, kafka_url = await start_tansu(tmp_path)
    valkey, redis_url = await start_valkey(tmp_path)
    settings = Settings(
        kafka_url=kafka_url,
        redis_url=redis_url,
        partitions=4,
        receipt_keys=f"1:{secrets.token_hex(32)}",  # type: ignore[arg-type]
        data_dir=tmp_path / "data",
        command_timeout_s=1.0,
    )
    create_topics(settings)
    yield settings, broker, valkey
    await valkey.stop()
    await broker.stop()


async def test_without_kafka_assignment_goes_on_and_kafka_gets_it_later(
    own_servers, tmp_path: Path
) -> None:
    settings, broker, _ = own_servers
    found = running_experiment(1)
    await publish(settings, found)
    os.kill(broker.pid, signal.SIGSTOP)
    try:
        async with api_of(settings, tmp_path) as (_, http):
            name = found.experiment.id
            receipts = []
            for _ in range(50):
                answer = await http.post(f"/experiments/{name}/assign", json={})
                assert answer.status_code == 200
                receipts.append(answer.json()["id"])
            clicks = [{"assignmentId": text, "metric": "click", "value": 1} for text in receipts]
            accepted = await http.post("/observations", json=clicks)
            command = await http.post(f"/experiments/{name}/pause")
            ready: list[httpx.Response] = []

            async def is_degraded() -> bool:
                ready.append(await http.get("/ready"))
                return bool(ready[-1].json()["degraded"] == ["kafka"])

            await until_found(is_degraded)
            spooled = await metric(http, "experiment_spool_bytes")

            os.kill(broker.pid, signal.SIGCONT)

            async def is_drained() -> bool:
                return await metric(http, "experiment_spool_bytes") == 0

            await until_found(is_drained)

            async def is_whole() -> bool:
                return not (await http.get("/ready")).json()["degraded"]

            await until_found(is_whole)
    finally:
        os.kill(broker.pid, signal.SIGCONT)

    assert (accepted.status_code, accepted.json()) == (202, {"accepted": 50})
    assert command.status_code == 503
    assert command.json()["error"]["code"] == "DEPENDENCY_UNAVAILABLE"
    assert int(command.headers["Retry-After"]) > 0
    assert ready[-1].status_code == 200
    assert spooled > 0
    keyring = Keyring.parse(settings.signing_keys)
    expected = sorted(keyring.verify(text).unit for text in receipts)
    assert sorted(logged_units(logged_batches(settings))) == expected


async def test_a_full_disk_refuses_with_its_code_and_loses_nothing_it_had_accepted(
    own_servers, tmp_path: Path
) -> None:
    settings, broker, _ = own_servers
    found = running_experiment(1)
    await publish(settings, found)
    receipts = []
    os.kill(broker.pid, signal.SIGSTOP)  # so that the spool can only grow
    try:
        async with api_of(settings, tmp_path) as (process, http):
            assert process.pid is not None
            # The kernel refuses what makes a file longer, in mid-write, as a full disk does.
            unlimited = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (FULL_AT_BYTES, unlimited[1]))
            path = f"/experiments/{found.experiment.id}/assign"
            while (answer := await http.post(path, json={})).is_success:
                receipts.append(answer.json()["id"])
            click = {"assignmentId": receipts[0], "metric": "click", "value": 1}
            refused = await http.post("/observations", json=[click])

            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, unlimited)
            again = await http.post(path, json={})
            receipts.append(again.json()["id"])
            os.kill(broker.pid, signal.SIGCONT)

            async def is_drained() -> bool:
                return await metric(http, "experiment_spool_bytes") == 0

            await until_found(is_drained)
    finally:
        os.kill(broker.pid, signal.SIGCONT)

    for failure in (answer, refused):
        assert (failure.status_code, failure.json()["error"]["code"]) == (503, "SPOOL_FULL")
        assert int(failure.headers["Retry-After"]) > 0
    keyring = Keyring.parse(settings.signing_keys)
    expected = sorted(keyring.verify(text).unit for text in receipts)
    assert sorted(logged_units(logged_batches(settings))) == expected


async def test_topics_that_come_later_get_what_waited_for_them(own_servers, tmp_path: Path) -> None:
    settings, _, _ = own_servers
    later = settings.model_copy(update={"topic_prefix": "later-", "namespace": "later"})
    found = running_experiment(1)
    await publish(later, found)
    async with api_of(later, tmp_path, until_ready=False) as (_, http):

        async def assigned() -> bool:
            answer = await http.post(f"/experiments/{found.experiment.id}/assign", json={})
            return answer.status_code == 200

        async def names_topics() -> bool:
            return "topics" in (await http.get("/ready")).json()["missing"]

        await until_found(assigned)
        await until_found(names_topics)
        await asyncio.sleep(
            RETRY_PAUSE_S
        )  # so that librdkafka has looked for the topic without success
        await asyncio.to_thread(create_topics, later)

        async def is_drained() -> bool:
            return await metric(http, "experiment_spool_bytes") == 0

        await until_found(is_drained)

    assert len(logged_units(logged_batches(later))) == 1


async def test_users_under_a_bandit_are_remembered_by_redis_and_assigned_without_it(
    own_servers, tmp_path: Path
) -> None:
    settings, _, valkey = own_servers
    found = running_experiment(1, unit="user")
    await publish(settings, found)
    path = f"/experiments/{found.experiment.id}/assign"
    async with api_of(settings, tmp_path) as (_, http):
        first = await http.post(path, json={"userId": "u"})
        together = await asyncio.gather(*(http.post(path, json={"userId": "v"}) for _ in range(20)))
        again = await http.post(path, json={"userId": "u"})
        client = connect(settings.redis_url)
        kept = [key async for key in client.scan_iter(f"{settings.namespace}:v1:receipts:exp_*")]
        lives_s = [await client.ttl(key) for key in kept]
        await client.aclose()
        os.kill(valkey.pid, signal.SIGSTOP)
        try:
            without = await http.post(path, json={"userId": "w"})
            more = await asyncio.gather(*(http.post(path, json={"userId": "w"}) for _ in range(19)))
            held = await http.post(path, json={"userId": "u"})
            unavailable = await metric(http, "experiment_sticky_unavailable_total")
        finally:
            os.kill(valkey.pid, signal.SIGCONT)

    assert first.json()["reason"] == "ASSIGNED"
    assert again.json() == {**first.json(), "reason": "STICKY"}
    assert len({answer.json()["id"] for answer in together}) == 1
    assert len(kept) == 2
    assert all(366 * 86_400 < life_s <= settings.sticky_ttl_s for life_s in lives_s)
    assert (without.status_code, without.json()["reason"]) == (200, "STICKY_UNAVAILABLE")
    assert {answer.json()["id"] for answer in more} == {without.json()["id"]}
    assert held.json() == again.json()
    assert unavailable == 21


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"EXPERIMENT_API_HOST": "0.0.0.0"}, "EXPERIMENT_API_KEYS_FILE"),
        ({"EXPERIMENT_RECEIPT_KEYS": ""}, "EXPERIMENT_RECEIPT_KEYS"),
        ({"EXPERIMENT_RECEIPT_KEYS": "1:00"}, "receipt_keys"),
        ({"EXPERIMENT_API_KEYS_FILE": "/nonexistent"}, "/nonexistent"),
        ({"EXPERIMENT_SPOOL_DIR": "/dev/null/x"}, "/dev/null/x"),
    ],
)
def test_settings_that_do_not_fit_end_with_code_2(
    settings: Settings, changes: dict[str, str], message: str
) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "api"],
        env=os.environ | environment(settings) | changes,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )

    assert ended.returncode == 2, ended.stderr
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr
