"""Assignments that were decided in this process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import orjson
from pydantic import ValidationError

from api.http.models.requests import AssignmentContext
from api.http.models.responses import Assignment as ApiAssignment
from api.strict_json import path_of_not_finite
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


_NAMES = {name: str(field.alias) for name, field in AssignmentContext.model_fields.items()}
"""Fields as the API names them, by their names here."""


def checked(request: LocalRequest) -> LocalRequest:
    """Return a request as the API would read it from JSON, a tuple among its features as a list.

    Raises:
        InputError: the API would refuse it: a field is of another type, too long, no Unicode or no
            JSON, with the path of the field in JSON.
    """
    for name, text in (("userId", request.user_id), ("sessionId", request.session_id)):
        if text is not None and not (
            type(text) is str and len(text) <= MAX_UNIT_ID and (text.isascii() or _is_unicode(text))
        ):
            raise InputError("OUT_OF_RANGE", f"must be a text of at most {MAX_UNIT_ID}", name)
    if any(each is not None for each in request[2:]):
        given = {
            _NAMES[name]: value for name, value in request._asdict().items() if value is not None
        }
        try:
            AssignmentContext.model_validate(given)
        except ValidationError as error:
            raise input_error(error) from error
        for name in ("fallbackUnitId", "device", "location"):
            if not _is_unicode(given.get(name, "")):
                raise InputError("INVALID_JSON", "holds a text that is not Unicode", name)
        if request.features:
            return request._replace(features=_as_json(request.features))
    return request


def _as_json(features: Mapping[str, Any]) -> dict[str, Any]:
    """Return features as they are in JSON."""
    path = path_of_not_finite(features)
    if path is not None:
        raise InputError("NOT_FINITE", "a number must be finite", f"features.{path}")
    try:
        return dict(orjson.loads(orjson.dumps(features)))
    except orjson.JSONEncodeError as error:
        raise InputError("INVALID_JSON", f"is no JSON: {error}", "features") from error


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
