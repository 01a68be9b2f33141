"""Every route but the fast ones, and the documentation of all of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, FastAPI, Header, Request, Response
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException

from api.assigning import Assigning
from api.auth import Gate, Scope
from api.bodies import decode_object
from api.client.results import Accepted, Assignment, Experiment, Health, Stats
from api.commands import Commands
from api.documentation import (
    ERRORS,
    AssignmentsPage,
    ExperimentsPage,
    ReadinessPage,
    json_body,
    keys_documented,
    with_schemas,
)
from api.errors import RouteError, answer_of
from api.experiments import Experiments
from api.metrics import RequestCounters
from api.observing import Observing
from api.payloads import experiment_payload, stats_payload
from api.readiness import Readiness
from api.requests import (
    AssignmentContext,
    AssignmentsRequest,
    ConcludeRequest,
    ObservationRequest,
)
from streams.domain.errors import EngineError, InputError
from streams.domain.events import CommandKind
from streams.domain.ids import experiment_number
from streams.domain.validation import parse
from streams.experiments.definition import ExperimentDefinition, ExperimentUpdate
from streams.experiments.snapshot import Snapshot

PROMETHEUS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
MAX_IDEMPOTENCY_KEY = 256

_CODES = {404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED"}

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        description="The same key, for the same command, gives the first answer again.",
    ),
]


@dataclass(frozen=True, slots=True)
class Services:
    """What the routes use."""

    experiments: Experiments
    commands: Commands
    assigning: Assigning
    observing: Observing
    gate: Gate
    counters: RequestCounters
    readiness: Callable[[], Readiness]
    metrics: Callable[[], bytes]


def control_plane(services: Services, version: str) -> FastAPI:
    """Return the application with all routes; `/docs` needs nothing from elsewhere."""
    app = FastAPIOffline(
        title="Experiment Streams",
        version=version,
        description="Assign variants, record observations, read posteriors, decide.",
        redirect_slashes=False,
    )
    for router in (_commands(services), _reading(services), _traffic(services), _probes(services)):
        app.include_router(router)
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
    return app


def _commands(services: Services) -> APIRouter:
    router = APIRouter(
        tags=["experiments"],
        dependencies=[Depends(_allows(services.gate, Scope.MANAGE)), keys_documented()],
        responses=ERRORS,
    )

    @router.post(
        "/experiments",
        status_code=201,
        response_model=Experiment,
        openapi_extra=json_body(ExperimentDefinition),
    )
    async def create_experiment(request: Request, key: IdempotencyKey = None) -> Response:
        """Create an experiment, as a draft."""
        definition = parse(ExperimentDefinition, decode_object(await request.body()))
        payload = definition.model_dump(by_alias=True, mode="json")
        snapshot = await services.commands.create(payload, _checked_key(key))
        return _json(experiment_payload(snapshot.experiment), 201)

    @router.patch(
        "/experiments/{experiment_id}",
        response_model=Experiment,
        openapi_extra=json_body(ExperimentUpdate),
    )
    async def update_experiment(
        experiment_id: str, request: Request, key: IdempotencyKey = None
    ) -> Response:
        """Change the share of traffic or the thresholds; what is left out stays."""
        update = parse(ExperimentUpdate, decode_object(await request.body()))
        payload = update.model_dump(by_alias=True, mode="json", exclude_none=True)
        return await change(experiment_id, CommandKind.UPDATE, payload, key)

    @router.post(
        "/experiments/{experiment_id}/conclude",
        response_model=Experiment,
        openapi_extra=json_body(ConcludeRequest, is_required=False),
    )
    async def conclude_experiment(
        experiment_id: str, request: Request, key: IdempotencyKey = None
    ) -> Response:
        """End an experiment, with a winner or without."""
        conclude = parse(ConcludeRequest, decode_object(await request.body()))
        payload = conclude.model_dump(by_alias=True, exclude_none=True)
        return await change(experiment_id, CommandKind.CONCLUDE, payload, key)

    def bare(kind: CommandKind, does: str) -> None:
        async def command(
            experiment_id: str, request: Request, key: IdempotencyKey = None
        ) -> Response:
            surplus = decode_object(await request.body())
            if surplus:
                raise InputError("UNKNOWN_FIELD", "this command takes no fields", min(surplus))
            return await change(experiment_id, kind, {}, key)

        router.add_api_route(
            f"/experiments/{{experiment_id}}/{kind}",
            command,
            methods=["POST"],
            name=f"{kind}_experiment",
            description=does,
            response_model=Experiment,
        )

    bare(CommandKind.START, "Start a draft: from now on it assigns.")
    bare(CommandKind.PAUSE, "Stop assigning; observations of earlier assignments still count.")
    bare(CommandKind.RESUME, "Go on assigning after a pause.")
    bare(CommandKind.ARCHIVE, "Put a draft or a concluded experiment away.")

    async def change(
        experiment_id: str, kind: CommandKind, payload: dict[str, Any], key: str | None
    ) -> Response:
        number = _number(services.experiments, experiment_id)
        snapshot = await services.commands.change(number, kind, payload, _checked_key(key))
        return _json(experiment_payload(snapshot.experiment))

    return router


def _reading(services: Services) -> APIRouter:
    router = APIRouter(
        tags=["experiments"],
        dependencies=[Depends(_allows(services.gate, Scope.READ)), keys_documented()],
        responses=ERRORS,
    )

    @router.get("/experiments", response_model=ExperimentsPage)
    async def list_experiments() -> Response:
        """Return all experiments, newest first."""
        found = [experiment_payload(each.experiment) for each in services.experiments.all()]
        return _json({"experiments": found})

    @router.get("/experiments/{experiment_id}", response_model=Experiment)
    async def get_experiment(experiment_id: str) -> Response:
        """Return an experiment: configuration, variants and status."""
        return _json(experiment_payload(snapshot(experiment_id).experiment))

    @router.get("/experiments/{experiment_id}/stats", response_model=Stats)
    async def get_experiment_stats(experiment_id: str) -> Response:
        """Return what is known of an experiment: counts, posteriors, allocation, recommendation."""
        return _json(stats_payload(snapshot(experiment_id)))

    def snapshot(experiment_id: str) -> Snapshot:
        return services.experiments.snapshot(experiment_id)

    return router


def _traffic(services: Services) -> APIRouter:
    """Return the routes that `Edge` answers itself, declared for the documentation."""
    router = APIRouter(tags=["traffic"], responses=ERRORS, dependencies=[keys_documented()])
    may_assign = [Depends(_allows(services.gate, Scope.ASSIGN))]

    @router.post(
        "/experiments/{experiment_id}/assign",
        response_model=Assignment,
        openapi_extra=json_body(AssignmentContext),
        dependencies=may_assign,
    )
    async def assign_variant(experiment_id: str, request: Request) -> Response:
        """Choose the variant for one request."""
        context = decode_object(await request.body())
        return _raw(await services.assigning.assign(experiment_id, context))

    @router.post(
        "/assign",
        response_model=AssignmentsPage,
        openapi_extra=json_body(AssignmentsRequest),
        dependencies=may_assign,
    )
    async def assign_variants(request: Request) -> Response:
        """Choose the variants of several experiments for several units.

        The answer has a row for each unit, in it an assignment for each experiment, or
        `{"error": ...}` in its place.
        """
        body = decode_object(await request.body())
        return _raw(await services.assigning.assign_all(body))

    @router.post(
        "/observations",
        status_code=202,
        response_model=Accepted,
        openapi_extra=json_body(ObservationRequest, is_list_too=True),
        dependencies=[Depends(_allows(services.gate, Scope.OBSERVE))],
    )
    async def record_observations(request: Request) -> Response:
        """Record what units did after their assignment: one observation or a list, all or none."""
        return _raw(await services.observing.observe(await request.body()), 202)

    return router


def _probes(services: Services) -> APIRouter:
    """Return the routes that need no key."""
    router = APIRouter(tags=["operation"])

    @router.get("/health", response_model=Health)
    async def health() -> Response:
        """Say that the API is alive."""
        return _json({"status": "ok"})

    @router.get("/ready", response_model=ReadinessPage, responses={503: {"model": ReadinessPage}})
    async def ready() -> Response:
        """Say whether the API can assign, what is missing, and what it does without for now."""
        found = services.readiness()
        payload = {
            "ready": found.is_ready,
            "missing": found.missing,
            "degraded": found.degraded,
        }
        return _json(payload, 200 if found.is_ready else 503)

    @router.get("/metrics", response_class=Response)
    async def metrics() -> Response:
        """Return what Prometheus scrapes."""
        return Response(services.metrics(), media_type=PROMETHEUS_TYPE)

    return router


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
        return answer(RouteError(code, error.detail, ""))

    app.add_exception_handler(EngineError, engine_error)
    app.add_exception_handler(HTTPException, no_route)
    app.add_exception_handler(Exception, engine_error)


def _allows(gate: Gate, scope: Scope) -> Callable[[Request], Awaitable[None]]:
    async def check(request: Request) -> None:
        gate.check(request.scope["headers"], scope)

    return check


def _number(experiments: Experiments, experiment_id: str) -> int:
    """Return the number of an experiment; one that no id could name is simply not there."""
    try:
        return experiment_number(experiment_id)
    except InputError:
        return experiments.snapshot(experiment_id).experiment.number


def _checked_key(key: str | None) -> str | None:
    if key is not None and not 1 <= len(key) <= MAX_IDEMPOTENCY_KEY:
        raise InputError(
            "OUT_OF_RANGE", f"must have 1 to {MAX_IDEMPOTENCY_KEY} characters", "Idempotency-Key"
        )
    return key


def _json(payload: Any, status: int = 200) -> Response:
    return _raw(orjson.dumps(payload), status)


def _raw(body: bytes, status: int = 200) -> Response:
    return Response(body, status, media_type="application/json")
