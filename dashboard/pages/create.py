"""The form that creates an experiment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dashboard.attempts import KEY_FIELD, is_signed_out, message_of, next_key, status_of
from dashboard.context import (
    client_of,
    dashboard_of,
    draft_of,
    form_of,
    page,
    redirect,
    session_of,
)
from dashboard.failures import failure_of, is_unanswered
from dashboard.views import definition_fields
from dashboard.views.definition_form import (
    GROUPS,
    INITIAL,
    Definition,
    changed_rows,
    curl,
    definition,
    field_of,
    label_of,
    pretty,
    rows_of,
)
from dashboard.views.plan_form import (
    UNITS_FIELD,
    PlanView,
    plan_field,
    plan_question,
    plan_view,
    refused_plan,
)
from experiment_streams_client import ApiError

_BUTTONS = ("add", "remove", "units")
"""Names of buttons: what they do beside creating the experiment."""


async def show(request: Request) -> Response:
    """Return the form: empty, or as it was sent before its session ended."""
    draft = await draft_of(request)
    given = {name: value for name, value in draft.items() if name not in _BUTTONS}
    return await _form(request, given or INITIAL, {}, "")


async def send(request: Request) -> Response:
    """Create the experiment; or change the rows of the form, or show what is wrong with it."""
    given = await form_of(request)
    add, remove, units = (given.pop(name, "") for name in _BUTTONS)
    if units:
        return await _form(request, {**given, UNITS_FIELD: units}, {}, "")
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
        message = message_of(error)
        name = field_of(error.path, given, found)
        faults = {name: message} if name else {}
        return await _form(request, given, faults, "" if name else message, status_of(error))
    return redirect(request, f"/experiments/{quote(experiment.id, safe='')}")


async def preview(request: Request) -> Response:
    """Return the JSON that a form would send, and the call."""
    given = await form_of(request)
    return await page(request, "create_preview.html", _preview(request, definition(given)))


async def show_plan(request: Request) -> Response:
    """Return the units and days that the experiment of a form needs, as a part of the page."""
    given = await form_of(request)
    context = {"plan": await _plan(request, given, definition(given)), "is_part": True}
    return await page(request, "create_plan.html", context)


async def _plan(request: Request, given: Mapping[str, str], found: Definition) -> PlanView:
    """Return what the API says of a plan; in words where it says nothing, or refuses."""
    question = plan_question(given, found)
    if isinstance(question, PlanView):
        return question
    client = await client_of(request)
    try:
        answer = await client.plan_experiment(
            question.baseline,
            question.lift,
            variants=question.variants,
            metric_kind=question.metric_kind,
            deviation=question.deviation,
            alpha=question.alpha,
            daily_units=question.daily_units,
        )
    except ApiError as error:
        if is_signed_out(error):
            raise
        failure, field = failure_of(error), plan_field(error.path)
        if is_unanswered(failure):
            return refused_plan(f"{failure.title} {failure.text}", {})
        return refused_plan(
            "" if field else message_of(error), {field: message_of(error)} if field else {}
        )
    return plan_view(question, answer)


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
    found = definition(given)
    context = {
        **_preview(request, found),
        "plan": await _plan(request, given, found),
        "is_part": False,
        "given": given,
        "faults": faults,
        "labels": {name: label_of(name, given) for name in faults},
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
    Route("/experiments/new/plan", show_plan, methods=["POST"]),
)
