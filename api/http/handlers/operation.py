"""Routes for who operates the API: probes, which need no key, and metrics, which do."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Response

from api.auth import Scope
from api.client.results import Health
from api.http.dependencies import Services, json_answer
from api.http.openapi import ERRORS, ReadinessPage, keys_documented
from api.http.routing import Requires

PROMETHEUS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def probes(services: Services) -> APIRouter:
    """Return the routes of operation."""
    router = APIRouter(tags=["operation"])

    @router.get("/health", response_model=Health)
    async def health() -> Response:
        """Say that the API is alive."""
        return json_answer({"status": "ok"})

    @router.get("/ready", response_model=ReadinessPage, responses={503: {"model": ReadinessPage}})
    async def ready() -> Response:
        """Say whether the API can assign, what is missing, and what it does without for now."""
        found = services.readiness()
        payload = {
            "ready": found.is_ready,
            "missing": found.missing,
            "degraded": found.degraded,
        }
        return json_answer(payload, 200 if found.is_ready else 503)

    @router.get(
        "/metrics",
        response_class=Response,
        dependencies=[
            Depends(Requires(services.gate, Scope.METRICS, Scope.READ)),
            keys_documented(),
        ],
        responses={status: ERRORS[status] for status in (401, 403)},
    )
    async def metrics() -> Response:
        """Return what Prometheus scrapes."""
        return Response(
            services.metrics(), media_type=PROMETHEUS_TYPE, headers={"Cache-Control": "no-store"}
        )

    return router
