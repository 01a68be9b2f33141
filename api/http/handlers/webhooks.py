"""Handlers of webhooks."""

from __future__ import annotations

from fastapi import Request, Response

from api.http.dependencies import ServicesDep, json_response
from api.http.handlers.options import CreationOptionsDep
from api.http.models.webhooks import Attempt, TestAttempt, TestEvent, Webhook, Webhooks
from api.services.webhooks import FoundWebhook
from api.strict_json import decode_object
from streams.model.errors import InputError
from streams.model.validation import check_change, parse
from streams.webhooks.definition import WebhookRequest, WebhookUpdate
from streams.webhooks.status import WebhookStatus


async def create_webhook(
    services: ServicesDep, options: CreationOptionsDep, request: Request
) -> Response:
    """Send events to an address, from now on or from `since` on.

    Bodies, signatures and retries are those of Standard Webhooks; the secret is never returned.
    """
    body = decode_object(await request.body())
    asked = parse(WebhookRequest, body)
    found = await services.webhooks.create(asked, options.idempotency(body), options.origin.author)
    return json_response(_response(found), 201)


async def list_webhooks(services: ServicesDep) -> Response:
    """Return all webhooks with their state, newest first."""
    found = await services.webhooks.list()
    return json_response(Webhooks(webhooks=tuple(map(_response, found))))


async def get_webhook(services: ServicesDep, webhook_id: str) -> Response:
    """Return a webhook with its state."""
    return json_response(_response(await services.webhooks.get(webhook_id)))


async def update_webhook(services: ServicesDep, webhook_id: str, request: Request) -> Response:
    """Change a webhook; omitted fields stay.

    `isEnabled: true` also enables a webhook that was disabled because it did not answer. It
    continues with what was not delivered, or begins at `since`.
    """
    asked = parse(WebhookUpdate, decode_object(await request.body()))
    check_change(asked)
    return json_response(_response(await services.webhooks.update(webhook_id, asked)))


async def delete_webhook(services: ServicesDep, webhook_id: str, request: Request) -> Response:
    """Delete a webhook: nothing is sent to it any more."""
    await _refuse_fields(request)
    return json_response(_response(await services.webhooks.delete(webhook_id)))


async def send_test_event(services: ServicesDep, webhook_id: str, request: Request) -> Response:
    """Send a test event (`webhook.test`) once, even to a disabled webhook.

    The result appears in `lastTest` of the webhook shortly after.
    """
    await _refuse_fields(request)
    return json_response(TestEvent(id=await services.webhooks.test(webhook_id)), 202)


async def _refuse_fields(request: Request) -> None:
    surplus = decode_object(await request.body())
    if surplus:
        raise InputError("UNKNOWN_FIELD", "this call takes no fields", min(surplus))


def _response(found: FoundWebhook) -> Webhook:
    definition, state = found.webhook.definition, found.progress.state
    confidential = found.confidential
    status = found.status
    is_disabled = status is WebhookStatus.DISABLED
    is_rotated = confidential is not None and len(confidential.secrets) > 1
    return Webhook(
        id=found.webhook.webhook_id,
        url=None if confidential is None else confidential.url,
        format=definition.format.value,
        events=definition.events,
        experiments=definition.experiments,
        tags=definition.tags,
        description=definition.description,
        is_enabled=definition.is_enabled,
        status=status.value,
        disabled_at=state.disabled_at_ms if is_disabled else None,
        disabled_because=state.disabled_because if is_disabled else None,
        failing_since=state.failing_since_ms,
        last_attempt=None
        if state.attempt_at_ms is None
        else Attempt(
            at=state.attempt_at_ms, status=state.attempt_status, error=state.attempt_error
        ),
        last_success_at=state.success_at_ms,
        last_test=None
        if state.test is None
        else TestAttempt(
            id=state.test.id,
            at=state.test.at_ms,
            status=state.test.status,
            error=state.test.error,
        ),
        delivered=state.delivered,
        failed=state.failed,
        given_up=state.given_up,
        waiting=len(found.progress.waiting),
        old_secret_until=confidential.old_until_ms if confidential and is_rotated else None,
        created_by=definition.author,
        created_at=definition.created_at_ms,
        changed_at=definition.changed_at_ms,
    )
