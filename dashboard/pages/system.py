"""The state of the installation: a page at once, and the report, which takes seconds, as a part."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dashboard.attempts import is_signed_out
from dashboard.context import client_of, page, session_of
from dashboard.failures import failure_of
from dashboard.views.system import report_view
from experiment_streams_client import ApiError

WAIT = "wait"
"""Parameter of a page that is asked for with its part, by a browser without scripts."""

LETTER_HOURS = 24
"""Age of the oldest dead letter that the report counts."""


async def show(request: Request) -> Response:
    """Return the page; with the report only where that is asked for."""
    await session_of(request)
    found = await _report(request) if WAIT in request.query_params else None
    status = 200 if found is None else found["status"]
    return await page(request, "system.html", {"found": found, "hours": LETTER_HOURS}, status)


async def report(request: Request) -> Response:
    """Return the report as a part of the page."""
    found = await _report(request)
    context = {"found": found, "hours": LETTER_HOURS}
    return await page(request, "system_report.html", context, found["status"])


async def _report(request: Request) -> dict[str, Any]:
    client = await client_of(request)
    try:
        found = await client.get_doctor(LETTER_HOURS)
    except ApiError as error:
        if is_signed_out(error):
            raise
        failure = failure_of(error)
        return {"view": None, "failure": failure, "status": failure.status}
    return {"view": report_view(found), "failure": None, "status": 200}


ROUTES = (
    Route("/system", show, methods=["GET"]),
    Route("/system/report", report, methods=["GET"]),
)
