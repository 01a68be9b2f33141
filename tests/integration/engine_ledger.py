"""Sends events to the workers and keeps the truth about them, to be compared exactly."""

from __future__ import annotations

import json
import logging
import os
import secrets
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

import redis
from confluent_kafka import KafkaError, Message, Producer

from streams.experiments.snapshot import Snapshot
from streams.experiments.statistics.variant_report import VariantReport
from streams.model.events import (
    EXPOSED,
    EXPOSURE,
    Command,
    CommandKind,
    ImpressionBatch,
    ImpressionGroup,
    Observation,
)
from streams.model.ids import experiment_id
from streams.model.quantities import MICRO, PROPENSITY_ONE
from streams.model.receipts import Keyring, Receipt
from streams.model.variant_weights import pack_propensities
from streams.model.voids import void_metric
from streams.projection.keys import Keys
from streams.settings import Settings, variables
from streams.wire.batch_tags import sealer
from streams.wire.commands import encode_command
from streams.wire.dead_letters import decode_dead_letter
from streams.wire.impressions import encode_impression_batch
from streams.wire.observations import encode_observation
from streams.wire.snapshots import decode_snapshot
from tests.integration.topics import records_of
from tests.patience import PATIENCE_S, until

_log = logging.getLogger(__name__)

UNITS_PER_BATCH = 50
MOST_SENT = 20
"""Number of times that a record is sent again that the broker has not taken."""
SETS = ((0, 1), (0, 2), (1, 2), (0, 1, 2))
"""Eligible variants of requests, of three."""


class Workers:
    """Worker processes of one installation."""

    def __init__(self, settings: Settings, directory: Path) -> None:
        self._directory = directory
        self._environment = os.environ | environment(settings)
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self, release: Path | None = None) -> subprocess.Popen[bytes]:
        """Start a worker, of another release if asked; it needs some seconds to be ready."""
        self._directory.mkdir(parents=True, exist_ok=True)
        log = self._directory / f"worker-{len(self._running)}.log"
        with log.open("wb") as output:
            worker = subprocess.Popen(
                [sys.executable, *(["-P"] if release else []), "-m", "streams.worker"],
                env=self._environment | ({"PYTHONPATH": str(release)} if release else {}),
                stdout=output,
                stderr=output,
            )
        self._running.append(worker)
        return worker

    def running(self) -> list[subprocess.Popen[bytes]]:
        """Return those that have not ended."""
        return [worker for worker in self._running if worker.poll() is None]

    def endings(self) -> list[int]:
        """Return how those that have ended did."""
        return [worker.returncode for worker in self._running if worker.poll() is not None]

    def stop(self) -> list[int]:
        """End all that still run, and return how every one of them ended."""
        for worker in self._running:
            if worker.poll() is None:
                worker.terminate()
        try:
            return [worker.wait(PATIENCE_S) for worker in self._running]
        finally:
            for worker in self._running:
                worker.kill()

    def log(self) -> str:
        """Return what all workers have said."""
        return "\n".join(path.read_text() for path in self._logs())

    def ends_of_logs(self, characters: int = 4_000) -> str:
        """Return what each worker has said last."""
        return "\n".join(f"{path.name}:\n{path.read_text()[-characters:]}" for path in self._logs())

    def _logs(self) -> list[Path]:
        return sorted(self._directory.glob("worker-*.log"))


@contextmanager
def workers_of(settings: Settings, directory: Path) -> Iterator[Workers]:
    """Workers that are gone afterwards, whatever happens."""
    workers = Workers(settings, directory)
    try:
        yield workers
    finally:
        workers.stop()


def environment(settings: Settings) -> dict[str, str]:
    """Return the variables that give a process these settings."""
    return variables(settings)


class Sent(NamedTuple):
    """A record that can be sent again as it was."""

    topic: str
    value: bytes
    key: str | None = None
    partition: int = -1


