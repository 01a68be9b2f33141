"""Routes for whoever operates the API; they need no key."""

from __future__ import annotations

from fastapi import APIRouter, Response

from api.client.results import Health
from api.documentation import ReadinessPage
from api.services import Services, json_answer

PROMETHEUS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def probes(services: Services) -> APIRouter:
    """Return the routes that need no key."""
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

    @router.get("/metrics", response_class=Response)
    async def metrics() -> Response:
        """Return what Prometheus scrapes."""
        return Response(services.metrics(), media_type=PROMETHEUS_TYPE)

    return router
