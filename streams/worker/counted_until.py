"""Time by which all that was logged is counted, for decisions that must not miss an event."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from confluent_kafka import KafkaException

from schemas.catalogue import IMPRESSIONS, OBSERVATIONS, TALLIES, Topic, of_generation
from streams.kafka.progress import has_all, past_markers
from streams.kafka.records import LogError, LogSource
from streams.kafka.settings import KafkaSettings
from streams.model.errors import DependencyError

LOOK_S = 1.0
"""Interval of looking at the progress of the workers, and pause after a failure."""

CELLS_S = 1.0
"""Time in which a cell is sent that was counted before its source was committed."""

logger = logging.getLogger(__name__)


class CountedUntil:
    """A loop that finds the time by which everything was counted, when a decision needs it.

    Events of an experiment are in all partitions, and so with any worker. At a time, it notes the
    ends of `impressions` and `observations`, waits until the workers have committed these, and then
    likewise those of `tallies`. A worker commits what it has folded, so the tallies that it has of
    an experiment are then those of all events before that time.

    Attributes:
        at_ms: The time, in milliseconds since the epoch; 0 before it was needed first.

    Args:
        settings: Where Kafka is, and the generation.
        source: The log.
        now_ms: Returns milliseconds since the epoch.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        source: LogSource,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self.at_ms = 0
        self._settings = settings
        self._source = source
        self._now_ms = now_ms
        self._needed = asyncio.Event()

    def has(self, at_ms: int) -> bool:
        """Return whether all that was logged by a time is counted; if not, begin to find out."""
        if at_ms <= self.at_ms:
            return True
        self._needed.set()
        return False

    async def run(self) -> None:
        """Find the time whenever it is needed, indefinitely."""
        while True:
            await self._needed.wait()
            at_ms = self._now_ms()
            try:
                await self._taken(IMPRESSIONS, OBSERVATIONS)
                await asyncio.sleep(CELLS_S)
                await self._taken(TALLIES)
            except (DependencyError, LogError, KafkaException) as error:
                logger.warning("it is not known whether all events are counted: %s", error)
                await asyncio.sleep(LOOK_S)
                continue
            self.at_ms = at_ms
            self._needed.clear()

    async def _taken(self, *topics: Topic) -> None:
        """Return once the workers have taken all that these topics hold now."""
        spans = {
            self._settings.topic_name(topic): await asyncio.to_thread(
                self._source.spans, of_generation(topic, self._settings.generation).name
            )
            for topic in topics
        }
        while True:
            positions = await asyncio.to_thread(past_markers, self._settings, spans)
            if has_all(spans, positions):
                return
            await asyncio.sleep(LOOK_S)
