"""Handlers of probes and metrics."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Request, Response

from api.http.dependencies import CallerDep, ServicesDep, json_response
from api.http.models.operation import (
    DeadLettersPage,
    DeadLettersQuery,
    Doctor,
    DoctorQuery,
    PlanAnswer,
    ResendRequest,
    Resent,
)
from api.http.models.responses import Caller, Health
from api.strict_json import decode_object
from streams.model.errors import InputError
from streams.model.experiment_keys import named_experiment
from streams.model.ids import experiment_id
from streams.model.validation import parse
from streams.ops.dead_letters.reading import Selection
from streams.planning.planned import PlanQuestion

PROMETHEUS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


async def health() -> Response:
    """Report that the API is alive."""
    return json_response(Health(status="ok"))


async def ready(services: ServicesDep) -> Response:
    """Report whether the API can assign, what is missing, and what is degraded."""
    found = services.readiness()
    return json_response(found, 200 if found.ready else 503)


async def metrics(services: ServicesDep) -> Response:
    """Return the metrics for Prometheus."""
    return Response(
        services.metrics(), media_type=PROMETHEUS_TYPE, headers={"Cache-Control": "no-store"}
    )


async def whoami(services: ServicesDep, request: Request) -> Response:
    """Return the name and the scopes of the API key of a request."""
    name, scopes = services.auth.caller(request.headers.raw)
    return json_response(
        Caller(name=name, scopes=tuple(sorted(scopes)), needs_key=not services.auth.is_open)
    )


async def doctor(services: ServicesDep, query: Annotated[DoctorQuery, Query()]) -> Response:
    """Diagnose Kafka, Redis, workers, lag, snapshots, spool and clocks, with advice.

    Takes some seconds, as `experiment doctor` does.
    """
    found = await services.operations.doctor(query.hours)
    return json_response(Doctor.model_validate(found))


async def list_dead_letters(
    services: ServicesDep, query: Annotated[DeadLettersQuery, Query()]
) -> Response:
    """Return a page of the dead letters, newest first, without the bytes of their records."""
    experiment = None
    if query.experiment is not None:
        try:
            experiment = experiment_id(named_experiment(query.experiment))
        except InputError as error:
            raise InputError(error.code, error.message, "query.experiment") from error
    selection = Selection(query.code, query.topic, query.since)
    found = await services.operations.letters(selection, experiment, query.limit, query.cursor)
    return json_response(DeadLettersPage.model_validate(found))


async def resend_dead_letters(
    services: ServicesDep, caller: CallerDep, request: Request
) -> Response:
    """Send the records of dead letters again, to the topic and partition they were read from.

    Of a batch that was partly counted only the refused observations are sent.
    """
    asked = parse(ResendRequest, decode_object(await request.body()))
    return json_response(
        Resent.model_validate(await services.operations.resend(asked.places, caller))
    )


async def plan(services: ServicesDep, request: Request) -> Response:
    """Return the units and days that an experiment needs, by formulas."""
    question = parse(PlanQuestion, decode_object(await request.body()))
    return json_response(PlanAnswer.model_validate(await services.operations.plan(question)))
