"""The process that reads the log of the embedded broker as it grows, and keeps it on disk."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Self

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from schemas import catalogue
from streams.kafka.generations import generations_of, taken
from streams.kafka.headers import headers_of
from streams.kafka.positions import HOLDOUTS_GROUP, GroupPositions, Positions
from streams.kafka.settings import KafkaSettings
from streams.local.journal.store import Journal, JournalRecord
from streams.model.errors import DependencyError
from streams.model.generations import FIRST

KEPT = (
    catalogue.COMMANDS,
    catalogue.IMPRESSIONS,
    catalogue.OBSERVATIONS,
    catalogue.DECISIONS,
    catalogue.TIMESERIES,
    catalogue.DEAD_LETTERS,
    catalogue.GENERATIONS,
    catalogue.WEBHOOKS,
)
"""Topics that are kept: the log, what was published because of it, and webhooks. All others are
derived."""

WORKERS, HOLDOUTS = "workers", "holdouts"
"""Readers whose positions are kept: the workers of the active generation, and those of them that
copy observations for holdouts. Both publish because of what they read."""

WAIT_S = 0.02
"""Longest wait for a further record before those that were read are written."""

FETCH_WAIT_S = 0.05
"""Time for which the broker holds a fetch, unless it has `FETCH_BYTES`. A fetch costs it a look at
every partition, and where there is something new, through all batches there are. Answered at once,
the journal would fetch all the time."""

FETCH_BYTES = 1_000_000

BATCH_RECORDS = 5_000

POSITIONS_S = 0.5
"""Interval of reading how far the workers are."""

SETTLED_S = 0.5
"""Age of the workers' positions from which on they are kept: what the workers published before
they committed these has been read by then."""

QUIET_S = 0.3
"""Time without a record after which nothing is left to be read, once all who write have ended."""


class JournalKeeper:
    """A reader of all kept topics that writes what it reads to a journal.

    Args:
        settings: Where the broker is.
        journal: Receives the records.
    """

    def __init__(self, settings: KafkaSettings, journal: Journal) -> None:
        self._settings = settings
        self._journal = journal
        self._names = {topic.full_name(settings.topic_prefix): topic.name for topic in KEPT}
        self._generations, _ = generations_of(settings)

    def run(self, is_stopping: Callable[[], bool]) -> None:
        """Keep what comes, until nothing has come for a while after `is_stopping`.

        Raises:
            JournalError: it cannot be written.
            KafkaException: the broker refuses.
        """
        with self._consumer() as consumer, WorkerPositions(self._settings) as workers:
            workers.generation = self._active
            busy_s = time.monotonic()
            while True:
                messages = consumer.consume(BATCH_RECORDS, WAIT_S)
                records = self._records(messages)
                workers.generation = self._active
                positions = workers.settled() if len(messages) < BATCH_RECORDS else None
                if records or positions:
                    self._journal.append(records, self._named(positions))
                if records or not is_stopping():
                    busy_s = time.monotonic()
                elif time.monotonic() - busy_s >= QUIET_S:
                    break
        # The workers have ended, and all that they have published was read.
        with suppress(DependencyError):
            found = positions_of(self._settings, self._active)
            self._journal.append((), self._named(found))

    @property
    def _active(self) -> int:
        return self._generations.active

    def _named(
        self, positions: Mapping[str, Positions] | None
    ) -> dict[str, dict[tuple[str, int], int]]:
        return {
            reader: {
                (self._names[topic], partition): offset
                for (topic, partition), offset in found.items()
            }
            for reader, found in (positions or {}).items()
        }

    @contextmanager
    def _consumer(self) -> Iterator[Consumer]:
        consumer = Consumer(
            self._settings.reading_config()
            | {
                "group.id": "journal",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                # The embedded broker gives readers of committed records aborted ones all the same,
                # and behind an open transaction nothing, also not what others wrote.
                "isolation.level": "read_uncommitted",
                "fetch.wait.max.ms": round(FETCH_WAIT_S * 1000),
                "fetch.min.bytes": FETCH_BYTES,
                "log_level": 0,
            }
        )
        ends = self._journal.ends
        try:
            consumer.assign(
                [
                    TopicPartition(full_name, partition, ends.get((name, partition), 0))
                    for full_name, name in self._names.items()
                    for partition in range(self._settings.partitions)
                ]
            )
            yield consumer
        finally:
            consumer.close()

    def _records(self, messages: Sequence[Message]) -> list[JournalRecord]:
        found = []
        for message in messages:
            error = message.error()
            if error is not None:
                if error.retriable() or not error.fatal():
                    continue  # librdkafka tries again
                raise KafkaException(error)
            topic, partition, offset = message.topic(), message.partition(), message.offset()
            assert topic is not None  # noqa: S101 - a record has all of them
            assert partition is not None  # noqa: S101
            assert offset is not None  # noqa: S101
            if self._names[topic] == catalogue.GENERATIONS.name:
                self._generations = taken(self._generations, offset, message.value())
            found.append(
                JournalRecord(
                    self._names[topic],
                    partition,
                    offset,
                    message.timestamp()[1],
                    message.key(),
                    message.value(),
                    headers_of(message),
                )
            )
        return found


class WorkerPositions:
    """A thread that asks how far the workers of the active generation are.

    Asking may take as long as the broker likes, and the log must be read meanwhile.

    Attributes:
        generation: Whose positions are asked for.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        self.generation = FIRST
        self._settings = settings
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run, name="positions", daemon=True)
        self._found: tuple[float, int, dict[str, Positions]] | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()

    def settled(self) -> dict[str, Positions] | None:
        """Return positions once all that was published before them has been read; None before.

        The caller has read what was there a moment ago.
        """
        found = self._found
        if found is None or time.monotonic() - found[0] < SETTLED_S:
            return None
        self._found = None
        return found[2] if found[1] == self.generation else None

    def _run(self) -> None:
        while not self._ends.wait(POSITIONS_S):
            generation = self.generation
            with _asked(self._settings, generation) as ask:
                while generation == self.generation and not self._ends.wait(POSITIONS_S):
                    if self._found is None:
                        with suppress(DependencyError):  # it is asked again
                            found = ask()
                            self._found = time.monotonic(), generation, found


def positions_of(settings: KafkaSettings, generation: int) -> dict[str, Positions]:
    """Return how far the workers of a generation are, by reader.

    Raises:
        DependencyError: the broker does not answer.
    """
    with _asked(settings, generation) as ask:
        return ask()


@contextmanager
def _asked(
    settings: KafkaSettings, generation: int
) -> Iterator[Callable[[], dict[str, Positions]]]:
    """Yield what returns the positions of a generation's readers."""
    groups = groups_of(settings, generation)
    with ExitStack() as stack:
        asked = {
            reader: stack.enter_context(GroupPositions(settings, group))
            for reader, group in groups.items()
        }
        yield lambda: {reader: each.read() for reader, each in asked.items()}


def groups_of(settings: KafkaSettings, generation: int) -> dict[str, str]:
    """Return the consumer groups of the readers of a generation."""
    of_generation = settings.model_copy(update={"generation": generation})
    return {
        WORKERS: of_generation.faust_app_id,
        HOLDOUTS: settings.topic_prefix + HOLDOUTS_GROUP,
    }
