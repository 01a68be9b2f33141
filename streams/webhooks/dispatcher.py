"""Delivery of one webhook: reads `decisions`, sends due events, and tracks the progress."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Coroutine, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Protocol

from confluent_kafka import KafkaException

from streams.kafka.records import LogError
from streams.model.errors import DependencyError
from streams.process.outages import outage
from streams.webhooks import metrics
from streams.webhooks.addresses import AddressError, AddressPolicy, target_of
from streams.webhooks.definition import Format
from streams.webhooks.progress import DispatchProgress, PendingEvent, Place, TestResult
from streams.webhooks.sealing import Confidential
from streams.webhooks.sender import DeliveryFailure, DeliveryOutcome, Sender
from streams.webhooks.signing import signature
from streams.webhooks.status import WebhookStatus, status_of
from streams.webhooks.table import Webhook

if TYPE_CHECKING:
    from streams.webhooks.events import Event

DELIVERIES_AT_ONCE = 4
"""Maximum concurrent deliveries of one webhook; webhooks do not wait for each other."""

READ_TOGETHER = 100
LOOK_S = 30.0
"""Longest pause between two looks at the clock."""

PAUSE_S = 1.0
"""Pause after the log could not be read."""

EARLIER, LATER = 0.9, 1.2
"""Bounds of the random factor of a pause, so that failed events are not retried together."""

AGENT = f"experiment-streams/{version('experiment-streams')}"

_DELIVERING = frozenset({WebhookStatus.ACTIVE, WebhookStatus.FAILING})

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Rules:
    """Rules that are the same for all webhooks of a process.

    Attributes:
        policy: Policy of allowed addresses.
        retries_s: Pauses after failed attempts, in seconds; after the last retry an event is given
            up.
    """

    policy: AddressPolicy
    retries_s: tuple[int, ...]


class Decisions(Protocol):
    """Reader of `decisions` as events, as `streams.webhooks.decisions.DecisionLog` is."""

    @property
    def partitions(self) -> AbstractSet[int]:
        """Numbers of the partitions."""

    async def read(
        self, partition: int, begin: int, limit: int
    ) -> tuple[Sequence[tuple[int, Event | None]], int]:
        """Return the next records of a partition, and the offset to read on from."""

    async def event_at(self, partition: int, offset: int) -> Event | None:
        """Return the event of a record; None if the record is missing or has none."""

    async def positions_at(self, at_ms: int) -> Mapping[int, int]:
        """Return the offsets of the first records that came at a time or later."""

    def bounded(self, positions: Mapping[int, int]) -> dict[int, int]:
        """Return the offsets to continue from, at most the end of each partition."""


def now_ms() -> int:
    """Return the time, in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