class Ledger:
    """Ledger of what was sent, as it must be counted.

    Attributes:
        keys: Where in Redis it is looked for.
        assignments: Units by (experiment, variant).
        exposures: Units exposed by (experiment, variant).
        observations: Observations by (experiment, variant, metric).
        totals: Their sums, in micro-units.
        voids: Units that were voided, by (experiment, reason).
        batches: Every batch of impressions sent, to be sent again.
        letters: Code of every dead letter there must be, by (topic, partition, offset).
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.keys = Keys(settings.namespace)
        self._keyring = Keyring.parse(settings.signing_keys)
        self.seal = sealer(self._keyring)
        self._incarnation = secrets.randbits(64)
        self._sequences: Counter[int] = Counter()
        self.redis = redis.Redis.from_url(settings.redis_url)
        self.producer = Producer(
            settings.confluent_config()
            | {"linger.ms": 2, "partitioner": "murmur2_random", "log_level": 0}
        )
        self.now_ms = int(time.time() * 1000)
        self.assignments: Counter[tuple[int, int]] = Counter()
        self.exposures: Counter[tuple[int, int]] = Counter()
        self._exposed: set[str] = set()
        self.batches: list[Sent] = []
        self.letters: dict[tuple[str, int, int], str] = {}
        self.observations: Counter[tuple[int, int, str]] = Counter()
        self.totals: Counter[tuple[int, int, str]] = Counter()
        self.voids: Counter[tuple[int, str]] = Counter()
        self._observed: defaultdict[str, list[tuple[str, int]]] = defaultdict(list)
        self._voided: dict[str, str] = {}
        # What may have been counted before its unit was voided.
        self._taken_out: Counter[tuple[int, int, str, str]] = Counter()

    def command(
        self,
        experiment: int,
        kind: CommandKind,
        payload: Mapping[str, Any] | None = None,
        command_id: str | None = None,
    ) -> dict[str, Any]:
        """Append a command and return its answer."""
        appended = self.append(experiment, kind, payload, command_id)
        return until(lambda: self.answer(appended))

    def append(
        self,
        experiment: int,
        kind: CommandKind,
        payload: Mapping[str, Any] | None = None,
        command_id: str | None = None,
    ) -> str:
        """Append a command and return its id."""
        command_id = command_id or secrets.token_hex(16)
        command = Command(command_id, experiment, kind, self.now_ms, payload or {})
        self.produce("commands", encode_command(command), experiment_id(experiment))
        self.producer.flush()
        return command_id

    def answer(self, command_id: str) -> dict[str, Any]:
        """Return the answer to a command; empty before it exists."""
        answer = cast(bytes | None, self.redis.get(self.keys.answer(command_id)))
        return {} if answer is None else cast(dict[str, Any], json.loads(answer))

    def start_experiment(self, experiment: int, n_variants: int = 2, **config: Any) -> None:
        """Create and start an experiment."""
        payload = {
            "config": {
                "name": "test",
                "type": "thompson_sampling",
                "primaryMetric": "click",
                **config,
            },
            "variants": [
                {"name": "abc"[index], "isControl": not index} for index in range(n_variants)
            ],
        }
        assert self.command(experiment, CommandKind.CREATE, payload)["accepted"]
        assert self.command(experiment, CommandKind.START)["accepted"]

    def assign(
        self, experiment: int, partition: int, *, times: int = 1, by_set: bool = False
    ) -> list[str]:
        """Send a batch of impressions, several times if asked, and return their receipts.

        With `by_set`, each request has two or three eligible variants of three.
        """
        units = [secrets.randbits(64) for _ in range(UNITS_PER_BATCH)]
        sets = [SETS[unit % len(SETS)] if by_set else (0, 1) for unit in units]
        receipts = [
            Receipt(
                experiment,
                eligible[(unit >> 8) % len(eligible)],
                PROPENSITY_ONE // len(eligible),
                2,
                self.now_ms,
                unit,
                86_400,
                _packed(eligible) if by_set else b"",
            )
            for unit, eligible in zip(units, sets, strict=True)
        ]
        group = ImpressionGroup(
            experiment=experiment,
            repeatable=False,
            variants=[each.variant for each in receipts],
            propensities=[each.propensity for each in receipts],
            allocation_versions=[2] * UNITS_PER_BATCH,
            assigned_at_ms=[self.now_ms] * UNITS_PER_BATCH,
            units=units,
            weights=[each.weights for each in receipts] if by_set else [],
        )
        sequence = self._sequences[partition]
        self._sequences[partition] += 1
        batch = ImpressionBatch(self._incarnation, partition, sequence, [group])
        record = self.seal("impressions", partition, encode_impression_batch(batch))
        sent = Sent("impressions", record, partition=partition)
        self.batches.append(sent)
        for _ in range(times):
            self.send(sent)
        for each in receipts:
            self.assignments[experiment, each.variant] += 1
        return [self._keyring.sign(each) for each in receipts]

    def receipt(self, experiment: int, variant: int, unit: int) -> str:
        """Return the receipt of an assignment."""
        return self._keyring.sign(
            Receipt(experiment, variant, PROPENSITY_ONE // 2, 2, self.now_ms, unit, 86_400)
        )

    def opened(self, receipt: str) -> Receipt:
        """Return what a receipt says."""
        return self._keyring.open(receipt)[0]

    def is_of_variant(self, receipt: str, variant: int) -> bool:
        """Return whether a receipt is of this variant."""
        return self.opened(receipt).variant == variant

    def observe(
        self,
        receipt: str,
        *,
        metric: str = "click",
        value: int = MICRO,
        times: int = 1,
        delay_ms: int = 1,
        is_counted: bool = True,
    ) -> Sent:
        """Send an observation, several times if asked, and return it; it counts once or not."""
        event = secrets.token_hex(8)
        observation = Observation(receipt, metric, value, event, self.now_ms + delay_ms)
        sent = Sent("observations", encode_observation(observation), receipt)
        for _ in range(times):
            self.send(sent)
        if is_counted:
            self.count(receipt, metric, value)
        return sent

    def count(self, receipt: str, metric: str, value: int, sign: int = 1) -> None:
        """Note an observation that was sent, unless its unit was voided."""
        opened = self.opened(receipt)
        place = opened.experiment, opened.variant
        if receipt in self._voided and sign > 0:
            return
        self.observations[*place, metric] += sign
        self.totals[*place, metric] += sign * value
        if sign > 0:
            self._observed[receipt].append((metric, value))
        else:
            self._taken_out[*place, "observations", metric] += 1

    def void(self, receipt: str, reason: str) -> Sent:
        """Send a void, and return it; it counts once, and the unit and its values do not."""
        sent = Sent(
            "observations",
            encode_observation(Observation(receipt, void_metric(reason), MICRO)),
            receipt,
        )
        self.send(sent)
        self.count_void(receipt, reason)
        return sent

    def count_void(self, receipt: str, reason: str) -> None:
        """Note a void that was sent."""
        if receipt in self._voided:
            return
        opened = self.opened(receipt)
        for metric, value in self._observed.pop(receipt, ()):
            self.count(receipt, metric, value, -1)
        self._voided[receipt] = reason
        self.voids[opened.experiment, reason] += 1
        self.assignments[opened.experiment, opened.variant] -= 1
        self._taken_out[opened.experiment, opened.variant, "assignments", ""] += 1
        if receipt in self._exposed:
            self.exposures[opened.experiment, opened.variant] -= 1
            self._taken_out[opened.experiment, opened.variant, "exposures", ""] += 1

    def expose(self, receipt: str, *, delay_ms: int = 1) -> Sent:
        """Send an exposure and return it; that of a unit counts once, however often it is sent."""
        observation = Observation(receipt, EXPOSURE, EXPOSED, None, self.now_ms + delay_ms)
        sent = Sent("observations", encode_observation(observation), receipt)
        self.send(sent)
        self.note_exposure(receipt)
        return sent

    def note_exposure(self, receipt: str) -> None:
        """Take note that a unit was exposed, unless it was voided."""
        if receipt not in self._exposed and receipt not in self._voided:
            self._exposed.add(receipt)
            opened = self.opened(receipt)
            self.exposures[opened.experiment, opened.variant] += 1

    def send(self, record: Sent) -> None:
        """Send a record, for the first time or again."""
        self.produce(record.topic, record.value, record.key, record.partition)

    def produce(
        self, topic: str, value: bytes | None, key: str | None = None, partition: int = -1
    ) -> None:
        """Send a record of any bytes, again where the broker does not take it."""
        self._produce(topic, value, key, partition, MOST_SENT)

    def _produce(
        self, topic: str, value: bytes | None, key: str | None, partition: int, n_left: int
    ) -> None:
        def check(error: KafkaError | None, _: Message) -> None:
            if error is not None:
                assert n_left, f"not sent to {topic}: {error}"
                _log.warning("a record of %s is sent again: %s", topic, error)
                self._produce(topic, value, key, partition, n_left - 1)

        self.producer.produce(
            f"{self._settings.topic_prefix}{topic}",
            value=value,
            key=key,
            partition=partition,
            on_delivery=check,
        )
        self.producer.poll(0)

    def snapshot(self, experiment: int) -> Snapshot | None:
        """Return what Redis holds of an experiment."""
        payload = self.redis.hget(self.keys.snapshot(experiment_id(experiment)), "payload")
        assert payload is None or isinstance(payload, bytes)
        return None if payload is None else decode_snapshot(payload)

    def ready_workers(self) -> int:
        """Return how many workers send heartbeats."""
        names = cast(set[bytes], self.redis.smembers(self.keys.workers))
        alive = (self.redis.exists(self.keys.worker(name.decode())) for name in names)
        return sum(map(int, alive))

    def is_exact(self, experiment: int) -> bool:
        """Return whether the snapshot has everything that was sent, and nothing twice."""
        return not self.difference(experiment)

    def difference(self, experiment: int) -> dict[tuple[Any, ...], tuple[int, int]]:
        """Return what is not yet counted as it was sent, as (counted, sent) by what it is.

        What is counted more often than it was sent fails at once.
        """
        snapshot = self.snapshot(experiment)
        if snapshot is None:
            return {("snapshot",): (0, 1)}
        counted: Counter[tuple[Any, ...]] = Counter(
            {
                (index, *what): number
                for index, report in enumerate(snapshot.variants)
                for what, number in _counts(report).items()
            }
        )
        sent: Counter[tuple[Any, ...]] = Counter(
            {
                (variant, "assignments"): number
                for (of, variant), number in self.assignments.items()
                if of == experiment
            }
        )
        for (of, variant), number in self.exposures.items():
            if of == experiment:
                sent[variant, "exposures"] = number
        for what, numbers in (("observations", self.observations), ("total", self.totals)):
            for (of, variant, metric), number in numbers.items():
                if of == experiment:
                    sent[variant, what, metric] = number
        # Totals of values below zero may be larger on the way; so may all that is voided.
        most = sent.copy()
        for (of, variant, what, metric), number in self._taken_out.items():
            if of == experiment:
                most[(variant, what, metric) if metric else (variant, what)] += number
        over = {
            place: number
            for place, number in counted.items()
            if place[1] != "total" and number > most[place]
        }
        assert not over, f"counted {over} of {sent}"
        counted.update({("void", each.reason): each.units for each in snapshot.voided})
        sent.update(
            {
                ("void", reason): number
                for (of, reason), number in self.voids.items()
                if of == experiment
            }
        )
        return {
            place: (counted[place], sent[place])
            for place in counted.keys() | sent.keys()
            if counted[place] != sent[place]
        }

    @contextmanager
    def traffic(self, experiment: int, pause_s: float = 0.01) -> Iterator[None]:
        """Impressions and observations without a break while the block runs; then all are sent.

        Meanwhile no other sender may send.
        """
        done = threading.Event()

        def send() -> None:
            partition = 0
            while not done.wait(pause_s):
                for receipt in self.assign(experiment, partition)[::5]:
                    self.observe(receipt)
                partition = (partition + 1) % self._settings.partitions

        sender = threading.Thread(target=send)
        sender.start()
        try:
            yield
        finally:
            done.set()
            sender.join()
            assert self.producer.flush(60) == 0

    def poison(
        self,
        topic: str,
        value: bytes,
        code: str,
        key: str | None = None,
        *,
        packed: bool = False,
        partition: int = -1,
    ) -> None:
        """Send a record that must become a dead letter with this code, at the place it gets.

        Packed, it is small on its way, and may be larger than any producer takes by default.
        """

        def note(error: KafkaError | None, message: Message) -> None:
            assert error is None, error
            place = message.topic(), message.partition(), message.offset()
            self.letters[cast(tuple[str, int, int], place)] = code

        producer = self._packing() if packed else self.producer
        producer.produce(
            f"{self._settings.topic_prefix}{topic}",
            value=value,
            key=key,
            partition=partition,
            on_delivery=note,
        )
        producer.poll(0)
        if packed:
            assert producer.flush(60) == 0

    def _packing(self) -> Producer:
        return Producer(
            self._settings.confluent_config()
            | {"compression.type": "gzip", "message.max.bytes": 64 * 2**20}
        )

    def dead_letters(self) -> dict[tuple[str, int, int], str]:
        """Return the code of every dead letter by (topic, partition, offset); doubles are one."""
        letters = [decode_dead_letter(value) for _, value in self.read("dead-letters")]
        return {(each.topic, each.partition, each.offset): each.code for each in letters}

    def read(self, topic: str) -> list[tuple[bytes | None, bytes | None]]:
        """Return the key and value of every record of a topic."""
        records = records_of(self._settings, topic)
        return [(record.key(), record.value()) for record in records]


def _packed(eligible: Sequence[int]) -> bytes:
    share = PROPENSITY_ONE // len(eligible)
    return pack_propensities([share if variant in eligible else 0 for variant in range(3)])


def _counts(report: VariantReport) -> dict[tuple[str, ...], int]:
    """Return all that is counted of a variant."""
    counts: dict[tuple[str, ...], int] = {
        ("assignments",): report.assignments,
        ("exposures",): report.exposures or 0,
    }
    for name, metric in report.metrics.items():
        counts["observations", name] = metric.observations
        counts["total", name] = metric.sum_micro
    return counts
