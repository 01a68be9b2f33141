"""Progress of the workers, watched until they have taken what was there, or for a few commits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping

from schemas.catalogue import COMMANDS, IMPRESSIONS, OBSERVATIONS, TALLIES
from streams.kafka.positions import GroupPositions, Positions
from streams.kafka.records import OffsetRange
from streams.kafka.settings import KafkaSettings
from streams.kafka.source import KafkaSource

SOURCES = (IMPRESSIONS, OBSERVATIONS, COMMANDS, TALLIES)
"""Topics that workers read."""

Spans = Mapping[str, Mapping[int, OffsetRange]]
"""Offsets that a log holds, by full name of the topic and partition."""

_FIRST_LOOK_S = 0.1


class Patience:
    """Schedule of looks at growing intervals, until running workers must have committed.

    Args:
        commit_interval_s: How often workers commit.
    """

    def __init__(
        self, commit_interval_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._end_s = clock() + 2.0 + 2 * commit_interval_s

    @property
    def left_s(self) -> float:
        """Seconds until the last look."""
        return max(0.0, self._end_s - self._clock())

    def waits(self) -> Iterator[float]:
        """Yield how long to sleep before each further look, in seconds."""
        distance_s = _FIRST_LOOK_S
        while left_s := self.left_s:
            yield min(distance_s, left_s)
            distance_s *= 2


async def watch(settings: KafkaSettings, spans: Spans, patience: Patience) -> Positions:
    """Return where the workers continue when they have taken all of `spans`, or at the last look.

    Raises:
        DependencyError: Kafka does not answer.
    """
    found = await asyncio.to_thread(past_markers, settings, spans)
    for wait_s in patience.waits():
        if has_all(spans, found):
            break
        await asyncio.sleep(wait_s)
        found = await asyncio.to_thread(past_markers, settings, spans)
    return found


def has_all(spans: Spans, positions: Positions) -> bool:
    """Return whether the workers have taken all of `spans`.

    Args:
        spans: What there is to be taken.
        positions: Where they continue.
    """
    return all(
        span.begin == span.end or positions.get((topic, partition), 0) >= span.end
        for topic, partitions in spans.items()
        for partition, span in partitions.items()
    )


def committed(settings: KafkaSettings, partitions: Mapping[str, int]) -> Positions:
    """Return where the workers' group continues, without becoming a member of it.

    Args:
        settings: Where Kafka is.
        partitions: Number of partitions by full name of the topic.

    Raises:
        DependencyError: Kafka does not answer.
    """
    names = set(map(settings.topic_name, SOURCES))
    asked = [
        (name, number)
        for name, count in partitions.items()
        if name in names
        for number in range(count)
    ]
    with GroupPositions(settings) as positions:
        return positions.read(asked)


def past_markers(settings: KafkaSettings, spans: Spans) -> Positions:
    """Return where the workers continue in `spans`, behind what holds no records for them.

    The marks of transactions and what they have aborted take offsets, and nothing is committed
    behind them before the next record comes.

    Raises:
        DependencyError: Kafka does not answer.
    """
    found = dict(committed(settings, {name: len(parts) for name, parts in spans.items()}))
    source = KafkaSource(settings)
    for name, parts in spans.items():
        topic = name.removeprefix(settings.topic_prefix)
        for number, span in parts.items():
            position = found.get((name, number))
            if position is None or not span.begin <= position < span.end:
                continue
            if not any(source.read(topic, number, position, span.end)):
                found[name, number] = span.end
    return found
