"""Status of a webhook: what it is asked to do, and how its deliveries go."""

from __future__ import annotations

from enum import StrEnum

from streams.webhooks.progress import DispatchProgress
from streams.webhooks.sealing import Confidential
from streams.webhooks.table import Webhook, is_disabled


class WebhookStatus(StrEnum):
    """Status of a webhook; the values are those of the API and of the metrics."""

    ACTIVE = "active"
    FAILING = "failing"
    DISABLED = "disabled"
    OFF = "off"
    UNREADABLE = "unreadable"


def status_of(
    webhook: Webhook, confidential: Confidential | None, progress: DispatchProgress
) -> WebhookStatus:
    """Return the status of a webhook.

    Args:
        webhook: As the log has it.
        confidential: Its address and secrets; None if they cannot be opened.
        progress: Its progress.
    """
    if confidential is None:
        return WebhookStatus.UNREADABLE
    if not webhook.definition.is_enabled:
        return WebhookStatus.OFF
    if is_disabled(webhook, progress):
        return WebhookStatus.DISABLED
    is_failing = progress.state.failing_since_ms is not None
    return WebhookStatus.FAILING if is_failing else WebhookStatus.ACTIVE
