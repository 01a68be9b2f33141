"""Dead letters: the list by its filters, and sending their records again."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.http.models.operation import MAX_PLACES
from dashboard.attempts import KEY_FIELD, is_signed_out, message_of, next_key
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
from dashboard.pages.system import WAIT
from dashboard.views.dead_letters import PERIODS, letter_rows, resent_view, since_ms
from experiment_streams_client import ApiError, ApiUnreachableError

LIST = "/system/dead-letters"

_FILTERS = {"topic": 249, "code": 64, "experiment": 100, "period": 10}
"""Filters of the list, each with its largest number of characters."""

_MAX_CURSOR = 400
_PLACE = "place."


async def show(request: Request) -> Response:
    """Return the page of a list; with the letters only where that is asked for.

    htmx asks for the letters alone.
    """
    await session_of(request)
    query = request.query_params
    chosen = {name: query.get(name, "").strip()[:most] for name, most in _FILTERS.items()}
    is_part = request.headers.get("hx-request") == "true"
    shared = {"chosen": chosen, "periods": PERIODS, "address": _address(request)}
    if not is_part and WAIT not in query:
        return await page(request, "dead_letters.html", {**shared, "found": None})
    found = await _letters(request, chosen, query.get("cursor", "")[:_MAX_CURSOR])
    template = "dead_letters_rows.html" if is_part else "dead_letters.html"
    return await page(request, template, {**shared, "found": found}, found["status"])


def _address(request: Request) -> str:
    """Return the address of a list, without whether its letters are waited for."""
    given = [(name, text) for name, text in request.query_params.multi_items() if name != WAIT]
    return f"{LIST}?{urlencode(given)}" if given else LIST


async def _letters(request: Request, chosen: dict[str, str], cursor: str) -> dict[str, Any]:
    client = await client_of(request)
    try:
        found = await client.list_dead_letters(
            code=chosen["code"] or None,
            topic=chosen["topic"] or None,
            experiment=chosen["experiment"] or None,
            since=since_ms(chosen["period"], int(time.time() * 1000)),
            cursor=cursor or None,
        )
    except ApiError as error:
        if is_signed_out(error):
            raise
        failure = failure_of(error)
        return {"rows": [], "failure": failure, "status": failure.status}
    filters = {name: text for name, text in chosen.items() if text}
    following = found.next_cursor
    return {
        "rows": letter_rows(found.letters),
        "failure": None,
        "status": 200,
        "counts": [
            (code, n, f"{LIST}?{urlencode({**filters, 'code': code})}")
            for code, n in found.counts.items()
        ],
        "total": sum(found.counts.values()),
        "following": (
            "" if following is None else f"{LIST}?{urlencode({**filters, 'cursor': following})}"
        ),
        "first": f"{LIST}?{urlencode(filters)}" if cursor else "",
    }


async def ask(request: Request) -> Response:
    """Return the page that states what sending letters again does."""
    places = [*dict.fromkeys(request.query_params.getlist("place"))]
    places = places or _places(await draft_of(request))
    return await _confirmation(request, places, "")


async def send(request: Request) -> Response:
    """Send the records of dead letters again, and show the result."""
    fields = await form_of(request)
    places = _places(fields)
    if not places:
        return redirect(request, LIST)
    client, session = await client_of(request), await session_of(request)
    key = fields.get(KEY_FIELD) or next_key({}, 200)
    try:
        answer = await dashboard_of(request).resending.once(
            session.id, key, lambda: client.resend_dead_letters(places)
        )
    except ApiError as error:
        if is_signed_out(error):
            raise
        failure = failure_of(error)
        message = message_of(error)
        if is_unanswered(failure):
            message = f"{failure.title} {failure.text}"
            if _may_have_been_sent(error):
                message += " Some records may have been sent: look before you send them once more."
        return await _confirmation(request, places, message, failure.status)
    return await page(request, "dead_letters_resent.html", {"view": resent_view(answer)})


def _places(fields: Mapping[str, str]) -> list[str]:
    return [text for name, text in fields.items() if name.startswith(_PLACE)]


def _may_have_been_sent(error: ApiError) -> bool:
    """Return whether a call that was not answered may have sent some of its records."""
    if isinstance(error, ApiUnreachableError):
        return error.was_sent
    return error.code != "OPERATION_BUSY"


async def _confirmation(
    request: Request, places: list[str], error: str, status: int = 200
) -> Response:
    session = await session_of(request)
    context = {
        "places": places,
        "most": MAX_PLACES,
        "error": error,
        # Another one after every failure: the answer to a form is kept, whatever it was.
        "key": next_key({}, status),
        "may_manage": session.may("manage"),
    }
    return await page(request, "dead_letters_resend.html", context, status)


_RESEND = f"{LIST}/resend"

ROUTES = (
    Route(LIST, show, methods=["GET"]),
    Route(_RESEND, ask, methods=["GET"]),
    Route(_RESEND, send, methods=["POST"]),
)
