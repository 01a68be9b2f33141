"""Dependencies of handlers: services, caller, and responses."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request, Response
from starlette.responses import StreamingResponse

from api.auth import ApiKeyAuth
from api.http.models.responses import Readiness, ResponseModel
from api.monitoring.counters import RequestCounters
from api.services.assign import AssignmentService
from api.services.control import CommandService
from api.services.experiment_streams import ExperimentStreams
from api.services.flag_streams import FlagStreams
from api.services.flags import FlagService
from api.services.impressions import ImpressionService
from api.services.observe import ObservationService
from api.services.operations import OperationsService
from api.services.timeseries import TimeseriesService
from api.services.webhooks import WebhookService
from api.snapshots.cache import ExperimentCache
from api.snapshots.event_streams import EventStreams
from api.snapshots.feed import SnapshotFeed
from streams.experiments.history import HistoryEntry
from streams.experiments.snapshot import Snapshot
from streams.wire.schema_gate import SchemaGate

_HEADERS = {"Cache-Control": "no-store"}


@dataclass(frozen=True, slots=True)
class Services:
    """The services behind the endpoints."""

    experiments: ExperimentCache
    commands: CommandService
    assignments: AssignmentService
    observations: ObservationService
    flags: FlagService
    flag_streams: FlagStreams
    experiment_streams: ExperimentStreams
    streams: EventStreams
    auth: ApiKeyAuth
    schemas: SchemaGate
    counters: RequestCounters
    readiness: Callable[[], Readiness]
    metrics: Callable[[], bytes]
    receipt_key: Callable[[int], int]
    conclusion: Callable[[str], Awaitable[Snapshot | None]]
    history: Callable[[str], Awaitable[tuple[HistoryEntry, ...]]]
    timeseries: TimeseriesService
    feed: SnapshotFeed
    impressions: ImpressionService
    webhooks: WebhookService
    operations: OperationsService


def _services(request: Request) -> Services:
    found: Services = request.app.state.services
    return found


def _caller(request: Request) -> str:
    name: str = request.state.caller
    return name


ServicesDep = Annotated[Services, Depends(_services)]
CallerDep = Annotated[str, Depends(_caller)]
"""Name of the API key of a request, which `FastPathApp` has checked; empty without keys."""


def event_stream(events: AsyncIterator[bytes]) -> Response:
    """Return the response of a stream of server-sent events."""
    return StreamingResponse(
        events,
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


def json_response(response: ResponseModel, status: int = 200) -> Response:
    """Return a response model as JSON."""
    return rendered_response(response.to_json(), status)


def rendered_response(body: bytes, status: int = 200) -> Response:
    """Return JSON that is rendered already."""
    return Response(body, status, _HEADERS, media_type="application/json")
