"""Time by which all that was logged is counted, for decisions that must not miss an event."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from confluent_kafka import KafkaException

from schemas.catalogue import IMPRESSIONS, OBSERVATIONS, TALLIES, Topic, of_generation
from streams.kafka.positions import Positions
from streams.kafka.progress import Spans, has_all, past_markers
from streams.kafka.records import LogError, LogSource
from streams.kafka.settings import KafkaSettings
from streams.model.errors import DependencyError

LOOK_S = 1.0
"""Interval of looking at the progress of the workers, and pause after a failure."""

REPORT_S = 10.0
"""Time after which a wait is reported, and reported again."""

REPORTED = 3
"""Partitions that are named."""

logger = logging.getLogger(__name__)


class CountedUntil:
    """A loop that finds the time by which everything was counted, when a decision needs it.

    Events of an experiment are in all partitions, and so with any worker. At a time, it notes the
    ends of `impressions` and `observations`, waits until the workers have committed these, and then
    likewise those of `tallies`. A worker commits a record once it is counted in a cell that was
    sent, so the tallies that this one has of an experiment are then those of all events before that
    time. However long that takes, nothing is decided meanwhile; a long wait is logged.

    Attributes:
        at_ms: The time, in milliseconds since the epoch; 0 before it was needed first.

    Args:
        settings: Where Kafka is, and the generation.
        source: The log.
        now_ms: Returns milliseconds since the epoch.
        clock_s: Monotonic seconds.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        source: LogSource,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.at_ms = 0
        self._settings = settings
        self._source = source
        self._now_ms = now_ms
        self._clock_s = clock_s
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
        report_s = self._clock_s() + REPORT_S
        while True:
            positions = await asyncio.to_thread(past_markers, self._settings, spans)
            if has_all(spans, positions):
                return
            if self._clock_s() >= report_s:
                report_s = self._clock_s() + REPORT_S
                logger.warning(
                    "a step of a schedule waits for events that are not counted yet: %s",
                    _behind(spans, positions),
                )
            await asyncio.sleep(LOOK_S)


def _behind(spans: Spans, positions: Positions) -> str:
    """Return the first partitions with records that the workers have not taken."""
    behind = [
        f"{topic}/{number} at {positions.get((topic, number), span.begin)} of {span.end}"
        for topic, partitions in spans.items()
        for number, span in partitions.items()
        if not has_all({topic: {number: span}}, positions)
    ]
    more = len(behind) - REPORTED
    return ", ".join(behind[:REPORTED]) + (f" and {more} more" if more > 0 else "")
