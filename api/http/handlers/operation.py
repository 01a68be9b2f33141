"""Handlers of probes and metrics."""

from __future__ import annotations

from fastapi import Request, Response

from api.http.dependencies import ServicesDep, json_response
from api.http.models.responses import Caller, Health

PROMETHEUS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


async def health() -> Response:
    """Say that the API is alive."""
    return json_response(Health(status="ok"))


async def ready(services: ServicesDep) -> Response:
    """Say whether the API can assign, what is missing, and what it does without for now."""
    found = services.readiness()
    return json_response(found, 200 if found.ready else 503)


async def metrics(services: ServicesDep) -> Response:
    """Return what Prometheus scrapes."""
    return Response(
        services.metrics(), media_type=PROMETHEUS_TYPE, headers={"Cache-Control": "no-store"}
    )


async def whoami(services: ServicesDep, request: Request) -> Response:
    """Say whose API key a request carries, and what it may do."""
    name, scopes = services.auth.caller(request.headers.raw)
    return json_response(
        Caller(name=name, scopes=tuple(sorted(scopes)), needs_key=not services.auth.is_open)
    )
