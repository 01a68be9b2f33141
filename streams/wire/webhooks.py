"""Codecs of `webhook` and `webhook_progress`.

Always single objects, so a reader needs no schema registry.
"""

from __future__ import annotations

from streams.model.errors import EventError
from streams.model.webhooks import WebhookProgressRecord, WebhookRecord, is_webhook_id
from streams.wire.records import SINGLE_OBJECT, event_errors, json_object, json_text, read


def encode_webhook(record: WebhookRecord) -> bytes:
    """Return the record of a webhook."""
    return SINGLE_OBJECT.encode(
        "webhook",
        {
            "webhook_id": record.webhook_id,
            "definition": json_text(record.definition),
            "sealed": record.sealed,
        },
    )


def decode_webhook(value: bytes | None) -> WebhookRecord:
    """Return the webhook in a Kafka record; its definition is an unvalidated JSON object.

    Raises:
        EventError: the record cannot be read, or a field is invalid.
    """
    record = read("webhook", value, SINGLE_OBJECT)
    with event_errors():
        return WebhookRecord(
            webhook_id=_checked_id(record["webhook_id"]),
            definition=json_object(record["definition"], "definition"),
            sealed=record["sealed"],
        )


def encode_webhook_progress(record: WebhookProgressRecord) -> bytes:
    """Return the record of the progress of a webhook."""
    return SINGLE_OBJECT.encode(
        "webhook_progress",
        {"webhook_id": record.webhook_id, "progress": json_text(record.progress)},
    )


def decode_webhook_progress(value: bytes | None) -> WebhookProgressRecord:
    """Return the progress in a Kafka record, an unvalidated JSON object.

    Raises:
        EventError: the record cannot be read, or a field is invalid.
    """
    record = read("webhook_progress", value, SINGLE_OBJECT)
    with event_errors():
        return WebhookProgressRecord(
            webhook_id=_checked_id(record["webhook_id"]),
            progress=json_object(record["progress"], "progress"),
        )


def _checked_id(text: str) -> str:
    if not is_webhook_id(text):
        raise EventError("INVALID_NAME", "is not the id of a webhook", "webhook_id")
    return text
