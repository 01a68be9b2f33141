"""The webhook process: one of several instances delivers, and another takes over when it ends.

The instances are a consumer group of the topic `webhooks`, whose records are all in one partition,
and the owner of the partition delivers. It reads the topic from the beginning, so it knows all
webhooks and their progress, and writes the progress every second.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import TYPE_CHECKING

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from schemas.catalogue import WEBHOOKS
from streams.kafka.outages import logging_outages
from streams.kafka.positions import WEBHOOKS_GROUP
from streams.kafka.records import LogError
from streams.kafka.rights import check_webhooks
from streams.kafka.settings import KafkaSettings
from streams.kafka.source import KafkaSource
from streams.model.errors import DependencyError
from streams.webhooks import metrics
from streams.webhooks.dispatcher import Rules, WebhookDispatcher
from streams.webhooks.log import PARTITION, WebhookWriter
from streams.webhooks.sealing import Confidential, SealError, Seals
from streams.webhooks.sender import Sender
from streams.webhooks.status import WebhookStatus
from streams.webhooks.table import PROGRESS, Webhook, WebhookTable, encoded_progress

if TYPE_CHECKING:
    from streams.webhooks.decisions import DecisionLog
    from streams.wire.framing import Framing

POLL_S = 0.25
READ_TOGETHER = 1_000

WRITE_S = 1.0
"""Interval of writing progress: a killed process repeats at most these deliveries."""

MOVED_S = 30.0
"""The same for positions only, past decisions that do not concern a webhook."""

PAUSE_S = 1.0
"""Pause after the log could not be read."""

TEST_AGE_MS = 300_000
"""Age from which a requested test is no longer sent."""

STOP_S = 1.0
"""Time that a stopping process gives to deliveries under way."""

logger = logging.getLogger(__name__)


class Delivery:
    """All webhooks of an installation, delivered while this process owns them.

    Args:
        settings: Where Kafka is.
        seals: Opens addresses and secrets; None if the process has no key.
        framing: Decodes decisions and commands.
        sender: Sends.
        rules: Rules common to all webhooks.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        seals: Seals | None,
        framing: Framing,
        sender: Sender,
        rules: Rules,
    ) -> None:
        self._settings = settings
        self._seals = seals
        self._framing = framing
        self._sender = sender
        self._rules = rules
        self._writer = WebhookWriter(settings)
        self._group = _Group(settings)
        self._table = WebhookTable()
        self._dispatchers: dict[str, WebhookDispatcher] = {}
        self._delivering: dict[str, asyncio.Task[None]] = {}
        self._decisions: DecisionLog | None = None
        self._written_s: dict[str, float] = {}

    async def run(self) -> None:
        """Deliver until cancelled; deliveries under way are then finished, or repeated later.

        Raises:
            ClusterError: a right is missing; without the right to write, all events would be sent
                again.
        """
        await self._check_rights()
        tasks = [
            asyncio.create_task(self._follow_webhooks()),
            asyncio.create_task(self._follow_decisions()),
            asyncio.create_task(self._keep_progress()),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._stop_all()
            await asyncio.to_thread(self._group.close)
            if self._decisions is not None:
                await self._decisions.close()
            await asyncio.to_thread(self._writer.close)

    async def _check_rights(self) -> None:
        """Return once Kafka has confirmed the rights of this process."""
        while True:
            try:
                return await asyncio.to_thread(check_webhooks, self._settings)
            except DependencyError as error:
                logger.warning("webhooks are not read now: %s", error)
                await asyncio.sleep(PAUSE_S)

    async def _follow_webhooks(self) -> None:
        while True:
            try:
                records, is_new, is_caught_up = await asyncio.to_thread(self._group.poll)
            except KafkaException as error:
                logger.warning("webhooks are not read now: %s", error)
                await asyncio.sleep(PAUSE_S)
                continue
            if is_new:  # ownership has changed
                await self._stop_all()
                self._table = WebhookTable()
            changed = set()
            for key, value, timestamp_ms in records:
                changed.add(self._table.take(key, value, timestamp_ms))
            metrics.IS_ACTIVE.set(is_caught_up)
            if is_caught_up:
                await self._apply(changed)
            self._show()

    async def _apply(self, changed: set[str | None]) -> None:
        """Have dispatchers follow the definitions of their webhooks."""
        for name in [each for each in self._dispatchers if each not in self._table.webhooks]:
            await self._dispatchers.pop(name).stop(0.0)
        orphans = self._table.drop_orphans()
        await self._write(*((f"{name}{PROGRESS}".encode(), None) for name in orphans))
        for name, webhook in self._table.webhooks.items():
            dispatcher = self._dispatchers.get(name)
            if dispatcher is None:
                dispatcher = WebhookDispatcher(
                    webhook,
                    self._opened(webhook),
                    self._table.progress_of(name),
                    self._sender,
                    self._rules,
                )
                self._dispatchers[name] = dispatcher
            elif name in changed:
                dispatcher.update(webhook, self._opened(webhook))
            if time.time_ns() // 1_000_000 - webhook.definition.test_at_ms < TEST_AGE_MS:
                dispatcher.start_test()
            if (
                dispatcher.is_wanted
                and name not in self._delivering
                and self._decisions is not None
            ):
                self._delivering[name] = asyncio.create_task(self._deliver(name, dispatcher))

    async def _deliver(self, name: str, dispatcher: WebhookDispatcher) -> None:
        try:
            assert self._decisions is not None  # noqa: S101 - as the caller saw
            await dispatcher.deliver(self._decisions)
        except Exception:
            logger.exception("webhook %s: not expected, and tried again", name)
            await asyncio.sleep(PAUSE_S)
        finally:
            self._delivering.pop(name, None)

    def _opened(self, webhook: Webhook) -> Confidential | None:
        if self._seals is None:
            return None
        try:
            return self._seals.open(webhook.sealed)
        except SealError as error:
            logger.warning("webhook %s %s", webhook.webhook_id, error.message)
            return None

    async def _stop_all(self) -> None:
        """Stop all dispatchers, and write their progress."""
        dispatchers = list(self._dispatchers.values())
        await asyncio.gather(*(each.stop(STOP_S) for each in dispatchers))
        await asyncio.gather(*self._delivering.values(), return_exceptions=True)
        await self._write_progress(is_last=True)
        self._dispatchers.clear()
        self._written_s.clear()

    async def _follow_decisions(self) -> None:
        """Follow `decisions` while a webhook is to deliver."""
        while True:
            try:
                if not any(each.is_wanted for each in self._dispatchers.values()):
                    await asyncio.sleep(POLL_S)
                    continue
                if self._decisions is None:
                    self._decisions = await self._opened_decisions()
                if await self._decisions.follow():
                    for dispatcher in self._dispatchers.values():
                        dispatcher.wake()
            except (DependencyError, LogError, KafkaException) as error:
                logger.warning("decisions are not read now: %s", error)
                await asyncio.sleep(PAUSE_S)

    async def _opened_decisions(self) -> DecisionLog:
        # Experiments take a second of imports and 100 MB, which a process without webhooks saves.
        from streams.webhooks.decisions import DecisionLog  # noqa: PLC0415

        found = DecisionLog(self._settings, KafkaSource(self._settings), self._framing)
        await found.open()
        return found

    async def _keep_progress(self) -> None:
        while True:
            await asyncio.sleep(WRITE_S)
            await self._write_progress()

    async def _write_progress(self, *, is_last: bool = False) -> None:
        now_s = time.monotonic()
        due = {
            name: dispatcher
            for name, dispatcher in self._dispatchers.items()
            if dispatcher.is_changed
            or (
                dispatcher.has_moved
                and (is_last or now_s - self._written_s.get(name, 0.0) >= MOVED_S)
            )
        }
        records = []
        for name, dispatcher in due.items():
            dispatcher.is_changed = dispatcher.has_moved = False
            records.append(encoded_progress(name, dispatcher.progress))
        if await self._write(*records):
            self._written_s |= dict.fromkeys(due, now_s)
            return
        for dispatcher in due.values():
            dispatcher.is_changed = True

    async def _write(self, *records: tuple[bytes, bytes | None]) -> bool:
        if not records:
            return True
        try:
            await asyncio.to_thread(self._writer.write, *records)
        except DependencyError as error:
            logger.warning("%s; they are written again", error)
            return False
        return True

    def _show(self) -> None:
        statuses = [each.status for each in self._dispatchers.values()]
        for status in WebhookStatus:
            metrics.WEBHOOKS.labels(status).set(statuses.count(status))
        metrics.WAITING.set(sum(len(each.progress.waiting) for each in self._dispatchers.values()))


class _Group:
    """Membership in the consumer group; the owner of the partition delivers.

    Args:
        settings: Where Kafka is.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        self._is_changed = False
        self._is_owner = False
        self._is_caught_up = False
        self._consumer = Consumer(
            settings.group_config(settings.topic_prefix + WEBHOOKS_GROUP)
            | {"enable.partition.eof": True}
            | logging_outages(settings, "reading webhooks")
        )
        self._consumer.subscribe(
            [WEBHOOKS.full_name(settings.topic_prefix)],
            on_assign=self._assigned,
            on_revoke=self._revoked,
            on_lost=self._revoked,
        )

    def poll(self) -> tuple[list[tuple[bytes | None, bytes | None, int]], bool, bool]:
        """Return new records, whether ownership has changed, and whether all records were read.

        Raises:
            KafkaException: Kafka refuses.
        """
        messages = self._consumer.consume(READ_TOGETHER, POLL_S)
        records = []
        for each in messages:
            error = each.error()
            if error is None:
                records.append((each.key(), each.value(), each.timestamp()[1]))
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - its public name
                self._is_caught_up |= each.partition() == PARTITION
            elif error.fatal() or not error.retriable():
                raise KafkaException(error)
        is_changed, self._is_changed = self._is_changed, False
        return records, is_changed, self._is_owner and self._is_caught_up

    def close(self) -> None:
        """Leave the group."""
        with contextlib.suppress(KafkaException, RuntimeError):
            self._consumer.close()

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        for each in partitions:
            each.offset = OFFSET_BEGINNING
        consumer.assign(partitions)
        self._is_changed, self._is_caught_up = True, False
        self._is_owner = any(each.partition == PARTITION for each in partitions)

    def _revoked(self, *_: object) -> None:
        self._is_changed, self._is_owner = True, False
