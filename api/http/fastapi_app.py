"""FastAPI's part: the endpoints without a fast handler, the OpenAPI document and its pages.

All of it is derived from `ENDPOINTS`. Keys, origins and query strings are checked by `FastPathApp`,
which is always in front.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException

from api.http.dependencies import Services, ServicesDep, rendered_response
from api.http.endpoints import ENDPOINTS
from api.http.error_responses import RouteError, error_response
from api.http.openapi import documentation_of, with_schemas
from api.http.routing import KEY_PARAMETER, PARAMETER, Endpoint, RoutingTable
from api.monitoring.counters import RequestCounters
from streams.model.errors import EngineError, InputError
from streams.model.validation import code_of

_CODES = {404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED"}


def fastapi_app(services: Services, version: str) -> tuple[FastAPI, RoutingTable]:
    """Return the application with all endpoints, and the routing table with its pages.

    `/docs` loads no external resources.
    """
    app = FastAPIOffline(
        title="Experiment Streams",
        version=version,
        description="Assign variants, record observations, read posteriors, decide.",
        redirect_slashes=False,
    )
    table = RoutingTable(ENDPOINTS, app.routes)
    app.state.services = services
    for endpoint in ENDPOINTS:
        app.add_api_route(
            endpoint.path,
            endpoint.handler if endpoint.traffic is None else _adapted(endpoint),
            methods=[endpoint.method],
            status_code=endpoint.status,
            **documentation_of(endpoint),
        )
    _answer_errors(app, services.counters)
    with_schemas(app, [endpoint.body.model for endpoint in ENDPOINTS if endpoint.body])
    return app, table


def _adapted(endpoint: Endpoint) -> Callable[..., Awaitable[Response]]:
    """Return a fast handler as a FastAPI endpoint, for the documentation."""

    async def of_experiment(
        services: ServicesDep, experiment_id: str, request: Request
    ) -> Response:
        answer = await endpoint.handler(services, experiment_id, await request.body())
        return rendered_response(answer, endpoint.status)

    async def of_flag(services: ServicesDep, key: str, request: Request) -> Response:
        return await of_experiment(services, key, request)

    async def of_all(services: ServicesDep, request: Request) -> Response:
        return await of_experiment(services, "", request)

    if KEY_PARAMETER in endpoint.path:
        return of_flag
    return of_experiment if PARAMETER in endpoint.path else of_all


def _answer_errors(app: FastAPI, counters: RequestCounters) -> None:
    def answer(error: Exception) -> Response:
        status, body, headers, code = error_response(error)
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
    """Return the error of an invalid parameter."""
    details = error.errors()[0]
    place, *names = details["loc"]
    path = ".".join(str(part) for part in ((place, *names) if place == "query" else names))
    return InputError(code_of(details["type"]), str(details["msg"]), path)
