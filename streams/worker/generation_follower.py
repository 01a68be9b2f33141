"""Follower of the active generation: its number and its progress.

Only the active generation publishes what follows from a record: dead letters, decisions, answers.
An inactive generation never overtakes it: it folds a record only after the active one has committed
it, which it does only after publishing. What a generation has not folded when it becomes active, it
publishes, so a switch loses nothing.

Switches and commits are in Kafka, so this holds without Redis and after any crash. A worker that
learns late that it is no longer active publishes some records twice, with the same keys and bytes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Self

from confluent_kafka import Consumer, KafkaException, TopicPartition

from schemas import catalogue
from streams.kafka.generations import PARTITION, taken
from streams.kafka.positions import SHARED_SOURCES, GroupPositions, Positions
from streams.kafka.schema_levels import levels_after
from streams.model.errors import DependencyError
from streams.model.generations import Generations
from streams.model.schema_levels import SchemaLevels
from streams.process.exits import die, refuse
from streams.settings import Settings
from streams.wire.schema_gate import SchemaGate, refusal

LOOK_S = 0.25
"""Interval of reading the log of generations, and the progress of the active one."""

logger = logging.getLogger(__name__)


class GenerationFollower:
    """A reader of the log of generations.

    Attributes:
        generation: Generation of this worker.
        generations: State of the log.

    Args:
        settings: Generation of this worker, and connection to Kafka.
        generations: State of the log up to `offset`.
        offset: Where reading continues.
        changed: Called with the state at the start and after every change.
        gate: Gets the schema versions that may be written, which are in the same log.
    """

    def __init__(
        self,
        settings: Settings,
        generations: Generations,
        offset: int,
        changed: Callable[[Generations], None],
        gate: SchemaGate | None = None,
    ) -> None:
        self.generation = settings.generation
        self.generations = generations
        self._settings = settings
        self._changed = changed
        self._gate = gate
        self._levels = SchemaLevels() if gate is None else gate.levels
        self._positions: Positions = {}
        self._shared = {topic.full_name(settings.topic_prefix) for topic in SHARED_SOURCES}
        self._follower = Consumer(
            settings.confluent_config()
            | {
                "group.id": f"{settings.faust_app_id}-generations",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "log_level": 0,
            }
        )
        topic = catalogue.GENERATIONS.full_name(settings.topic_prefix)
        self._follower.assign([TopicPartition(topic, PARTITION, offset)])
        self._active_positions: GroupPositions | None = None
        self._take(generations)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._follower.close()
        if self._active_positions is not None:
            self._active_positions.close()

    @property
    def is_active(self) -> bool:
        """Whether this worker's generation is the active one."""
        return self.generations.active == self.generation

    def fence(self, topic: str, partition: int) -> int | None:
        """Return the first offset that the active generation has not published.

        Nothing from there on may be folded yet. None if this worker's own generation is active.
        """
        if self.is_active or topic not in self._shared:
            return None
        return self._positions.get((topic, partition), 0)

    async def run(self) -> None:
        """Follow the log, indefinitely."""
        while True:
            try:
                await self._look()
            except (DependencyError, KafkaException) as error:
                logger.warning("generations cannot be followed: %s", error)
            except Exception:
                logger.exception("generations cannot be followed")
                die("generations cannot be followed")
            await asyncio.sleep(LOOK_S)

    async def _look(self) -> None:
        # A change is read only once, so nothing may fail before it is applied.
        generations = await asyncio.to_thread(self._changed_by_now)
        if generations != self.generations:
            self._take(generations)
        if self._gate is not None:
            self._gate.take(self._levels)
            if self._gate.too_new:
                refuse(refusal(self._gate.too_new))
        if self._active_positions is not None:
            self._positions = await asyncio.to_thread(self._active_positions.read)

    def _take(self, generations: Generations) -> None:
        if self.generation in generations.dropped:
            die(f"generation {self.generation} was dropped")
        self.generations = generations
        logger.info("generation %d; %d is active", self.generation, generations.active)
        if self._active_positions is not None:
            self._active_positions.close()
            self._active_positions = None
        if not self.is_active:
            of_active = self._settings.model_copy(update={"generation": generations.active})
            self._active_positions = GroupPositions(of_active)
        self._changed(generations)

    def _changed_by_now(self) -> Generations:
        generations = self.generations
        levels = self._levels
        for message in self._follower.consume(100, 0):
            if message.error() is None:
                offset = message.offset()
                assert offset is not None  # noqa: S101 - a record has one
                generations = taken(generations, offset, message.value())
                levels = levels_after(levels, message.value())
        self._levels = levels
        return generations
