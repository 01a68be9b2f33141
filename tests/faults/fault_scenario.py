"""An installation under a schedule of faults, and the truth about what it was sent."""

from __future__ import annotations

import asyncio
import json
import os
import random
import secrets
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from schemas import library
from streams.kafka.admin import create_topics
from streams.kafka.source import KafkaSource
from streams.local.children import Child
from streams.local.valkey import answers_redis, start_valkey
from streams.model.events import EXPOSURE, Command, CommandKind, Observation
from streams.model.quantities import MICRO
from streams.replay.live import projection_of
from streams.replay.partitions import FoldInputs
from streams.replay.report import Report
from streams.replay.verify import verify
from streams.settings import Settings
from streams.wire.observations import encode_observation
from tests.faults.api_calls import ApiCalls
from tests.faults.api_users import ApiUsers
from tests.faults.launch_users import LaunchUsers
from tests.faults.schedule import Fault, Step
from tests.integration.api_process import api_of
from tests.integration.engine_ledger import Ledger, Sent, Workers, workers_of
from tests.patience import PATIENCE_S
from tests.raw_commands import with_payload

EXPERIMENTS = (7, 8, 9)
CONCLUDED = EXPERIMENTS[-1]
BY_EXPOSURE = 10
BY_SET = 11  # by exposure, too
PARTITIONS = 4
MOST_WORKERS = 3
FROZEN_BROKER_S = 3.0
SETTLE_S = 240.0
# Asked to leave, a worker ends well, gives up a batch, or was still loading its code.
LEFT = {0, 70, -signal.SIGTERM}
DAY_MS = 86_400_000
NOISE_BYTES = 900_000  # below what a producer takes by default
METRICS = ("click", "revenue")
REASONS = ("bot", "ivt")
VOIDED_FIRST = 0.3  # share of the voided units that are before they are observed


