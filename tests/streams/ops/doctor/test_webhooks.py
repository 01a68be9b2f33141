"""Findings of webhooks, from what the log has of them."""

from __future__ import annotations

import time

from streams.ops.doctor.webhooks import LATE_LIMIT_MS, WebhookFacts, webhook_facts, webhook_findings
from streams.webhooks.definition import WebhookDefinition
from streams.webhooks.progress import DispatchProgress
from streams.webhooks.table import Webhook, encoded_progress
from tests.twins.webhooks import MemoryWebhooks

NAME = "wh_" + "a" * 26
NOW_MS = time.time_ns() // 1_000_000
OLD_MS = NOW_MS - 3_600_000


def log_of(progress: DispatchProgress | None, **changes: object) -> MemoryWebhooks:
    found = MemoryWebhooks()
    definition = WebhookDefinition(host="https://a.example", changed_at_ms=OLD_MS, **changes)  # type: ignore[arg-type]
    found.write(Webhook(NAME, definition, b"").encoded())
    if progress is not None:
        found.write(encoded_progress(NAME, progress))
    return found


def codes(log: MemoryWebhooks) -> list[str]:
    return [each.code for each in webhook_findings(webhook_facts(log.log))]


def progress_of(activation: int = 1) -> DispatchProgress:
    found = DispatchProgress()
    found.activate(activation, {0: 0})
    return found


def test_a_webhook_that_no_process_has_seen_is_not_delivered():
    assert codes(log_of(None)) == ["WEBHOOKS_NOT_DELIVERED"]
    assert codes(log_of(progress_of())) == []
    assert codes(log_of(None, is_enabled=False)) == []


def test_a_disabled_and_a_failing_webhook_are_named():
    progress = progress_of()
    progress.enqueue((0, 0), OLD_MS)
    event = progress.begin((0, 0), OLD_MS)
    progress.fail((0, 0), event, OLD_MS, None, "TIMED_OUT", 4 * 3_600_000)
    assert codes(log_of(progress)) == ["WEBHOOK_FAILING"]

    progress.fail((0, 0), event, OLD_MS, 410, "GONE", None)
    [finding] = webhook_findings(webhook_facts(log_of(progress).log))

    assert finding.code == "WEBHOOK_DISABLED"
    for part in (NAME, "https://a.example", "GONE", "waiting: 1 event"):
        assert part in finding.what


def test_an_event_that_is_overdue_and_a_decision_that_is_unread_are_not_delivered():
    progress = progress_of()
    progress.enqueue((0, 0), OLD_MS)
    assert codes(log_of(progress)) == ["WEBHOOKS_NOT_DELIVERED"]

    log = log_of(progress_of())
    log.log.append("decisions", 0, b"x", timestamp=time.time_ns() // 1_000_000 - 1_000)
    assert codes(log) == []
    log.log.append("decisions", 1, b"x", timestamp=OLD_MS)
    assert codes(log) == ["WEBHOOKS_NOT_DELIVERED"]


def test_what_is_late_by_a_little_is_not_said():
    late = WebhookFacts(NAME, "h", late_ms=LATE_LIMIT_MS, failing_ms=LATE_LIMIT_MS)

    assert list(webhook_findings((late,))) == []


def test_the_ends_of_the_log_are_read_once_for_all_webhooks():
    log = MemoryWebhooks()
    for letter in "abcdefgh":
        name = "wh_" + letter * 26
        log.write(Webhook(name, WebhookDefinition(host="h", changed_at_ms=OLD_MS), b"").encoded())
        log.write(encoded_progress(name, progress_of()))
    log.log.append("decisions", 1, b"x", timestamp=OLD_MS)

    assert [each.code for each in webhook_findings(webhook_facts(log.log))] == [
        "WEBHOOKS_NOT_DELIVERED"
    ]
    assert log.log.readings["decisions"] == 1
