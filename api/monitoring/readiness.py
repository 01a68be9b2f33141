"""Readiness: whether this process can assign, and what is missing."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

from api.delivery import Delivery
from api.http.models.responses import Readiness
from api.snapshots.follower import SnapshotFollower
from api.spool.spool import Spool
from streams.model.attribution import CLOCK_SKEW_MS
from streams.model.errors import DependencyError, EngineError
from streams.process.background import BackgroundTasks
from streams.wire.schema_gate import SchemaGate

PROBE_S = 2.0
"""Seconds between two probes of Kafka and the workers; older results are stale."""

PATIENCE_S = 3 * PROBE_S
SPARE_BYTES = 2**20
"""A spool with less room than this is as good as full."""

SHOWN = 10
"""Experiments that readiness names at most."""

_log = logging.getLogger(__name__)


class ReadinessMonitor:
    """Observes Kafka, Redis, workers and spool, and derives the readiness from them.

    Attributes:
        dead_letters: Dead letters of the live workers since their start, by code.
        workers: Number of live workers, 0 where Redis does not answer.
        schemas: Schema levels of this process and of others; None where they are not checked.

    Args:
        follower: Its age is the time since Redis last answered.
        spool, delivery: Hold the records that wait for Kafka.
        kafka_problem: Probes Kafka in a separate thread and returns the reason why it does not
            accept records: `kafka`, `topics` or `rights`; None if it does.
        live_workers: Returns the dead letters by code of each worker that lives.
        background: The tasks of this process; None if it has none.
        probe_commands: Raises an EngineError unless commands can be written; called in a separate
            thread. None to skip the probe.
        clock: Seconds that only grow.
    """

    def __init__(
        self,
        follower: SnapshotFollower,
        spool: Spool,
        delivery: Delivery,
        kafka_problem: Callable[[], str | None],
        live_workers: Callable[[], Awaitable[Sequence[Mapping[str, int]]]],
        clock: Callable[[], float] = time.monotonic,
        *,
        background: BackgroundTasks | None = None,
        probe_commands: Callable[[], None] | None = None,
    ) -> None:
        self._follower = follower
        self._spool = spool
        self._delivery = delivery
        self._kafka_problem = kafka_problem
        self._problem: str | None = None
        self._live_workers = live_workers
        self._clock = clock
        self._kafka_seen_s: float | None = None
        self.workers = 0
        self.dead_letters: Counter[str] = Counter()
        self._has_seen_worker = False
        self._background = background
        self.schemas: SchemaGate | None = None
        self._probe_commands = probe_commands
        self._are_commands_writable = probe_commands is None
        self._were_commands_writable = probe_commands is None

    def readiness(self) -> Readiness:
        """Return what is missing now.

        Redis, a worker and the right to write commands are needed once: after that, assignment
        continues without them. Kafka is not needed while the spool has room. A background task that
        restarts do not heal is missing.
        """
        missing: list[str] = []
        degraded: list[str] = []
        has_room = self._spool.max_bytes - self._spool.size_bytes > SPARE_BYTES
        has_kafka = self._is_recent(self._kafka_heard_s())
        if not has_kafka:
            (degraded if has_room else missing).append("kafka")
        if self._problem not in {None, "kafka"}:
            # Where no record was ever taken something was forgotten; later the spool keeps them.
            is_new = self._kafka_heard_s() is None
            (missing if is_new or not has_room else degraded).append(self._problem)
        if not has_room:
            missing.append("spool")
        age_s = self._follower.age_s
        if age_s is None:
            missing.append("redis")
        elif age_s > PATIENCE_S:
            degraded.append("redis")
        if self._is_clock_wrong():
            degraded.append("clock")
        if not self.workers:
            (degraded if self._has_seen_worker else missing).append("worker")
        if has_kafka and not self._are_commands_writable:  # implied where Kafka is missing
            (degraded if self._were_commands_writable else missing).append("commands")
        if self._background is not None:
            failing = self._background.failing
            for name in self._background.down:
                (missing if name in failing else degraded).append(f"task:{name}")
        if self.schemas is not None and self.schemas.too_new:
            degraded.append("schemas")
        unreadable = sorted(self._follower.experiments.unreadable)
        degraded += [f"snapshot:{name}" for name in unreadable[:SHOWN]]
        failed = sorted(self._follower.experiments.not_evaluated)
        degraded += [f"evaluation:{name}" for name in failed[:SHOWN]]
        return Readiness(ready=not missing, missing=tuple(missing), degraded=tuple(degraded))

    def follow(self, background: BackgroundTasks) -> None:
        """Keep looking, by tasks of `background`."""
        background.start("readiness.kafka", partial(self._repeat, self._look_for_kafka))
        background.start("readiness.workers", partial(self._repeat, self._look_for_workers))
        if self._probe_commands is not None:
            background.start("readiness.commands", partial(self._repeat, self._look_for_commands))

    async def _repeat(self, look: Callable[[], Awaitable[None]]) -> None:
        while True:
            await look()
            is_complete = (
                self._has_seen_worker
                and self._kafka_seen_s is not None
                and self._were_commands_writable
            )
            await asyncio.sleep(PROBE_S if is_complete else PROBE_S / 10)

    async def _look_for_kafka(self) -> None:
        self._problem = await asyncio.to_thread(self._kafka_problem)
        if self._problem is None:
            self._kafka_seen_s = self._clock()

    async def _look_for_workers(self) -> None:
        try:
            workers = await self._live_workers()
        except DependencyError:
            self.workers = 0
        else:
            self.workers = len(workers)
            self.dead_letters = Counter()
            for counted in workers:
                self.dead_letters.update(counted)
        self._has_seen_worker = self._has_seen_worker or self.workers > 0

    async def _look_for_commands(self) -> None:
        assert self._probe_commands is not None  # noqa: S101 - else nothing calls this
        try:
            await asyncio.to_thread(self._probe_commands)
        except EngineError as error:
            if self._are_commands_writable:
                _log.error("commands cannot be written: %s", error)
            self._are_commands_writable = False
        else:
            if not self._are_commands_writable and self._were_commands_writable:
                _log.info("commands can be written again")
            self._are_commands_writable = self._were_commands_writable = True

    def _kafka_heard_s(self) -> float | None:
        times = (self._kafka_seen_s, self._delivery.last_acknowledged_s)
        return max((seen for seen in times if seen is not None), default=None)

    def _is_clock_wrong(self) -> bool:
        skew_ms = self._delivery.skew_ms
        if skew_ms is not None and abs(skew_ms) > CLOCK_SKEW_MS:
            return True
        return self._is_recent(self._delivery.refused_s)

    def _is_recent(self, seen_s: float | None) -> bool:
        return seen_s is not None and self._clock() - seen_s < PATIENCE_S
