"""The documentation of an endpoint in `/openapi.json`: body, answers, keys and errors.

Bodies are decoded by our own strict reader, so their models are put into the document by hand.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Response, Security
from fastapi.params import Security as SecurityParameter
from fastapi.security import HTTPBearer
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from api.http.models.responses import ErrorResponse
from api.http.routing import Body, Endpoint

_REFERENCE = "#/components/schemas/{model}"


ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorResponse, "description": description}
    for status, description in (
        (401, "No valid API key."),
        (403, "The key does not have the scope."),
        (404, "There is no such experiment."),
        (409, "The experiment's status does not allow it."),
        (422, "The input cannot be used; `path` says which field."),
        (503, "Something is not there now; `Retry-After` says when to come again."),
    )
}


_ANYWHERE = (
    (400, "Not a request of HTTP/1.1, or a body that is not in its encoding."),
    (404, "There is no such resource."),
    (405, "The resource does not take this method; `Allow` says which it takes."),
    (408, "The request took too long to arrive."),
    (414, "The request target is too long."),
    (422, "The input cannot be used; `path` says which field."),
    (431, "Too many headers, or too large ones."),
    (503, "Something is not there now; `Retry-After` says when to come again."),
)
_WITH_BODY = (
    (403, "A web page of another origin may not call an API without keys."),
    (413, "The body is too large."),
    (415, "The body is neither JSON in UTF-8 nor that in gzip."),
)
_BODY_METHODS = frozenset({"post", "put", "patch"})


_BEARER: SecurityParameter = Security(
    HTTPBearer(auto_error=False, description="An API key, if the API has any.")
)
"""A dependency that does nothing but document that an endpoint may need a key."""


def documentation_of(endpoint: Endpoint) -> dict[str, Any]:
    """Return the arguments of FastAPI's `add_api_route` that document an endpoint."""
    responses: dict[int | str, dict[str, Any]] = (
        {status: ERRORS[status] for status in (401, 403)} if endpoint.scopes else {}
    )
    if endpoint.is_ofrep:
        responses = {}
    elif endpoint.tag != "operation":
        responses = ERRORS
    body = {} if endpoint.body is None else {"openapi_extra": _documented_body(endpoint.body)}
    answer = {} if endpoint.response is not None else {"response_class": Response}
    return {
        "name": endpoint.handler.__name__,
        "description": inspect.getdoc(endpoint.handler),
        "tags": [endpoint.tag],
        "response_model": endpoint.response,
        "responses": responses
        | {status: _documented(*each) for status, *each in endpoint.further_answers},
        "dependencies": [_BEARER] if endpoint.scopes else [],
        **body,
        **answer,
    }


def _documented(model: type[BaseModel] | None) -> dict[str, Any]:
    return {"description": "No body."} if model is None else {"model": model}


EXAMPLES: dict[str, Any] = {
    "PlanQuestion": {"baseline": 0.05, "lift": 0.1, "dailyUnits": 10_000},
    "ResendRequest": {"places": ["observations:3:17:0"]},
    "ExperimentDefinition": {
        "config": {"name": "Hero", "type": "thompson_sampling", "primaryMetric": "click"},
        "variants": [
            {"name": "A", "isControl": True, "config": {"adId": "ad_1"}},
            {"name": "B", "config": {"adId": "ad_2"}},
        ],
    },
    "DraftEdit": {
        "config": {"name": "Hero", "type": "thompson_sampling", "primaryMetric": "click"},
        "variants": [{"name": "A", "isControl": True}, {"name": "B"}, {"name": "C"}],
    },
    "ExperimentUpdate": {"trafficAllocation": 0.5},
    "AddedVariant": {"name": "C", "config": {"adId": "ad_3"}},
    "VariantUpdate": {"isActive": False},
    "ConcludeRequest": {},
    "AssignmentContext": {"userId": "user_123", "device": "mobile", "features": {"age": 35}},
    "AssignmentsRequest": {
        "experimentIds": ["exp_0000000000001"],
        "units": [{"userId": "user_123"}, {"userId": "user_456"}],
    },
    "FlagEvaluationRequest": {"context": {"targetingKey": "user_123", "country": "DE"}},
    "HoldoutRequest": {"key": "all-2026", "share": 0.05, "experiments": ["*"]},
    "WebhookRequest": {
        "url": "https://receiver.example/experiments",
        "events": ["experiment.*"],
        "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=",
    },
    "WebhookUpdate": {"isEnabled": True},
    "ExposureRequest": {
        "assignmentId": "AQEBI0VniavN7wACP____wAAAAAAABwGLz-Voe_7cuph2VDIQAAFRgKIQd87bB2w7MDU"
        "wCDcMcvE",
    },
    "ObservationRequest": {
        "assignmentId": "AQEBI0VniavN7wACP____wAAAAAAABwGLz-Voe_7cuph2VDIQAAFRgKIQd87bB2w7MDU"
        "wCDcMcvE",
        "metric": "click",
        "value": 1,
        "eventId": "click-1",
    },
    "ImpressionsRequest": {"batches": ["wwHC5Dp0mJQxEA=="]},
    "VoidRequest": {
        "assignmentId": "AQEBI0VniavN7wACP____wAAAAAAABwGLz-Voe_7cuph2VDIQAAFRgKIQd87bB2w7MDU"
        "wCDcMcvE",
        "reason": "ivt",
    },
}
"""A body of each call, by the name of its model, to try and to test."""


def _documented_body(body: Body) -> dict[str, Any]:
    name = body.model.__name__
    schema: dict[str, Any] = {"$ref": _REFERENCE.format(model=name)}
    if body.is_list_too:
        schema = {"anyOf": [schema, {"type": "array", "items": schema}]}
    content = {"application/json": {"schema": schema, "example": EXAMPLES[name]}}
    return {"requestBody": {"required": body.is_required, "content": content}}


def with_schemas(app: FastAPI, models: Sequence[type[BaseModel]]) -> None:
    """Add the schemas of request bodies, to the document of `app`."""
    generated = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = generated()
            _, found = models_json_schema(
                [(model, "validation") for model in models], ref_template=_REFERENCE
            )
            schemas = document.setdefault("components", {}).setdefault("schemas", {})
            schemas.update(found["$defs"])
            _document_errors(document)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's own way to extend it


def _document_errors(document: dict[str, Any]) -> None:
    """Add what any route may answer, before its own code runs, to each of them."""
    content = {"application/json": {"schema": {"$ref": _REFERENCE.format(model="ErrorResponse")}}}
    for methods in document["paths"].values():
        for method, operation in methods.items():
            answers = _ANYWHERE + (_WITH_BODY if method in _BODY_METHODS else ())
            for status, description in answers:
                answer = {"description": description, "content": content}
                operation["responses"].setdefault(str(status), answer)
