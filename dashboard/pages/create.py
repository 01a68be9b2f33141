"""The form that creates an experiment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dashboard.attempts import KEY_FIELD, is_signed_out, message_of, next_key, status_of
from dashboard.context import client_of, dashboard_of, form_of, page, redirect, session_of
from dashboard.views import definition_fields
from dashboard.views.definition_form import (
    GROUPS,
    INITIAL,
    Definition,
    changed_rows,
    curl,
    definition,
    field_of,
    pretty,
    rows_of,
)
from experiment_streams_client import ApiError


async def show(request: Request) -> Response:
    """Return the empty form."""
    return await _form(request, INITIAL, {}, "")


async def send(request: Request) -> Response:
    """Create the experiment; or change the rows of the form, or show what is wrong with it."""
    given = await form_of(request)
    add, remove = given.pop("add", ""), given.pop("remove", "")
    if add or remove:
        return await _form(request, changed_rows(given, add, remove), {}, "")
    found = definition(given)
    if found.faults:
        return await _form(request, given, found.faults, "", 422)
    client = await client_of(request)
    try:
        experiment = await client.create_experiment(
            found.body["config"], found.body["variants"], given.get(KEY_FIELD)
        )
    except ApiError as error:
        if is_signed_out(error):
            raise
        told = message_of(error)
        name = field_of(error.path, given, found)
        faults = {name: told} if name else {}
        return await _form(request, given, faults, "" if name else told, status_of(error))
    return redirect(request, f"/experiments/{quote(experiment.id, safe='')}")


async def preview(request: Request) -> Response:
    """Return the JSON that a form would send, and the call."""
    given = await form_of(request)
    return await page(request, "create_preview.html", _preview(request, definition(given)))


def _preview(request: Request, found: Definition) -> dict[str, Any]:
    return {
        "json": pretty(found.body),
        "curl": curl(dashboard_of(request).api_url, found.body),
    }


async def _form(
    request: Request,
    given: Mapping[str, str],
    faults: Mapping[str, str],
    fault: str,
    status: int = 200,
) -> Response:
    session = await session_of(request)
    context = {
        **_preview(request, definition(given)),
        "given": given,
        "faults": faults,
        "fault": fault,
        "fields": definition_fields,
        "rows": {group: rows_of(given, group) for group in GROUPS},
        "groups": GROUPS,
        "key": next_key(given, status),
        "may_manage": session.may("manage"),
    }
    return await page(request, "create.html", context, status)


ROUTES = (
    Route("/experiments/new", show, methods=["GET"]),
    Route("/experiments/new", send, methods=["POST"]),
    Route("/experiments/new/preview", preview, methods=["POST"]),
)