class FaultScenario:
    """Sends events, causes faults, and compares at the end.

    Args:
        settings: Of the installation.
        directory: Receives logs.
        workers: Its workers.
        valkey: Its Redis.
        broker_pid: Its broker; None if that cannot be frozen.
        seed: Of every draw that the schedule leaves open.
    """

    def __init__(
        self,
        settings: Settings,
        directory: Path,
        workers: Workers,
        valkey: Child,
        broker_pid: int | None,
        seed: int,
    ) -> None:
        self._settings = settings
        self._directory = directory
        self._workers = workers
        self._valkey = valkey
        self._broker_pid = broker_pid
        self._draws = random.Random(seed)
        self._ledger = Ledger(settings)
        self._sent: list[Sent] = []
        self._receipts: list[str] = []
        calls = ApiCalls(self._ledger, lambda: self._http)
        self._users = ApiUsers(calls, self._draws)
        self._launches = LaunchUsers(calls, self._draws)
        self._apis = AsyncExitStack()
        self._n_apis = 0
        self._api: Child
        self._http: httpx.AsyncClient

    async def begin(self) -> None:
        """Start a worker and the API, and create and start the experiments."""
        self._workers.start()
        for experiment in EXPERIMENTS:
            self._ledger.start_experiment(experiment, secondaryMetrics=["revenue"])
        self._ledger.start_experiment(BY_EXPOSURE, exposure="event")
        self._ledger.start_experiment(BY_SET, 3, exposure="event")
        await self._start_api()
        await self._users.begin()
        await self._launches.begin()

    async def end(self) -> None:
        """Stop the API."""
        await self._apis.aclose()

    async def run(self, steps: tuple[Step, ...]) -> None:
        """Cause the faults in their order, with events before, while and after."""
        causes = {
            Fault.WORKER_KILLED: self._kill_worker,
            Fault.WORKER_FROZEN: self._freeze_worker,
            Fault.WORKER_JOINS: self._join,
            Fault.WORKER_LEAVES: self._leave,
            Fault.BROKER_FROZEN: self._freeze_broker,
            Fault.REDIS_KILLED: self._kill_redis,
            Fault.REDIS_EMPTIED: self._empty_redis,
            Fault.API_KILLED: self._kill_api,
            Fault.REPEATED: self._repeat,
            Fault.POISON: self._poison,
            Fault.LATE: self._late,
            Fault.CONCLUDED: self._conclude,
        }
        for step in steps:
            self._send()
            await causes[step.fault]()
            self._revive()
            self._send()
            await self._ask(3)
            await self._users.change()
            await self._launches.change()
            await asyncio.sleep(step.pause_s)
        self._send()

    async def check(self) -> None:
        """Return once every count is what was sent and every dead letter is where it must be.

        Then the log must give what is live.
        """
        assert self._ledger.producer.flush(60) == 0
        await self._until(lambda: all(map(self._ledger.is_exact, self._all())), self._missing)
        await self._until(lambda: not self._launches.missing(), self._launches.missing)
        await self._launches.check()
        await self._until(lambda: self._ledger.dead_letters() == self._ledger.letters)
        report = await asyncio.to_thread(self._replay)
        assert report.is_equal, report.difference
        assert report.cells >= 2 * PARTITIONS * len(EXPERIMENTS)

    def _replay(self) -> Report:
        settings = self._settings
        projection = projection_of(settings)
        return verify(KafkaSource(settings), projection, FoldInputs.of(settings), processes=1)

    def _all(self) -> tuple[int, ...]:
        users = *self._users.experiments, *self._launches.experiments
        return (*EXPERIMENTS, BY_EXPOSURE, BY_SET, *users)

    def _missing(self) -> str:
        """Return what is not counted as it was sent, and how the workers stand."""
        differences = {each: self._ledger.difference(each) for each in self._all()}
        return (
            f"not counted: { ({each: found for each, found in differences.items() if found}) }\n"
            f"{len(self._workers.running())} workers run; ended: {self._workers.endings()}\n"
            f"{self._api_log()[-4_000:]}"
        )

    def _api_log(self) -> str:
        return (self._directory / f"api-{self._n_apis}.log").read_text()

    async def _until(self, condition: Callable[[], Any], missing: Callable[[], str] = str) -> None:
        deadline = time.monotonic() + SETTLE_S
        while not condition():
            self._revive()
            assert time.monotonic() < deadline, f"{missing()}\n{self._workers.ends_of_logs()}"
            await asyncio.sleep(0.1)

    async def _ask(self, users: int) -> None:
        await self._users.ask(users)
        await self._launches.ask(users)

    def _revive(self) -> None:
        """Start a worker when none is left, as a supervisor would: one may end with code 70."""
        if not self._workers.running():
            self._workers.start()

    def _worker(self) -> subprocess.Popen[bytes]:
        """Return one of the running workers."""
        self._revive()
        return self._draws.choice(self._workers.running())

    def _send(self) -> None:
        """Send impressions and observations of every experiment to every partition."""
        ledger, draws = self._ledger, self._draws
        for experiment in EXPERIMENTS:
            for partition in range(PARTITIONS):
                receipts = ledger.assign(experiment, partition)
                self._receipts += receipts[:2]
                voided = draws.choice(receipts[2:])
                if draws.random() < VOIDED_FIRST:
                    self._sent.append(ledger.void(voided, draws.choice(REASONS)))
                for receipt in receipts[:: draws.randint(3, 9)]:
                    value = draws.choice((MICRO, -3 * MICRO, 49_990_000))
                    metric = draws.choice(METRICS)
                    sent = ledger.observe(receipt, metric=metric, value=value)
                    self._sent.append(sent)
                self._sent.append(ledger.observe(voided, value=draws.choice((MICRO, 7))))
                self._sent.append(ledger.void(voided, draws.choice(REASONS)))
        for partition in range(PARTITIONS):
            self._expose(ledger.assign(BY_EXPOSURE, partition))
            self._expose(ledger.assign(BY_SET, partition, by_set=True))

    def _expose(self, receipts: list[str]) -> None:
        """Send exposures of a third of the units and observations of more, in any order."""
        events = []
        for receipt in receipts[::3]:
            events += [
                partial(self._ledger.expose, receipt, delay_ms=1_500),
                partial(self._ledger.expose, receipt, delay_ms=1_000),
                partial(self._ledger.observe, receipt, delay_ms=1_000),
                partial(self._ledger.observe, receipt, delay_ms=999, is_counted=False),
            ]
        for receipt in receipts[1::9]:
            events.append(partial(self._ledger.observe, receipt, is_counted=False))
        for receipt in receipts[:2]:
            events.append(partial(self._ledger.void, receipt, self._draws.choice(REASONS)))
        self._draws.shuffle(events)
        self._sent += [send() for send in events]

    async def _kill_worker(self) -> None:
        self._worker().kill()
        self._workers.start()

    async def _freeze_worker(self) -> None:
        frozen = self._worker()
        self._join_one()
        frozen.send_signal(signal.SIGSTOP)
        for _ in range(int(self._settings.session_timeout_s) + 3):
            self._send()
            await asyncio.sleep(1)
        frozen.send_signal(signal.SIGCONT)

    async def _join(self) -> None:
        self._join_one()

    def _join_one(self) -> None:
        if len(self._workers.running()) < MOST_WORKERS:
            self._workers.start()

    async def _leave(self) -> None:
        leaving = self._worker()
        leaving.terminate()
        ending = await asyncio.to_thread(leaving.wait, PATIENCE_S)
        assert ending in LEFT, self._workers.log()

    async def _freeze_broker(self) -> None:
        if self._broker_pid is None:
            return
        os.kill(self._broker_pid, signal.SIGSTOP)
        try:
            self._send()
            await self._ask(3)
            await asyncio.sleep(FROZEN_BROKER_S)
        finally:
            os.kill(self._broker_pid, signal.SIGCONT)

    async def _kill_redis(self) -> None:
        pid = self._valkey.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await self._valkey.ended()
        self._send()
        await asyncio.sleep(self._draws.uniform(0, 1))
        await self._valkey.start()
        await self._valkey.ready(
            lambda: answers_redis(self._settings.redis_url), timeout_s=PATIENCE_S
        )

    async def _empty_redis(self) -> None:
        self._ledger.redis.flushall()
        # Until the workers have noticed, the API has what it had; a new one would have nothing.
        await asyncio.sleep(1.5)

    async def _kill_api(self) -> None:
        """Kill the API while Kafka takes nothing, so that its queue and its spool are not empty."""
        if self._broker_pid is not None:
            os.kill(self._broker_pid, signal.SIGSTOP)
        try:
            await self._ask(10)
            assert self._api.pid is not None
            os.kill(self._api.pid, signal.SIGKILL)
            await self._api.ended()
        finally:
            if self._broker_pid is not None:
                os.kill(self._broker_pid, signal.SIGCONT)
        await self._start_api()

    async def _start_api(self) -> None:
        self._n_apis += 1
        name = f"api-{self._n_apis}"
        self._api, self._http = await self._apis.enter_async_context(
            api_of(self._settings, self._directory, name=name, until_ready=False)
        )

    async def _repeat(self) -> None:
        draws = self._draws
        for sent in draws.sample(self._sent, min(50, len(self._sent))):
            for _ in range(draws.choice((1, 2))):
                self._ledger.send(sent)
        for _ in range(100):
            self._ledger.send(self._sent[-1])
        for sent in draws.sample(self._ledger.batches, min(10, len(self._ledger.batches))):
            self._ledger.send(sent)

    async def _poison(self) -> None:
        ledger = self._ledger
        receipt = self._draws.choice(self._receipts)
        good = encode_observation(Observation(receipt, "click", MICRO, "x", ledger.now_ms))
        wrong = {"assignmentId": receipt, "metric": 5, "value": True}
        exposed = {"assignmentId": receipt, "metric": EXPOSURE, "value": 1}
        poison = {
            good[:-5]: "UNDECODABLE_RECORD",
            good[:2] + secrets.token_bytes(8) + good[10:]: "UNKNOWN_SCHEMA",
            json.dumps(wrong).encode(): "WRONG_TYPE",
            b"\xff" + secrets.token_bytes(NOISE_BYTES): "UNDECODABLE_RECORD",
            b"[" * 100_000: "INVALID_JSON",
            b'{"a":' * 100_000: "INVALID_JSON",
        }
        many = b"\xc3\x01" + library.current("observation_batch").fingerprint + b"\0\0"
        poison |= {
            b"[" + b"0," * 9_999 + b"0]": "WRONG_TYPE",
            b"[" + b"0," * 400_000 + b"0]": "TOO_MANY_OBSERVATIONS",
            b"[]": "EMPTY_RECORD",
            b"": "UNDECODABLE_RECORD",
            many + b"\x80" * 7 + b"\x02": "UNDECODABLE_RECORD",  # 2**56 observations, none there
            many + b"\x02" + b"\xfe" * 8 + b"\x01": "UNDECODABLE_RECORD",  # a text of 2**62 bytes
            b"\0\x7f\xff\xff\xff" + good[10:]: "UNKNOWN_SCHEMA",
        }
        for value, code in poison.items():
            ledger.poison("observations", value, code)
        not_used, invalid = (json.dumps({**exposed, "value": value}).encode() for value in (1, 2))
        ledger.poison("observations", not_used, "EXPOSURE_NOT_USED", receipt)
        ledger.poison("observations", invalid, "INVALID_EXPOSURE", receipt)
        self._send()
        for topic in ("observations", "impressions", "commands", "tallies"):
            # 17 kB on their way, and 17 MB unpacked.
            ledger.poison(topic, bytes(17 * 2**20), "RECORD_TOO_LARGE", "any", packed=True)
        command = Command(secrets.token_hex(16), EXPERIMENTS[0], CommandKind.CONCLUDE, 1)
        deep = with_payload(command, b'{"because":' + b"[" * 163 + b"]" * 163 + b"}")
        ledger.poison("commands", deep, "TOO_DEEP", "any")
        for _ in range(5):  # refused, and never a part of the state
            ledger.append(
                EXPERIMENTS[0], CommandKind.CONCLUDE, {"winnerVariantId": "v" * NOISE_BYTES}
            )
        ledger.poison("impressions", b"\xc3\x01" + secrets.token_bytes(30), "UNKNOWN_SCHEMA")
        ledger.poison("commands", b"\xc3\x01 no command", "UNKNOWN_SCHEMA", "no experiment")

    async def _late(self) -> None:
        ledger = self._ledger
        receipts = self._draws.sample(self._receipts, 10)
        for index, receipt in enumerate(receipts):
            # The last moment of the window first, then ever earlier ones.
            # Of 2: a unit may come twice, and a second value of 1 would not change its sum.
            delay_ms = DAY_MS - index * 1000
            sent = ledger.observe(receipt, metric="late", value=2 * MICRO, delay_ms=delay_ms)
            self._sent.append(sent)
        for receipt in receipts:
            after = Observation(receipt, "late", MICRO, "x", ledger.now_ms + DAY_MS + 1)
            ledger.poison("observations", encode_observation(after), "EXPIRED_RECEIPT", receipt)

    async def _conclude(self) -> None:
        """Conclude an experiment among its observations; a second time is refused."""
        self._send()
        self._ledger.producer.flush()
        command = self._ledger.append(CONCLUDED, CommandKind.CONCLUDE)
        await self._until(lambda: self._ledger.answer(command))
        self._send()


@asynccontextmanager
async def fault_scenario(
    settings: Settings, directory: Path, broker_pid: int | None, seed: int
) -> AsyncIterator[FaultScenario]:
    """Yield an installation with its own Redis; nothing of it is left afterwards."""
    create_topics(settings)
    valkey, url = await start_valkey(directory / "valkey")
    settings = settings.model_copy(update={"redis_url": url})
    try:
        with workers_of(settings, directory) as workers:
            running = FaultScenario(settings, directory, workers, valkey, broker_pid, seed)
            try:
                await running.begin()
                yield running
            finally:
                await running.end()
    finally:
        await valkey.stop()