class WebhookDispatcher:
    """Delivery of the events of one webhook.

    Attributes:
        webhook: The logged webhook.
        progress: Its progress.
        is_changed: Whether progress has changed that must be written soon.
        has_moved: Whether it has skipped irrelevant decisions, which may be written later.

    Args:
        webhook: The logged webhook.
        confidential: Its address and secrets; None if they cannot be opened.
        progress: Its logged progress.
        sender: Sends.
        rules: What is the same for all.
    """

    def __init__(
        self,
        webhook: Webhook,
        confidential: Confidential | None,
        progress: DispatchProgress,
        sender: Sender,
        rules: Rules,
    ) -> None:
        self.webhook = webhook
        self.progress = progress
        self.is_changed = False
        self.has_moved = False
        self._confidential = confidential
        self._sender = sender
        self._rules = rules
        self._wake = asyncio.Event()
        self._under_way: set[asyncio.Task[None]] = set()
        self._tests: set[str] = set()
        self._is_stopping = False

    @property
    def status(self) -> WebhookStatus:
        """Status of the webhook."""
        return status_of(self.webhook, self._confidential, self.progress)

    @property
    def is_wanted(self) -> bool:
        """Whether it is to deliver."""
        return not self._is_stopping and self.status in _DELIVERING

    def delivers(self, webhook: Webhook | None) -> bool:
        """Return whether this is its webhook, and not one of the same id that was deleted."""
        created_at_ms = self.webhook.definition.created_at_ms
        return webhook is not None and webhook.definition.created_at_ms == created_at_ms

    def update(self, webhook: Webhook, confidential: Confidential | None) -> None:
        """Replace the definition; deliveries under way are finished with the former one.

        With another address, failures of the former one no longer count.
        """
        former = self._confidential
        self.webhook, self._confidential = webhook, confidential
        if former is not None and confidential is not None and former.url != confidential.url:
            self.progress.start_over()
            self.is_changed = True
        self._wake.set()

    def wake(self) -> None:
        """Check for new decisions."""
        self._wake.set()

    async def deliver(self, decisions: Decisions) -> None:
        """Deliver while it is wanted."""
        while self.is_wanted:
            self._wake.clear()
            try:
                await self._activate(decisions)
                await self._read_on(decisions)
            except (DependencyError, LogError, KafkaException) as error:
                logger.warning("webhook %s: %s", self.webhook.webhook_id, error)
                await asyncio.sleep(PAUSE_S)
                continue
            if self._is_current:
                self._send_due(decisions)
            await self._pause()

    async def stop(self, patience_s: float) -> None:
        """Finish deliveries under way, or cancel them after some seconds: they are repeated."""
        self._is_stopping = True
        self._wake.set()
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=patience_s)
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    def start_test(self) -> None:
        """Send a requested test that was not sent yet, even if the webhook is disabled."""
        wanted = self.webhook.definition.test_id
        if not wanted or wanted in self._tests or self._is_tested:
            return
        self._tests.add(wanted)
        self._start(self._test(wanted))

    @property
    def _is_tested(self) -> bool:
        """Whether the result of the last requested test is known."""
        done = self.progress.state.test
        return done is not None and done.id == self.webhook.definition.test_id

    @property
    def _is_current(self) -> bool:
        """Whether it is to deliver by the current activation; both may change during any wait."""
        is_activated = self.progress.state.activation == self.webhook.definition.activation
        return self.is_wanted and is_activated

    async def _activate(self, decisions: Decisions) -> None:
        definition = self.webhook.definition
        if self.progress.state.activation == definition.activation:
            if not self.progress.positions.keys() >= decisions.partitions:
                self.progress.positions = decisions.bounded(self.progress.positions)
            return
        positions = None
        if definition.is_from_since or not self.progress.positions:
            positions = await decisions.positions_at(definition.since_ms or 0)
        self.progress.activate(definition.activation, positions)
        self.is_changed = True

    async def _read_on(self, decisions: Decisions) -> None:
        """Read events from the log while there are any, and room for them.

        While some can be sent, a piece is read at once: with room for one after each delivery,
        every event of a long absence would cost a request.
        """
        least = READ_TOGETHER if self.progress.due(now_ms()) else 1
        for partition, begin in decisions.bounded(self.progress.positions).items():
            position = begin
            while self.progress.room >= least:
                limit = min(READ_TOGETHER, self.progress.room)
                records, end = await decisions.read(partition, position, limit)
                for offset, event in records:
                    if event is not None and event.is_for(self.webhook.definition):
                        self.progress.enqueue((partition, offset), now_ms())
                        self.is_changed = True
                # With the events, before the progress may be written.
                if self.progress.positions.get(partition) != end:
                    self.progress.positions[partition] = end
                    self.has_moved = True
                if end == position:
                    break
                position = end

    def _send_due(self, decisions: Decisions) -> None:
        for place in self.progress.due(now_ms()):
            if len(self._under_way) >= DELIVERIES_AT_ONCE:
                break
            event = self.progress.begin(place, now_ms())
            self._start(self._deliver(place, event, decisions))

    async def _pause(self) -> None:
        """Wait for something to do: a decision, the end of a delivery, or the time of a retry."""
        pause_s = LOOK_S
        due_ms = self.progress.next_due_ms()
        if due_ms is not None and len(self._under_way) < DELIVERIES_AT_ONCE:
            pause_s = min(pause_s, max(0.0, (due_ms - now_ms()) / 1000))
        try:
            async with asyncio.timeout(pause_s):
                await self._wake.wait()
        except TimeoutError:
            pass

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._under_way.add(task)

        def done(finished: asyncio.Task[None]) -> None:
            self._under_way.discard(finished)
            self._wake.set()
            if not finished.cancelled() and finished.exception() is not None:
                logger.error("a delivery has failed", exc_info=finished.exception())

        task.add_done_callback(done)

    async def _deliver(self, place: Place, pending: PendingEvent, decisions: Decisions) -> None:
        try:
            event = await decisions.event_at(*place)
            if event is None:
                self.progress.forget(place, pending)
                self.is_changed = True
                return
            if not self._is_current:
                return  # it was turned off while the event was read
            outcome = await self._post(event)
        except (DependencyError, LogError, KafkaException) as error:
            logger.warning("webhook %s: %s", self.webhook.webhook_id, error)
            await asyncio.sleep(PAUSE_S)
            return
        finally:
            pending.is_under_way = False
        self._note(place, pending, event, outcome)

    def _note(
        self, place: Place, pending: PendingEvent, event: Event, outcome: DeliveryOutcome
    ) -> None:
        self.is_changed = True
        at_ms = now_ms()
        if outcome.failure is None:
            assert outcome.status is not None  # noqa: S101 - a receiver has answered
            self.progress.take(place, pending, at_ms, outcome.status)
            return
        attempts = pending.attempts
        pause_ms = self._pause_ms(attempts, outcome)
        is_given_up = self.progress.fail(
            place, pending, at_ms, outcome.status, outcome.failure.value, pause_ms
        )
        state = self.progress.state
        host = self.webhook.definition.host
        said = f"webhook {self.webhook.webhook_id} ({host}), {event.message_id}: {outcome.failure}"
        if state.disabled_at_ms is not None:
            logger.error("%s; the webhook is disabled (%s)", said, state.disabled_because)
        elif is_given_up:
            metrics.GIVEN_UP.inc()
            logger.error("%s; the event is given up", said)
        else:
            again_s = 0.0 if pause_ms is None else pause_ms / 1_000
            away = outage(self.webhook.webhook_id, again_s=again_s)
            logger.warning("%s, attempt %d", said, attempts + 1, extra=away)

    def _pause_ms(self, attempts: int, outcome: DeliveryOutcome) -> int | None:
        retries_s = self._rules.retries_s
        if attempts >= len(retries_s):
            return None
        pause_s = retries_s[attempts] * random.uniform(EARLIER, LATER)
        return round(1000 * max(pause_s, outcome.retry_after_s))

    async def _test(self, test_id: str) -> None:
        from streams.webhooks.events import test_event  # noqa: PLC0415 - takes a second

        outcome = await self._post(test_event(test_id, self.webhook.webhook_id, now_ms()))
        if self._is_tested:
            return  # a later test has ended before this one
        failure = None if outcome.failure is None else outcome.failure.value
        self.progress.note_test(
            TestResult(id=test_id, at_ms=now_ms(), status=outcome.status, error=failure)
        )
        self.is_changed = True

    async def _post(self, event: Event) -> DeliveryOutcome:
        """Send an event once; a fault of this program fails the attempt, as one of a receiver."""
        try:
            outcome = await self._attempt(event)
        except Exception:
            logger.exception(
                "webhook %s, %s: not expected", self.webhook.webhook_id, event.message_id
            )
            outcome = DeliveryOutcome(None, DeliveryFailure.INTERNAL_ERROR)
        metrics.DELIVERIES.labels(outcome.failure or metrics.DELIVERED).inc()
        metrics.SECONDS.observe(outcome.seconds)
        return outcome

    async def _attempt(self, event: Event) -> DeliveryOutcome:
        from streams.webhooks.slack import slack_body  # noqa: PLC0415 - takes a second

        confidential = self._confidential
        if confidential is None:
            return DeliveryOutcome(None, DeliveryFailure.ADDRESS_NOT_ALLOWED)
        is_slack = self.webhook.definition.format is Format.SLACK
        body = slack_body(event) if is_slack else event.body()
        try:
            target = target_of(confidential.url, self._rules.policy)
        except AddressError:
            return DeliveryOutcome(None, DeliveryFailure.ADDRESS_NOT_ALLOWED)
        headers = _headers(event.message_id, confidential, body)
        return await self._sender.post(target, headers, body)


def _headers(message_id: str, confidential: Confidential, body: bytes) -> Mapping[str, str]:
    at_ms = now_ms()
    headers = {
        "Content-Type": "application/json",
        "User-Agent": AGENT,
        "Accept": "*/*",
        "webhook-id": message_id,
        "webhook-timestamp": str(at_ms // 1000),
    }
    secrets: Sequence[str] = confidential.signing_secrets(at_ms)
    if secrets:
        headers["webhook-signature"] = signature(secrets, message_id, at_ms // 1000, body)
    return headers
