"""Whether this worker's generation is served, and how far the one that is has come.

Only the served generation tells what follows from a record: dead letters, decisions, answers. So
that none of that is lost when another generation takes over, one that is not served never overtakes
the one that is: it folds a record only when the served one has committed it, and that one commits
only what it has told. Whatever a generation has not folded when it begins to be served, it tells.

Both the change and the commits are in Kafka, so this holds without Redis and whoever crashes. A
worker that learns late that it is no longer served tells some things a second time; they have the
same keys and bytes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from types import TracebackType
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
"""How often a worker looks for changes of generations, and one that is not served for how far the
served one has come."""

logger = logging.getLogger(__name__)


class GenerationFollower:
    """Follows the log of generations from where it was read to.

    Attributes:
        generation: Which one this worker is of.
        generations: What the log says.

    Args:
        settings: Which generation this worker is of, and where Kafka is.
        generations: What the log said at the start.
        offset: Where it goes on.
        changed: Called with what the log says, at the start and after every change.
        gate: Is told which versions of schemas may be written, as the same log says.
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
        self._served: GroupPositions | None = None
        self._take(generations)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._follower.close()
        if self._served is not None:
            self._served.close()

    @property
    def is_active(self) -> bool:
        """Whether this worker's generation is the one that readers get."""
        return self.generations.served == self.generation

    def fence(self, topic: str, partition: int) -> int | None:
        """Return the offset before which all has been told by others, and none from it on.

        Nothing from there on may be folded now. None where this worker is to tell what follows.
        """
        if self.is_active or topic not in self._shared:
            return None
        return self._positions.get((topic, partition), 0)

    async def run(self) -> None:
        """Keep up with the log, for ever."""
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
        # A change that was read comes only once, so nothing may fail before it is taken.
        generations = await asyncio.to_thread(self._changed_by_now)
        if generations != self.generations:
            self._take(generations)
        if self._gate is not None:
            self._gate.take(self._levels)
            if self._gate.too_new:
                refuse(refusal(self._gate.too_new))
        if self._served is not None:
            self._positions = await asyncio.to_thread(self._served.read)

    def _take(self, generations: Generations) -> None:
        if self.generation in generations.dropped:
            die(f"generation {self.generation} was dropped")
        self.generations = generations
        logger.info("generation %d, and %d is served", self.generation, generations.served)
        if self._served is not None:
            self._served.close()
            self._served = None
        if not self.is_active:
            of_served = self._settings.model_copy(update={"generation": generations.served})
            self._served = GroupPositions(of_served)
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
