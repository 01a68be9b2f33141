"""Failures of the API as pages word them."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus

from dashboard.views.text import sentence
from experiment_streams_client import ApiError


@dataclass(frozen=True, slots=True)
class Failure:
    """A failure as a page says it.

    Attributes:
        status: Status of the page.
        title: What happened.
        text: What that means, or what to do.
    """

    status: int
    title: str
    text: str


_KNOWN = {
    "OPERATION_BUSY": Failure(
        503,
        "Others are asking already.",
        "The API looks into Kafka for one at a time, and several wait. Try again in a moment.",
    ),
    "OPERATION_TIMED_OUT": Failure(
        503,
        "This took too long.",
        "The API gave up after a minute: Kafka is slow, or there is very much to read.",
    ),
}


def failure_of(error: ApiError) -> Failure:
    """Return how a page says a failure of a call."""
    if error.code in _KNOWN:
        return _KNOWN[error.code]
    if error.code == "KAFKA_ACCESS_DENIED":
        return Failure(
            503,
            "The API may not do this in Kafka.",
            f"{sentence(error.message)} Its user of Kafka needs the rights of an operator, and to "
            "send records again those of `resend`.",
        )
    if error.status == HTTPStatus.FORBIDDEN:
        return Failure(
            403, "Your key does not allow this.", f"The API says: {sentence(error.message)}"
        )
    if error.status == HTTPStatus.NOT_FOUND:
        return Failure(404, "There is no such experiment.", sentence(error.message))
    if not HTTPStatus.BAD_REQUEST <= error.status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return Failure(
            503,
            "The engine does not answer.",
            "The API cannot be reached or is not ready. Assignments may go on all the same. This "
            "page tries again when you load it.",
        )
    return Failure(error.status, "The API refused this.", f"{error.message} ({error.code})")


def is_unanswered(failure: Failure) -> bool:
    """Return whether a call failed for the engine's sake, and not for what was asked."""
    return failure.status >= HTTPStatus.INTERNAL_SERVER_ERROR
