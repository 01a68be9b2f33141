"""Every route but the fast ones, and the documentation of all of them."""

from __future__ import annotations

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException

from api.http.dependencies import Services
from api.http.error_responses import RouteError, answer_of
from api.http.handlers.experiments import reading
from api.http.handlers.lifecycle import commands
from api.http.handlers.operation import probes
from api.http.handlers.traffic import traffic
from api.http.models.requests import (
    AssignmentContext,
    AssignmentsRequest,
    ConcludeRequest,
    ObservationRequest,
)
from api.http.openapi import with_schemas
from api.http.routing import Routing
from api.monitoring.prometheus import RequestCounters
from streams.experiments.definition import ExperimentDefinition, ExperimentUpdate
from streams.model.errors import EngineError, InputError
from streams.model.validation import code_of

_CODES = {404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED"}


def control_plane(services: Services, version: str) -> tuple[FastAPI, Routing]:
    """Return the application with all routes, and what is where in it.

    `/docs` needs nothing from elsewhere.
    """
    app = FastAPIOffline(
        title="Experiment Streams",
        version=version,
        description="Assign variants, record observations, read posteriors, decide.",
        redirect_slashes=False,
    )
    routers = (commands(services), reading(services), traffic(services), probes(services))
    for router in routers:
        app.include_router(router)
    routing = Routing()
    routing.add(app.routes, routers)
    _answer_errors(app, services.counters)
    with_schemas(
        app,
        (
            ExperimentDefinition,
            ExperimentUpdate,
            ConcludeRequest,
            AssignmentContext,
            AssignmentsRequest,
            ObservationRequest,
        ),
    )
    return app, routing


def _answer_errors(app: FastAPI, counters: RequestCounters) -> None:
    def answer(error: Exception) -> Response:
        status, body, headers, code = answer_of(error)
        counters.errors[code] += 1
        texts = {name.decode(): value.decode() for name, value in headers}
        return Response(body, status, texts)

    async def engine_error(_: Request, error: Exception) -> Response:
        return answer(error)

    async def no_route(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - registered for it alone
        code = _CODES.get(error.status_code, "INTERNAL")
        return answer(RouteError(code, error.detail, (error.headers or {}).get("Allow", "")))

    async def parameter_error(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for it alone
        return answer(_parameter_error(error))

    app.add_exception_handler(RequestValidationError, parameter_error)
    app.add_exception_handler(EngineError, engine_error)
    app.add_exception_handler(HTTPException, no_route)
    app.add_exception_handler(Exception, engine_error)


def _parameter_error(error: RequestValidationError) -> InputError:
    """Return what is wrong with a parameter, in our own words."""
    details = error.errors()[0]
    place, *names = details["loc"]
    path = ".".join(str(part) for part in ((place, *names) if place == "query" else names))
    return InputError(code_of(details["type"]), str(details["msg"]), path)
