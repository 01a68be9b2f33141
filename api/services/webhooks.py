"""Webhooks: read from the log and written to it. Another process delivers."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

from api.services.control import IdempotencyKey
from streams.model.command_ids import keyed_command_id
from streams.model.errors import EngineError, InputError, quoted
from streams.webhooks.addresses import AddressError, AddressPolicy, target_of
from streams.webhooks.definition import (
    MAX_WEBHOOKS,
    OVERLAP_S,
    Format,
    WebhookDefinition,
    WebhookRequest,
    WebhookUpdate,
    host_of,
    new_id,
)
from streams.webhooks.progress import DispatchProgress
from streams.webhooks.sealing import VARIABLE, Confidential, SealError, Seals
from streams.webhooks.status import WebhookStatus, status_of
from streams.webhooks.table import Webhook, WebhookTable, with_definition

_TEST_BYTES = 16


class Reader(Protocol):
    """Reader of all webhooks."""

    def read(self) -> WebhookTable:
        """Return the webhooks as of now; raise DependencyError if the log cannot be read."""


class Writer(Protocol):
    """Writer of records of webhooks."""

    def write(self, *records: tuple[bytes, bytes | None]) -> None:
        """Return once records are in the log; raise DependencyError if they may not be."""


class FoundWebhook(NamedTuple):
    """A webhook with what is known of it.

    Attributes:
        webhook: As the log has it.
        confidential: Address and secrets; None if they cannot be opened.
        progress: How far it is.
    """

    webhook: Webhook
    confidential: Confidential | None
    progress: DispatchProgress

    @property
    def status(self) -> WebhookStatus:
        """Its status."""
        return status_of(self.webhook, self.confidential, self.progress)


class WebhookService:
    """Creates, reads, changes and deletes webhooks.

    Changes of one process come one after the other; of two that change the same webhook at the same
    moment, the later change holds as a whole.

    Args:
        reader, writer: The log.
        seals: Seals addresses and secrets; None if the process has no key.
        policy: Where webhooks may be sent to.
        clock: Returns the time, in milliseconds since the epoch.
    """

    def __init__(
        self,
        reader: Reader,
        writer: Writer,
        seals: Seals | None,
        policy: AddressPolicy,
        clock: Callable[[], int],
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._seals = seals
        self._policy = policy
        self._clock = clock
        self._lock = asyncio.Lock()

    async def list(self) -> list[FoundWebhook]:
        """Return all webhooks, newest first."""
        table = await self._read()
        found = [self._found(each, table) for each in table.webhooks.values()]
        return sorted(
            found,
            key=lambda each: (each.webhook.definition.created_at_ms, each.webhook.webhook_id),
            reverse=True,
        )

    async def get(self, webhook_id: str) -> FoundWebhook:
        """Return a webhook.

        Raises:
            EngineError: no webhook has this id (`WEBHOOK_NOT_FOUND`).
        """
        table = await self._read()
        return self._found(_webhook(table, webhook_id), table)

    async def create(
        self, asked: WebhookRequest, key: IdempotencyKey | None, author: str = ""
    ) -> FoundWebhook:
        """Create a webhook; with a key that was used before, return the one that it has made.

        Raises:
            EngineError: the API has no key to seal with (`WEBHOOKS_NOT_CONFIGURED`), or there are
                too many (`TOO_MANY_WEBHOOKS`).
            InputError: the address is refused, or the key was used for another body.
        """
        seals = self._seals
        if seals is None:
            message = f"there are no webhooks, since {VARIABLE} is not set"
            raise EngineError("WEBHOOKS_NOT_CONFIGURED", message)
        self._check_url(asked.url)
        at_ms = self._clock()
        definition = WebhookDefinition(
            host=host_of(asked.url),
            events=asked.events,
            experiments=asked.experiments,
            tags=asked.tags,
            format=asked.format,
            description=asked.description,
            author=author,
            created_at_ms=at_ms,
            changed_at_ms=at_ms,
            since_ms=asked.since,
        )
        name = new_id() if key is None else new_id(key.caller, key.key)
        request_id = "" if key is None else keyed_command_id(key.body, key.caller, key.key)
        given = () if asked.secret is None else (asked.secret,)
        confidential = Confidential(asked.url, given, request_id=request_id)
        async with self._lock:
            table = await self._read()
            if name in table.webhooks:
                return self._repeated(self._found(table.webhooks[name], table), request_id)
            if len(table.webhooks) >= MAX_WEBHOOKS:
                message = f"there are {MAX_WEBHOOKS} webhooks, which is as many as there may be"
                raise EngineError("TOO_MANY_WEBHOOKS", message)
            webhook = Webhook(name, definition, seals.seal(confidential))
            await self._write(webhook)
        return FoundWebhook(webhook, confidential, DispatchProgress())

    async def update(self, webhook_id: str, asked: WebhookUpdate) -> FoundWebhook:
        """Change a webhook.

        Raises:
            EngineError: no webhook has this id, or its address cannot be decrypted and no new one
                is given (`WEBHOOK_SEALED`).
            InputError: the address is refused, or the format needs a secret.
        """
        if asked.url is not None:
            self._check_url(asked.url)
        async with self._lock:
            table = await self._read()
            before = self._found(_webhook(table, webhook_id), table)
            confidential = self._changed_confidential(before, asked)
            definition = self._changed_definition(before, asked)
            if definition.format is Format.STANDARD and not confidential.secrets:
                raise InputError("MISSING_FIELD", "without a secret nothing is signed", "secret")
            assert self._seals is not None  # noqa: S101 - something was opened with it
            webhook = Webhook(webhook_id, definition, self._seals.seal(confidential))
            await self._write(webhook)
        return FoundWebhook(webhook, confidential, before.progress)

    async def delete(self, webhook_id: str) -> FoundWebhook:
        """Delete a webhook, and return what it was."""
        async with self._lock:
            table = await self._read()
            found = self._found(_webhook(table, webhook_id), table)
            await asyncio.to_thread(self._writer.write, (webhook_id.encode(), None))
        return found

    async def test(self, webhook_id: str) -> str:
        """Have a test event sent, and return the id of the test."""
        async with self._lock:
            table = await self._read()
            test_id = secrets.token_hex(_TEST_BYTES)
            webhook = _webhook(table, webhook_id)
            await self._write(with_definition(webhook, test_id=test_id, test_at_ms=self._clock()))
        return test_id

    async def _read(self) -> WebhookTable:
        return await asyncio.to_thread(self._reader.read)

    async def _write(self, webhook: Webhook) -> None:
        await asyncio.to_thread(self._writer.write, webhook.encoded())

    def _found(self, webhook: Webhook, table: WebhookTable) -> FoundWebhook:
        confidential = None
        if self._seals is not None:
            with contextlib.suppress(SealError):
                confidential = self._seals.open(webhook.sealed)
        return FoundWebhook(webhook, confidential, table.progress_of(webhook.webhook_id))

    def _repeated(self, found: FoundWebhook, request_id: str) -> FoundWebhook:
        if found.confidential is None or found.confidential.request_id != request_id:
            raise InputError(
                "IDEMPOTENCY_KEY_REUSED",
                "this key was sent before with another body; a new request needs a new key",
                "Idempotency-Key",
            )
        return found

    def _check_url(self, url: str) -> None:
        try:
            target_of(url, self._policy)
        except AddressError as error:
            raise InputError(error.code, str(error), "url") from None

    def _changed_confidential(self, before: FoundWebhook, asked: WebhookUpdate) -> Confidential:
        found = before.confidential
        if found is None:
            message = f"is sealed with a key that {VARIABLE} does not have"
            raise SealError("WEBHOOK_SEALED", message)
        if asked.url is not None:
            found = replace(found, url=asked.url)
        if asked.secret is None or (asked.secret,) == found.secrets[:1]:
            return found
        overlap_s = OVERLAP_S if asked.secret_overlap is None else asked.secret_overlap
        return replace(
            found,
            secrets=(asked.secret, *found.secrets[:1]),
            old_until_ms=self._clock() + 1000 * overlap_s,
        )

    def _changed_definition(self, before: FoundWebhook, asked: WebhookUpdate) -> WebhookDefinition:
        definition = before.webhook.definition
        names = ("events", "experiments", "tags", "format", "description", "is_enabled")
        changes: dict[str, Any] = {
            name: value for name in names if (value := getattr(asked, name)) is not None
        }
        if asked.url is not None:
            changes["host"] = host_of(asked.url)
        is_enabled_again = asked.is_enabled is True and before.status != "active"
        if asked.since is not None or is_enabled_again:
            # A time that was given before, and that no process has taken note of yet, holds.
            is_seen = before.progress.state.activation == definition.activation
            is_from_since = asked.since is not None or (definition.is_from_since and not is_seen)
            changes |= {
                "activation": definition.activation + 1,
                "is_from_since": is_from_since,
                "since_ms": definition.since_ms if asked.since is None else asked.since,
            }
        return definition.model_copy(update=changes | {"changed_at_ms": self._clock()})


def _webhook(table: WebhookTable, webhook_id: str) -> Webhook:
    found = table.webhooks.get(webhook_id)
    if found is None:
        raise EngineError("WEBHOOK_NOT_FOUND", f"there is no webhook {quoted(webhook_id)}")
    return found
