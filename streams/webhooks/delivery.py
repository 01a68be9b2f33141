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
from collections.abc import Callable
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

HAND_OVER_S = 5.0
"""Longest time that another process waits to take over."""

logger = logging.getLogger(__name__)


class WebhookDelivery:
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
        self._group = _Group(settings, self._hand_over)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._table = WebhookTable()
        self._dispatchers: dict[str, WebhookDispatcher] = {}
        self._delivering: dict[str, asyncio.Task[None]] = {}
        self._decisions: DecisionLog | None = None
        self._written_s: dict[str, float] = {}
        self._writing = asyncio.Lock()

    async def run(self) -> None:
        """Deliver until cancelled; deliveries under way are then finished, or repeated later.

        Raises:
            ClusterError: a right is missing; without the right to write, all events would be sent
                again.
        """
        self._loop = asyncio.get_running_loop()
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
            if is_new:
                # Ownership has changed. What was not handed over may be another's by now.
                await self._stop_all(is_owner=False)
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
        for name, each in list(self._dispatchers.items()):
            if not each.delivers(self._table.webhooks.get(name)):
                del self._dispatchers[name]
                await each.stop(0.0)
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

    def _hand_over(self) -> None:
        """Stop all dispatchers, and write their progress; for the thread of the consumer.

        Until this returns no other process owns them: it begins where this one has stopped, and
        what this one writes is never newer than what the other has written.
        """
        assert self._loop is not None  # noqa: S101 - it runs
        stopping = asyncio.run_coroutine_threadsafe(self._stop_all(), self._loop)
        with contextlib.suppress(TimeoutError):
            stopping.result(HAND_OVER_S)

    async def _stop_all(self, *, is_owner: bool = True) -> None:
        """Stop all dispatchers, and write their progress while they are this process's."""
        dispatchers = list(self._dispatchers.values())
        await asyncio.gather(*(each.stop(STOP_S) for each in dispatchers))
        delivering = list(self._delivering.values())
        for task in delivering:  # they may wait for Kafka
            task.cancel()
        await asyncio.gather(*delivering, return_exceptions=True)
        if is_owner:
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
        async with self._writing:  # of two at once, the older progress might come last
            await self._write_changes(is_last=is_last)

    async def _write_changes(self, *, is_last: bool) -> None:
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
        is_written = False
        try:
            is_written = await self._write(*records)
        finally:  # also when it is cancelled: the last write must not miss what this one left
            for dispatcher in due.values():
                dispatcher.is_changed |= not is_written
        if is_written:
            self._written_s |= dict.fromkeys(due, now_s)

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
        hand_over: Called before another process becomes the owner.
    """

    def __init__(self, settings: KafkaSettings, hand_over: Callable[[], None]) -> None:
        self._hand_over = hand_over
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
            on_lost=self._lost,
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
                logger.warning("webhooks are not read now: %s", error.str())
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
        if self._is_owner:
            self._hand_over()
        self._lost()

    def _lost(self, *_: object) -> None:
        self._is_changed, self._is_owner = True, False
