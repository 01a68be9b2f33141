"""Failures of the API as pages word them."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus

from dashboard.views.text import sentence
from experiment_streams_client import ApiError


@dataclass(frozen=True, slots=True)
class PageFailure:
    """A failure in the words of a page.

    Attributes:
        status: Status of the page.
        title: What happened.
        text: What that means, or what to do.
    """

    status: int
    title: str
    text: str


_KNOWN = {
    "OPERATION_BUSY": PageFailure(
        503,
        "Kafka is being read for others.",
        "The API reads Kafka for one caller at a time, and several wait. Try again in a moment.",
    ),
    "OPERATION_TIMED_OUT": PageFailure(
        503,
        "This took too long.",
        "The API stopped after a minute: Kafka is slow, or it has too many records to read.",
    ),
}


def failure_of(error: ApiError) -> PageFailure:
    """Return a failure of a call in the words of a page."""
    if error.code in _KNOWN:
        return _KNOWN[error.code]
    if error.code == "KAFKA_ACCESS_DENIED":
        return PageFailure(
            503,
            "The API may not do this in Kafka.",
            f"{sentence(error.message)} Its user of Kafka needs the rights of an operator, and to "
            "send records again those of `resend`.",
        )
    if error.status == HTTPStatus.FORBIDDEN:
        return PageFailure(
            403, "Your key does not allow this.", f"The API says: {sentence(error.message)}"
        )
    if error.status == HTTPStatus.NOT_FOUND:
        return PageFailure(404, "There is no such experiment.", sentence(error.message))
    if not HTTPStatus.BAD_REQUEST <= error.status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return PageFailure(
            503,
            "The engine does not answer.",
            "The API cannot be reached or is not ready. Ad servers may get assignments all the "
            "same. Load this page again to try again.",
        )
    return PageFailure(error.status, "The API refused this.", f"{error.message} ({error.code})")


def is_unanswered(failure: PageFailure) -> bool:
    """Return whether the engine failed, so that the same call may succeed later."""
    return failure.status >= HTTPStatus.INTERNAL_SERVER_ERROR
