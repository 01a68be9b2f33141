"""The end of archived experiments, logged in every partition that may have their events.

An archived experiment ends when its assignments can no longer be observed and its retention time
for reading is over. Then it uses no memory, table entries or space in Redis, and its late events
are refused (`EXPERIMENT_ARCHIVED`). The end is decided by this worker's clock and recorded in the
log like any event, so a replay refuses the same events, whenever it runs and however its batches
are cut.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Mapping

import faust
from aiokafka.errors import KafkaError

from schemas.errors import SchemaNotEnabledError
from streams.fold.experiment_state import ExperimentState
from streams.model.ids import experiment_id
from streams.model.receipts import Keyring
from streams.wire.experiment_ends import encode_experiment_end
from streams.worker.experiment_stage import ExperimentsStage
from streams.worker.generation_follower import GenerationFollower
from streams.worker.outbox import Outgoing, deliver

LOOK_S = 1.0
"""Interval of looking for experiments whose end is due."""

AGAIN_S = 300.0
"""Time after which an end without effect is logged again: a partition may have had no worker.
Logging it twice is harmless."""

AT_ONCE = 20
"""Maximum number of experiments ended at a time, so that other records are not delayed."""

logger = logging.getLogger(__name__)


class ExperimentEndLogger:
    """A loop that logs the due ends of this worker's experiments.

    Args:
        stage: State of the experiments.
        topics: The topics of events, by their names in the catalogue.
        keyring: Signs the records.
        follower: Knows whether this generation is active; only the active one logs ends.
        partitions: Partitions of each topic.
        keep_s: How long an archived experiment can be read, in seconds.
        timeout_s: Longest wait for the broker, in seconds.
        now_ms: Returns milliseconds since the epoch.
    """

    def __init__(
        self,
        stage: ExperimentsStage,
        topics: Mapping[str, faust.TopicT],
        keyring: Keyring,
        follower: GenerationFollower,
        *,
        partitions: int,
        keep_s: int,
        timeout_s: float,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._stage = stage
        self._topics = topics
        self._keyring = keyring
        self._follower = follower
        self._partitions = partitions
        self._keep_ms = keep_s * 1000
        self._timeout_s = timeout_s
        self._now_ms = now_ms
        self._logged_at_ms: dict[int, int] = {}

    async def run(self) -> None:
        """End due experiments, indefinitely."""
        while True:
            await asyncio.sleep(LOOK_S)
            if not self._follower.is_active:
                continue
            try:
                await self._look()
            except (KafkaError, TimeoutError, SchemaNotEnabledError) as error:
                # The experiments keep their state in memory until the next attempt.
                logger.warning("archived experiments cannot be ended: %r", error)
                await asyncio.sleep(AGAIN_S / 10)

    async def _look(self) -> None:
        now_ms = self._now_ms()
        due = list(self._due(now_ms))
        self._logged_at_ms = {
            known.number: self._logged_at_ms[known.number]
            for _, known in self._stage.all_known()
            if known.number in self._logged_at_ms and not known.is_ended
        }
        for known in due[:AT_ONCE]:
            for name, topic in self._topics.items():
                await deliver(topic, self._records(known, name), self._timeout_s)
            self._logged_at_ms[known.number] = now_ms
            logger.info("%s has ended", experiment_id(known.number))

    def _due(self, now_ms: int) -> Iterator[ExperimentState]:
        for _, known in self._stage.all_known():
            due_at_ms = known.due_at_ms(self._keep_ms)
            if due_at_ms is None or due_at_ms > now_ms:
                continue
            logged_at_ms = self._logged_at_ms.get(known.number)
            if logged_at_ms is None or logged_at_ms + AGAIN_S * 1000 <= now_ms:
                yield known

    def _records(self, known: ExperimentState, topic: str) -> list[Outgoing]:
        archived_at_ms = known.archived_at_ms or 0
        return [
            Outgoing(
                experiment_id(known.number).encode(),
                encode_experiment_end(
                    known.number, archived_at_ms, self._keyring, topic, partition
                ),
                partition,
            )
            for partition in range(self._partitions)
        ]
