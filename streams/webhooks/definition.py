"""Definition of a webhook: the requests of callers, and the logged form."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Mapping
from enum import StrEnum
from hashlib import blake2b
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from streams.experiments.labels import Tags
from streams.model.errors import InputError
from streams.model.experiment_keys import named_experiment
from streams.model.stated_times import BoundTime
from streams.model.text import has_controls
from streams.model.validation import InputModel, JsonList, parse, problem
from streams.webhooks.event_types import ALL, PATTERNS
from streams.webhooks.signing import secret_bytes

MAX_WEBHOOKS = 100
"""Webhooks of an installation at most; each may have `DELIVERIES_AT_ONCE` connections."""

MAX_EXPERIMENTS = 100
MAX_DESCRIPTION = 200
MAX_URL = 2_048
MAX_SECRET = 128

OVERLAP_S = 86_400
"""Default time for which both the new and the old secret sign."""

MAX_OVERLAP_S = 30 * 86_400

_ID_BYTES = 16
_PERSON = b"webhook"


class Format(StrEnum):
    """Format of the bodies."""

    STANDARD = "standard"
    SLACK = "slack"


def new_id(*idempotency_key: str) -> str:
    """Return an id for a webhook.

    Args:
        idempotency_key: Caller and key, which determine the id; empty for a random one.
    """
    content = secrets.token_bytes(_ID_BYTES)
    if idempotency_key:
        named = json.dumps(idempotency_key).encode()
        content = blake2b(named, digest_size=_ID_BYTES, person=_PERSON).digest()
    return "wh_" + base64.b32encode(content).decode().rstrip("=").lower()


def _pattern(text: str) -> str:
    if text not in PATTERNS:
        raise problem("UNKNOWN_EVENT", "is no type of event, no group of them and not *")
    return text


def _experiment(name: str) -> str:
    try:
        named_experiment(name)
    except InputError as error:
        raise problem(error.code, error.message) from error
    return name


def _secret(text: str) -> str:
    try:
        secret_bytes(text)
    except ValueError as error:
        raise problem("INVALID_SECRET", str(error)) from None
    return text


def _shown(text: str) -> str:
    if has_controls(text):
        raise problem("INVALID_NAME", "has control characters")
    return text


Url = Annotated[str, Field(min_length=1, max_length=MAX_URL)]
Secret = Annotated[str, Field(max_length=MAX_SECRET), AfterValidator(_secret)]
Events = Annotated[
    tuple[Annotated[str, AfterValidator(_pattern)], ...],
    JsonList(min_length=1, max_length=len(PATTERNS)),
]
Experiments = Annotated[
    tuple[Annotated[str, AfterValidator(_experiment)], ...],
    JsonList(max_length=MAX_EXPERIMENTS),
]
Description = Annotated[str, Field(max_length=MAX_DESCRIPTION), AfterValidator(_shown)]


class WebhookRequest(InputModel):
    """A webhook to create.

    Attributes:
        url: Where events are sent.
        secret: Secret that signs them, `whsec_` and 24 to 64 bytes in base64; required unless the
            format is `slack`, whose receivers check none.
        events: Types of events, groups (`experiment.*`), or `*` for all.
        experiments: Ids and keys of the experiments whose events are sent; empty for all.
        tags: Tags of which an experiment has one or more, as `Event.tags` says when, for its events
            to be sent; none for all.
        format: Format of the bodies.
        description: Description for people.
        since: Time from which events are sent, in milliseconds since the epoch; now by default.
    """

    url: Url = Field(repr=False)
    secret: Secret | None = Field(default=None, repr=False)
    events: Events = (ALL,)
    experiments: Experiments = ()
    tags: Tags = ()
    format: Annotated[Format, Field(strict=False)] = Format.STANDARD
    description: Description = ""
    since: BoundTime | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.secret is None and self.format is Format.STANDARD:
            raise problem("MISSING_FIELD", "without a secret nothing is signed", "secret")
        return self


class WebhookUpdate(InputModel):
    """Change of a webhook; omitted fields stay.

    Attributes:
        url, events, experiments, tags, format, description: As in `WebhookRequest`.
        secret: New secret. The old one also signs for `secret_overlap`.
        secret_overlap: Time for which both sign, in seconds; 0 if the old one has leaked.
        is_enabled: Whether events are sent. True also enables a webhook that was disabled because
            it did not answer.
        since: Events are sent from this time on, including delivered ones, and no earlier events.
    """

    url: Url | None = Field(default=None, repr=False)
    secret: Secret | None = Field(default=None, repr=False)
    secret_overlap: Annotated[int, Field(ge=0, le=MAX_OVERLAP_S)] | None = None
    events: Events | None = None
    experiments: Experiments | None = None
    tags: Tags | None = None
    format: Annotated[Format, Field(strict=False)] | None = None
    description: Description | None = None
    is_enabled: bool | None = None
    since: BoundTime | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.secret_overlap is not None and self.secret is None:
            message = "says how long the old secret signs, and there is no new one"
            raise problem("MISSING_FIELD", message, "secret")
        return self


class WebhookDefinition(InputModel):
    """Definition of a webhook, the unencrypted part in the log.

    Attributes:
        host: Scheme and host of its address, without the rest, which may hold a token.
        events, experiments, tags, format, description, is_enabled: As in `WebhookRequest`.
        author: Its author, in the form of commands; empty if unknown.
        activation: Number of times it was enabled; earlier reasons for disabling no longer count.
        created_at_ms, changed_at_ms: Times by the API.
        since_ms: Time from which on events are sent; None for that of the record.
        is_from_since: Whether this activation begins at that time; False if it continues with
            undelivered events.
        test_id: Id of the last requested test; empty without one.
        test_at_ms: Time of that request.
    """

    host: str
    events: Annotated[tuple[str, ...], JsonList()] = (ALL,)
    experiments: Annotated[tuple[str, ...], JsonList()] = ()
    tags: Annotated[tuple[str, ...], JsonList()] = ()
    format: Annotated[Format, Field(strict=False)] = Format.STANDARD
    description: str = ""
    is_enabled: bool = True
    author: str = ""
    activation: int = 1
    created_at_ms: int = 0
    changed_at_ms: int = 0
    since_ms: int | None = None
    is_from_since: bool = True
    test_id: str = ""
    test_at_ms: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return it as the log has it."""
        return self.model_dump(by_alias=True, mode="json")

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> WebhookDefinition:
        """Return the definition in the log.

        Raises:
            InputError: it is invalid.
        """
        return parse(cls, found)


def host_of(url: str) -> str:
    """Return scheme and host of a URL, for display.

    >>> host_of("https://hooks.example:8443/services/T0/B0/secret")
    'https://hooks.example:8443'
    """
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
