"""Calls for webhooks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from api.http.models.webhooks import Webhook, Webhooks
from experiment_streams_client.calls.base import Call, Method
from experiment_streams_client.calls.requests import command, given, path


class WebhookCalls:
    """Have events sent to addresses, and change, test and end that."""

    @Method
    @staticmethod
    def create_webhook(  # noqa: PLR0913 - each a field of the webhook
        url: str,
        *,
        secret: str | None = None,
        events: Sequence[str] = ("*",),
        experiments: Sequence[str] = (),
        tags: Sequence[str] = (),
        format: Literal["standard", "slack"] = "standard",  # noqa: A002 - the field's name
        description: str = "",
        since: int | None = None,
        idempotency_key: str | None = None,
    ) -> Call[Webhook]:
        """Have events sent to an address.

        Args:
            url: Where events are sent.
            secret: Secret that signs them, as `new_webhook_secret` returns; required unless the
                format is `slack`. It is never returned.
            events: Types of events, groups (`experiment.*`), or `*` for all.
            experiments: Ids and keys of experiments; none for all.
            tags: Tags of which an experiment has one or more when something happens to it; none for
                all experiments.
            format: Format of the bodies.
            description: Description for people.
            since: Time from which on events are sent, in milliseconds since the epoch; None for
                now.
            idempotency_key: Repeating a key gives the same webhook.

        Raises:
            ApiError: 422 if the address is refused (`HTTPS_REQUIRED`, `ADDRESS_NOT_ALLOWED`), 409
                `WEBHOOKS_NOT_CONFIGURED` if the API has no key to seal secrets with.
        """
        body = given(
            url=url,
            events=list(events),
            experiments=list(experiments),
            tags=list(tags),
            format=format,
            description=description,
            secret=secret,
            since=since,
        )
        return command("POST", "/webhooks", body, Webhook.model_validate, idempotency_key)

    @Method
    @staticmethod
    def list_webhooks() -> Call[tuple[Webhook, ...]]:
        """Return all webhooks with their state, newest first."""
        return Call("GET", "/webhooks", lambda payload: Webhooks.model_validate(payload).webhooks)

    @Method
    @staticmethod
    def get_webhook(webhook_id: str) -> Call[Webhook]:
        """Return a webhook with its state."""
        return Call("GET", path("webhooks", webhook_id), Webhook.model_validate)

    @Method
    @staticmethod
    def update_webhook(webhook_id: str, changes: Mapping[str, Any]) -> Call[Webhook]:
        """Change a webhook; what is left out stays.

        Args:
            webhook_id: The webhook.
            changes: Any of `url`, `secret`, `secretOverlap`, `events`, `experiments`, `tags`,
                `format`, `description`, `isEnabled` and `since`. `{"isEnabled": True}` also enables
                one that was disabled because it did not answer.
        """
        return Call("PATCH", path("webhooks", webhook_id), Webhook.model_validate, dict(changes))

    @Method
    @staticmethod
    def delete_webhook(webhook_id: str) -> Call[Webhook]:
        """Delete a webhook: nothing is sent to it any more."""
        # A repeated request would fail with "not found".
        return Call(
            "DELETE", path("webhooks", webhook_id), Webhook.model_validate, is_repeatable=False
        )

    @Method
    @staticmethod
    def send_test_event(webhook_id: str) -> Call[str]:
        """Have a test event sent once, and return its id.

        `last_test` of the webhook has the same id once it was sent.
        """
        return Call(
            "POST", path("webhooks", webhook_id, "test"), lambda payload: str(payload["id"])
        )
