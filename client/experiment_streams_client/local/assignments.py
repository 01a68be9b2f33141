"""Assignments that were decided in this process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import ValidationError

from api.http.models.requests import AssignmentContext
from api.http.models.responses import Assignment as ApiAssignment
from streams.experiments.ignored_units import MAX_UNIT_ID
from streams.model.errors import InputError
from streams.model.validation import input_error


class LocalAssignment(NamedTuple):
    """The variant of one request; the fields are those of the API's answer.

    Attributes:
        id: Receipt that observations name; None where nothing counts.
        experiment_id: The experiment.
        variant_id: The variant.
        variant_name: Its name.
        config: Its configuration.
        enrolled: Whether the request takes part.
        reason: Why it is this variant.
        propensity: Probability the variant had, in (0, 1]; None where nothing counts.
    """

    id: str | None
    experiment_id: str
    variant_id: str
    variant_name: str
    config: Mapping[str, Any]
    enrolled: bool
    reason: str
    propensity: float | None


class LocalRequest(NamedTuple):
    """A request for a variant; the fields are those of `AssignmentContext`."""

    user_id: str | None = None
    session_id: str | None = None
    fallback_unit_id: str | None = None
    timestamp: int | None = None
    device: str | None = None
    location: str | None = None
    features: Mapping[str, Any] | None = None
    eligible: Sequence[str] | None = None


def checked(request: LocalRequest) -> None:
    """Refuse what the API would refuse of a request.

    Raises:
        InputError: a field is of another type, too long or no Unicode.
    """
    for name, text in (("userId", request.user_id), ("sessionId", request.session_id)):
        if text is not None and not (
            type(text) is str and len(text) <= MAX_UNIT_ID and (text.isascii() or _is_unicode(text))
        ):
            raise InputError("OUT_OF_RANGE", f"must be a text of at most {MAX_UNIT_ID}", name)
    if any(each is not None for each in request[2:]):
        given = {name: value for name, value in request._asdict().items() if value is not None}
        try:
            AssignmentContext(**given)
        except ValidationError as error:
            raise input_error(error) from error
        for name in ("fallback_unit_id", "device", "location"):
            if not _is_unicode(given.get(name, "")):
                raise InputError("INVALID_JSON", "holds a text that is not Unicode", name)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def of_api(answer: ApiAssignment) -> LocalAssignment:
    """Return an answer of the API."""
    return LocalAssignment(
        answer.id,
        answer.experiment_id,
        answer.variant_id,
        answer.variant_name,
        answer.config,
        answer.enrolled,
        str(answer.reason),
        answer.propensity,
    )
