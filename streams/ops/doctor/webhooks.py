"""Webhooks: the facts about each, and what is wrong with it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from schemas.catalogue import DECISIONS
from streams.kafka.records import LogSource, OffsetRange
from streams.model.errors import counted
from streams.ops.doctor.finding import Finding, Severity
from streams.webhooks.log import WebhookReader
from streams.webhooks.table import is_disabled

LATE_LIMIT_MS = 120_000
"""Largest age of an unread or unsent event that is not reported; a takeover takes some seconds."""


@dataclass(frozen=True, slots=True)
class WebhookFacts:
    """Facts about a webhook that is to deliver.

    Attributes:
        webhook_id: Its id.
        host: Scheme and host of its address.
        disabled_because: Code of why it was disabled; None unless it was.
        error: Code of the last failure; None if the last attempt succeeded, or before the first.
        failing_ms: For how long no attempt was taken; 0 if the last one was.
        waiting: Events that wait.
        late_ms: For how long something that is due was not read or not sent; 0 for nothing.
    """

    webhook_id: str
    host: str
    disabled_because: str | None = None
    error: str | None = None
    failing_ms: int = 0
    waiting: int = 0
    late_ms: int = 0


def webhook_facts(source: LogSource) -> tuple[WebhookFacts, ...]:
    """Return the facts about all webhooks that are to deliver. Blocks.

    Raises:
        LogError, DependencyError: the log cannot be read.
    """
    table = WebhookReader(source).read()
    now_ms = time.time_ns() // 1_000_000
    unread = _Unread(source, now_ms)
    found = []
    for webhook in table.webhooks.values():
        definition, progress = webhook.definition, table.progress_of(webhook.webhook_id)
        if not definition.is_enabled:
            continue
        state = progress.state
        is_off = is_disabled(webhook, progress)
        if state.activation != definition.activation:
            late_ms = now_ms - definition.changed_at_ms
        else:
            due_ms = progress.next_due_ms()
            late_ms = 0 if due_ms is None or due_ms == 0 else now_ms - due_ms
            late_ms = max(late_ms, unread.age_ms(progress.positions))
        failing_ms = 0 if state.failing_since_ms is None else now_ms - state.failing_since_ms
        found.append(
            WebhookFacts(
                webhook_id=webhook.webhook_id,
                host=definition.host,
                disabled_because=state.disabled_because if is_off else None,
                error=state.attempt_error,
                failing_ms=failing_ms,
                waiting=len(progress.waiting),
                late_ms=0 if is_off else max(0, late_ms),
            )
        )
    return tuple(found)


def webhook_findings(webhooks: tuple[WebhookFacts, ...]) -> Iterator[Finding]:
    """Yield what is wrong with webhooks."""
    for each in webhooks:
        named = f"the webhook {each.webhook_id} to {each.host}"
        if each.disabled_because is not None:
            yield Finding(
                "WEBHOOK_DISABLED",
                Severity.WARNING,
                f"{named} is disabled ({each.disabled_because}, last failure {each.error}); "
                f"waiting: {counted(each.waiting, 'event')}",
                "Mend the receiver, then enable it again: "
                f"`experiment webhooks update {each.webhook_id} --send on`.",
            )
        elif each.failing_ms > LATE_LIMIT_MS:
            yield Finding(
                "WEBHOOK_FAILING",
                Severity.WARNING,
                f"{named} has taken nothing for {each.failing_ms // 1000} s ({each.error}); "
                f"waiting: {counted(each.waiting, 'event')}",
                f"See why it does not answer: `experiment webhooks test {each.webhook_id}`.",
            )
    late = [each for each in webhooks if each.late_ms > LATE_LIMIT_MS]
    if late:
        yield Finding(
            "WEBHOOKS_NOT_DELIVERED",
            Severity.ERROR,
            f"events for {counted(len(late), 'webhook')} are not sent, for "
            f"{max(each.late_ms for each in late) // 1000} s",
            "Start `experiment webhooks run`, or see its log.",
        )


class _Unread:
    """Ages of decisions that were not read. The ends of the topic are read once for all webhooks.

    Args:
        source: The log.
        now_ms: The time.
    """

    def __init__(self, source: LogSource, now_ms: int) -> None:
        self._source = source
        self._now_ms = now_ms
        self._spans: Mapping[int, OffsetRange] | None = None
        self._times: dict[tuple[int, int], int] = {}

    def age_ms(self, positions: Mapping[int, int]) -> int:
        """Return the age of the oldest unread decision; 0 if all are read.

        Positions past decisions that concern no webhook are written every half minute.
        """
        if self._spans is None:
            self._spans = self._source.spans(DECISIONS.name)
        oldest_ms = self._now_ms
        for partition, span in self._spans.items():
            begin = max(span.begin, positions.get(partition, 0))
            if begin < span.end:
                oldest_ms = min(oldest_ms, self._time_of(partition, begin))
        return self._now_ms - oldest_ms

    def _time_of(self, partition: int, offset: int) -> int:
        """Return the time of a record; now, if no record is at this offset."""
        place = partition, offset
        if place not in self._times:
            found = [
                record.timestamp
                for records in self._source.read(DECISIONS.name, partition, offset, offset + 1)
                for record in records
            ]
            self._times[place] = min(found, default=self._now_ms)
        return self._times[place]
