"""Responses about webhooks, shared by server and client."""

from __future__ import annotations

from api.http.models.responses import ResponseModel


class Attempt(ResponseModel):
    """An attempt to deliver an event.

    Attributes:
        at: Time, in milliseconds since the epoch.
        status: HTTP status of the answer; null without one.
        error: Code of the failure; null if the receiver has accepted it.
    """

    at: int
    status: int | None = None
    error: str | None = None


class TestAttempt(Attempt):
    """The attempt of a test.

    Attributes:
        id: Id of the test.
    """

    __test__ = False

    id: str


class Webhook(ResponseModel):
    """A webhook. Its secret is never returned.

    Attributes:
        id: Its id.
        url: Its address; null if it is encrypted with a key that the API does not have.
        format: Format of the bodies: `standard` or `slack`.
        events: Types of events, groups, or `*`.
        experiments: Ids and keys of experiments; empty for all.
        tags: Tags of which an experiment has one or more; empty for all experiments.
        description: Description for people.
        is_enabled: Whether events are to be sent.
        status: `active`, `failing` (the last attempt failed), `disabled` (it did not answer, or
            answered 410), `off` (`isEnabled` is false), or `unreadable` (sealed with an unknown
            key).
        disabled_at: When it was disabled; null unless it is.
        disabled_because: Code of the reason: `GONE` or `NO_SUCCESS`.
        failing_since: First failure since the last success.
        last_attempt: The last attempt.
        last_success_at: Time of the last accepted event.
        last_test: Result of the last test.
        delivered: Number of accepted events.
        failed: Attempts that failed.
        given_up: Number of events that were given up.
        waiting: Events that wait for their first or next attempt.
        old_secret_until: Time until which requests are also signed with the old secret; null if no
            old secret exists.
        created_by: Author, in the form of the history of an experiment.
        created_at, changed_at: Times of its creation and last change.
    """

    id: str
    url: str | None
    format: str
    events: tuple[str, ...]
    experiments: tuple[str, ...]
    tags: tuple[str, ...]
    description: str
    is_enabled: bool
    status: str
    disabled_at: int | None = None
    disabled_because: str | None = None
    failing_since: int | None = None
    last_attempt: Attempt | None = None
    last_success_at: int | None = None
    last_test: TestAttempt | None = None
    delivered: int = 0
    failed: int = 0
    given_up: int = 0
    waiting: int = 0
    old_secret_until: int | None = None
    created_by: str = ""
    created_at: int
    changed_at: int


class Webhooks(ResponseModel):
    """All webhooks.

    Attributes:
        webhooks: The newest first.
    """

    webhooks: tuple[Webhook, ...]


class TestEvent(ResponseModel):
    """A requested test.

    Attributes:
        id: Its id, also in `lastTest` of the webhook once it was sent.
    """

    __test__ = False

    id: str
