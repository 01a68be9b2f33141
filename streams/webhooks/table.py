"""The webhooks of an installation, from the records of the topic `webhooks`."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

from streams.model.errors import EngineError
from streams.model.webhooks import WebhookProgressRecord, WebhookRecord, is_webhook_id
from streams.webhooks.definition import WebhookDefinition
from streams.webhooks.progress import DispatchProgress
from streams.wire.webhooks import (
    decode_webhook,
    decode_webhook_progress,
    encode_webhook,
    encode_webhook_progress,
)

PROGRESS = "/progress"
"""End of the key of a record of progress, behind the id."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Webhook:
    """A logged webhook.

    Attributes:
        webhook_id: Its id.
        definition: The part that is not secret.
        sealed: Address and secrets, encrypted.
    """

    webhook_id: str
    definition: WebhookDefinition
    sealed: bytes

    def encoded(self) -> tuple[bytes, bytes]:
        """Return key and value of its record."""
        record = WebhookRecord(self.webhook_id, self.definition.to_json(), self.sealed)
        return self.webhook_id.encode(), encode_webhook(record)


def encoded_progress(webhook_id: str, progress: DispatchProgress) -> tuple[bytes, bytes]:
    """Return key and value of the record of the progress of a webhook."""
    record = WebhookProgressRecord(webhook_id, progress.to_json())
    return (webhook_id + PROGRESS).encode(), encode_webhook_progress(record)


class WebhookTable:
    """The newest record of every webhook, and of its progress.

    An unreadable record is reported in the log, and the one before it stays in force.

    Attributes:
        webhooks: The webhooks by id.
    """

    def __init__(self) -> None:
        self.webhooks: dict[str, Webhook] = {}
        self._progress: dict[str, DispatchProgress] = {}
        self._orphans: set[str] = set()

    def take(self, key: bytes | None, value: bytes | None, timestamp_ms: int) -> str | None:
        """Apply a record; return the id of the webhook that it creates, changes or deletes.

        Args:
            key: Its key.
            value: Its value; None deletes.
            timestamp_ms: Its Kafka timestamp: the start of events for a webhook without `since`.
        """
        name, mark, _ = (key or b"").decode("utf-8", "replace").partition(PROGRESS)
        if not is_webhook_id(name):
            return None
        try:
            if mark:
                self._take_progress(name, value)
                return None
            self._take_webhook(name, value, timestamp_ms)
        except EngineError as error:
            logger.warning("a record of the webhook %s cannot be read: %s", name, error)
            return None
        except Exception:
            logger.exception("a record of the webhook %s cannot be read: not expected", name)
            return None
        return name

    def copy(self) -> WebhookTable:
        """Return a copy that later records do not change."""
        found = WebhookTable()
        found.webhooks, found._progress = dict(self.webhooks), dict(self._progress)
        return found

    def progress_of(self, webhook_id: str) -> DispatchProgress:
        """Return the progress of a webhook, as of the log."""
        return self._progress.get(webhook_id) or DispatchProgress()

    def drop_orphans(self) -> list[str]:
        """Drop the progress of deleted webhooks, and return their ids."""
        found = self._orphans | self._progress.keys() - self.webhooks.keys()
        self._orphans.clear()
        for each in found:
            self._progress.pop(each, None)
        return sorted(found)

    def _take_progress(self, name: str, value: bytes | None) -> None:
        if value is None:
            self._progress.pop(name, None)
        else:
            self._progress[name] = DispatchProgress.from_json(
                decode_webhook_progress(value).progress
            )

    def _take_webhook(self, name: str, value: bytes | None, timestamp_ms: int) -> None:
        if value is None:
            self.webhooks.pop(name, None)
            # One that is created again under this id does not continue from it.
            if self._progress.pop(name, None) is not None:
                self._orphans.add(name)
            return
        record = decode_webhook(value)
        definition = WebhookDefinition.from_json(record.definition)
        if definition.since_ms is None:
            definition = definition.model_copy(update={"since_ms": timestamp_ms})
        self.webhooks[name] = Webhook(name, definition, record.sealed)


def is_disabled(webhook: Webhook, progress: DispatchProgress) -> bool:
    """Return whether a webhook was disabled since it was enabled last."""
    state = progress.state
    is_of_now = state.activation == webhook.definition.activation
    return is_of_now and state.disabled_at_ms is not None


def with_definition(webhook: Webhook, **changes: object) -> Webhook:
    """Return a webhook with another definition."""
    return replace(webhook, definition=webhook.definition.model_copy(update=changes))
