"""Calls for those who operate the engine."""

from __future__ import annotations

from collections.abc import Iterable

from api.http.models.operation import DeadLettersPage, Doctor, Resent
from api.http.models.responses import Caller, Health, Readiness
from experiment_streams_client.calls.base import OPERATION_S, Call, Method
from experiment_streams_client.calls.requests import path


class OperationCalls:
    """Diagnosis, dead letters, readiness, and whose API key it is."""

    @Method
    @staticmethod
    def get_doctor(hours: int | None = None) -> Call[Doctor]:
        """Return what is wrong with the installation, and what to do; takes some seconds.

        Args:
            hours: Age of the oldest dead letter that is counted; 24 unless given.
        """
        place = path("doctor", hours=hours)
        return Call("GET", place, Doctor.model_validate, slowest_s=OPERATION_S)

    @Method
    @staticmethod
    def list_dead_letters(
        *,
        code: str | None = None,
        topic: str | None = None,
        experiment: str | None = None,
        since: int | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Call[DeadLettersPage]:
        """Return a page of the dead letters, newest first, without the bytes of their records.

        Args:
            code, topic, experiment: Only letters with this code, of this topic, of this experiment.
            since: Only letters written since, in milliseconds since the epoch.
            limit: Letters of the page at most, 200 at most; 50 unless given.
            cursor: `next_cursor` of the page before.
        """
        place = path(
            "dead-letters",
            code=code,
            topic=topic,
            experiment=experiment,
            since=since,
            limit=limit,
            cursor=cursor,
        )
        return Call("GET", place, DeadLettersPage.model_validate, slowest_s=OPERATION_S)

    @Method
    @staticmethod
    def resend_dead_letters(places: Iterable[str]) -> Call[Resent]:
        """Send the records of dead letters again, to the topic and partition they were read from.

        A call is not repeated after a connection that broke off: what had been sent would be sent
        twice.

        Args:
            places: `DeadLetterItem.place` of each, at most 100.

        Raises:
            ApiError: 404 `DEAD_LETTER_NOT_FOUND` if one is of no letter; then nothing is sent.
        """
        return Call(
            "POST",
            "/dead-letters/resend",
            Resent.model_validate,
            {"places": list(places)},
            is_repeatable=False,
            slowest_s=OPERATION_S,
        )

    @Method
    @staticmethod
    def health() -> Call[Health]:
        """Return the status of the API process: `ok` whenever it answers."""
        return Call("GET", "/health", Health.model_validate)

    @Method
    @staticmethod
    def ready() -> Call[Readiness]:
        """Return whether the API can assign, and what is missing if it cannot. Never an error."""
        return Call("GET", "/ready", Readiness.model_validate, accepts=frozenset({503}))

    @Method
    @staticmethod
    def whoami() -> Call[Caller]:
        """Return the name and the scopes of the API key that is sent.

        Raises:
            ApiError: 401 `UNAUTHENTICATED` if the key is not known.
        """
        return Call("GET", "/whoami", Caller.model_validate)
