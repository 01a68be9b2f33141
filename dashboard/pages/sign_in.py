"""Signing in with an API key, and out again."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from dashboard.context import (
    MAX_FIELDS,
    dashboard_of,
    form_of,
    render,
    session_of,
    set_cookie,
)
from dashboard.csrf import is_cross_site
from experiment_streams_client import ApiError

MAX_KEY = 512

_TYPED = "typed."
"""Prefix of the fields of another form, which is kept until the user has signed in."""


async def show(request: Request) -> Response:
    """Return the page that asks for a key."""
    return form(request, place=_place(request.query_params.get("next", "")), typed={})


async def sign_in(request: Request) -> Response:
    """Sign a person in whose key the API knows."""
    sent = await request.form(max_fields=MAX_FIELDS + 10)
    place = _place(str(sent.get("next", "")))
    typed = {
        name.removeprefix(_TYPED): value
        for name, value in sent.items()
        if name.startswith(_TYPED) and isinstance(value, str)
    }
    again = partial(form, request, place=place, typed=typed)
    if is_cross_site(request.headers):
        return form(request, place=place, typed={}, error="Sign in on this page.", status=403)
    key = str(sent.get("key", "")).strip()
    if not key or len(key) > MAX_KEY or not (key.isascii() and key.isprintable()):
        return again(error="Enter an API key.", status=422)
    dashboard = dashboard_of(request)
    async with dashboard.engine.untried(key) as client:
        try:
            caller = await client.whoami()
        except ApiError as error:
            if error.status in {401, 403}:
                return again(error="The API does not know this key.", status=422)
            raise
    if caller.needs_key:
        session = dashboard.sessions.open(key, caller.name, frozenset(caller.scopes))
    elif dashboard.is_private:
        session = dashboard.sessions.open(None, "", frozenset(caller.scopes))
    else:
        message = (
            "The API asks for no key, so anyone who can open this page could change experiments. "
            "Give the API a file of keys, or have the dashboard listen on 127.0.0.1."
        )
        return again(error=message, status=403)
    dashboard.sessions.close(request.cookies.get(dashboard.cookie, ""))
    if typed:
        dashboard.drafts.keep(session.id, place, typed)
    response = RedirectResponse(place, 303)
    set_cookie(dashboard, response, session)
    return response


async def sign_out(request: Request) -> Response:
    """End a session."""
    await form_of(request)
    session, dashboard = await session_of(request), dashboard_of(request)
    dashboard.sessions.close(session.id)
    response = RedirectResponse("/sign-in", 303)
    response.delete_cookie(
        dashboard.cookie, path="/", secure=dashboard.is_secure, httponly=True, samesite="lax"
    )
    return response


def _place(text: str) -> str:
    """Return where to go after signing in: a page of ours, whatever an address says."""
    is_ours = text.startswith("/") and not text.startswith("//") and "\\" not in text
    return text if is_ours and text.isprintable() and not text.startswith("/sign-") else "/"


def form(
    request: Request,
    *,
    place: str,
    typed: Mapping[str, str],
    error: str = "",
    status: int = 200,
) -> HTMLResponse:
    """Return the form that asks for a key.

    Args:
        request: The request.
        place: Where to go from it.
        typed: Fields of a form at that place, which is shown again with them.
        error: What is wrong.
        status: Status of the page.
    """
    fields = {f"{_TYPED}{name}": value for name, value in typed.items()}
    context = {
        "place": place,
        "typed": fields,
        "error": error,
        "session": None,
        "path": "/sign-in",
    }
    return HTMLResponse(render(request, "sign_in.html", context), status)


ROUTES = (
    Route("/sign-in", show, methods=["GET"]),
    Route("/sign-in", sign_in, methods=["POST"]),
    Route("/sign-out", sign_out, methods=["POST"]),
)
