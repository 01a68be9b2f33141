"""The topic `decisions` as events: the newest in memory, older ones read again when asked for."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from schemas.catalogue import COMMANDS, DECISIONS
from schemas.codec import Codec
from streams.kafka.records import LogError, LogSource, StoredRecord, first_since
from streams.kafka.settings import KafkaSettings
from streams.kafka.tail import LogTail
from streams.model.errors import DependencyError, EventError
from streams.webhooks.events import Event, event_of
from streams.webhooks.experiments import ExperimentDirectory
from streams.wire.decisions import decode_decision
from streams.wire.framing import Framing

KEPT_RECORDS = 1_000
"""Newest records of a partition that are kept in memory."""

READ_TOGETHER = 500
"""Older records that are read at once."""

POLL_S = 0.5

logger = logging.getLogger(__name__)

Numbered = tuple[int, Event | None]
"""Offset of a record, and its event, if it has one for receivers."""


@dataclass(slots=True)
class _RecentRecords:
    """Newest records of a partition: all in [begin, end), of those that are there from `first`."""

    first: int
    begin: int
    end: int
    events: deque[Numbered] = field(default_factory=deque)


class DecisionLog:
    """Reader of `decisions`.

    Commands are read to their end before decisions become events, so that the experiments of
    decisions are known: a decision about a command is logged after it.

    Args:
        settings: Where Kafka is.
        source: The log.
        framing: Decodes records.
    """

    def __init__(self, settings: KafkaSettings, source: LogSource, framing: Framing) -> None:
        self._settings = settings
        self._source = source
        self._framing = framing
        self._directory = ExperimentDirectory()
        self._commands = LogTail(source, COMMANDS.name, framing)
        self._recent: dict[int, _RecentRecords] = {}
        self._received: dict[int, list[StoredRecord]] = {}
        self._consumer: Consumer | None = None
        self._topic = settings.topic_name(DECISIONS)

    @property
    def partitions(self) -> AbstractSet[int]:
        """Numbers of the partitions."""
        return self._recent.keys()

    async def open(self) -> None:
        """Read the commands, and begin to follow the end of `decisions`.

        Raises:
            LogError, DependencyError, KafkaException: the log cannot be read.
        """
        await self._learn()
        spans = await asyncio.to_thread(self._source.spans, DECISIONS.name)
        self._recent = {
            number: _RecentRecords(span.begin, span.end, span.end) for number, span in spans.items()
        }
        consumer = Consumer(
            self._settings.reading_config()
            | {
                "group.id": f"{self._settings.topic_prefix}log-webhooks",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "isolation.level": "read_committed",
            }
        )
        consumer.assign(
            [TopicPartition(self._topic, number, each.end) for number, each in self._recent.items()]
        )
        self._consumer = consumer

    async def close(self) -> None:
        """Close the connections."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await asyncio.to_thread(consumer.close)

    async def follow(self) -> bool:
        """Wait a moment for new records; return whether there are any.

        Raises:
            LogError, DependencyError, KafkaException: the log cannot be read.
        """
        assert self._consumer is not None  # noqa: S101 - it was opened
        # What was received is kept until it is in memory: if the log or the registry cannot be read
        # meanwhile, the consumer does not give it a second time.
        if not self._received:
            self._receive(await asyncio.to_thread(self._consumer.consume, READ_TOGETHER, POLL_S))
        if not self._received:
            return False
        await self._learn()
        for partition, records in list(self._received.items()):
            events = await self._events(records)
            recent = self._recent[partition]
            recent.events.extend(events)
            recent.end = records[-1].offset + 1
            while len(recent.events) > KEPT_RECORDS:
                recent.begin = recent.events.popleft()[0] + 1
            del self._received[partition]
        return True

    async def read(self, partition: int, begin: int, limit: int) -> tuple[Sequence[Numbered], int]:
        """Return the next records of a partition, and the offset to read on from.

        Args:
            partition: Which one.
            begin: Offset to read from.
            limit: Largest number of records.

        Raises:
            LogError, DependencyError: the log cannot be read.
        """
        recent = self._recent.get(partition)
        if recent is None or begin >= recent.end:
            return (), begin
        if begin >= recent.begin:
            found = [each for each in recent.events if each[0] >= begin]
            taken = found[:limit]
            return taken, taken[-1][0] + 1 if len(found) > limit else recent.end
        end = min(recent.begin, begin + limit)
        return await self._older(partition, begin, end), end

    async def event_at(self, partition: int, offset: int) -> Event | None:
        """Return the event of a record; None if the record is missing or has none.

        Raises:
            DependencyError: the log cannot be read.
        """
        recent = self._recent.get(partition)
        if recent is None or offset >= recent.end:
            return None
        if offset >= recent.begin:
            return next((event for at, event in recent.events if at == offset), None)
        try:
            found = await self._older(partition, offset, offset + 1)
        except LogError:
            return None
        return found[0][1] if found else None

    async def positions_at(self, at_ms: int) -> Mapping[int, int]:
        """Return the offsets of the first records of each partition that came at a time or later.

        Raises:
            LogError, DependencyError: the log cannot be read.
        """
        assert self._consumer is not None  # noqa: S101 - it was opened
        asked = [TopicPartition(self._topic, number, at_ms) for number in self._recent]
        try:
            found = await asyncio.to_thread(
                self._consumer.offsets_for_times, asked, timeout=self._settings.kafka_timeout_s
            )
        except KafkaException as error:
            raise DependencyError("kafka", f"Kafka: {error.args[0].str()}") from error
        begins = {
            each.partition: each.offset if each.offset >= 0 else self._recent[each.partition].end
            for each in found
        }
        return await asyncio.to_thread(first_since, self._source, DECISIONS.name, begins, at_ms)

    def bounded(self, positions: Mapping[int, int]) -> dict[int, int]:
        """Return the offsets to continue from, between beginning and end of each partition.

        A log that has lost its end, as an embedded one may, has new records at old offsets. Of one
        that has lost its beginning, what is left is sent.
        """
        return {
            number: max(recent.first, min(positions.get(number, 0), recent.end))
            for number, recent in self._recent.items()
        }

    def _receive(self, messages: Sequence[Message]) -> None:
        for each in messages:
            error = each.error()
            if error is None:
                record = StoredRecord(
                    each.offset() or 0, each.timestamp()[1], each.key(), each.value()
                )
                self._received.setdefault(each.partition() or 0, []).append(record)
            elif not error.retriable():
                logger.warning("decisions are not read now: %s", error.str())

    async def _learn(self) -> None:
        await self._commands.take(self._directory.take)

    async def _older(self, partition: int, begin: int, end: int) -> list[Numbered]:
        def read() -> list[StoredRecord]:
            return [
                record
                for records in self._source.read(DECISIONS.name, partition, begin, end)
                for record in records
            ]

        return await self._events(await asyncio.to_thread(read))

    async def _events(self, records: Sequence[StoredRecord]) -> list[Numbered]:
        await self._framing.prepare(record.value for record in records)
        codec = self._framing.codec
        return [(record.offset, self._event(record, codec)) for record in records]

    def _event(self, record: StoredRecord, codec: Codec) -> Event | None:
        try:
            decision = decode_decision(record.value, codec)
            return event_of(decision, self._directory, record.timestamp)
        except EventError:
            return None  # unreadable
        except Exception:
            logger.exception(
                "the record at offset %d of %s is no event", record.offset, self._topic
            )
            return None
