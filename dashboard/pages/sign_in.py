"""Signing in with an API key, and out again."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from dashboard.context import (
    dashboard_of,
    form_of,
    render,
    session_of,
    set_cookie,
)
from dashboard.csrf import is_cross_site
from experiment_streams_client import ApiError

MAX_KEY = 512


async def show(request: Request) -> Response:
    """Return the page that asks for a key."""
    return _form(request, place=_place(request.query_params.get("next", "")))


async def sign_in(request: Request) -> Response:
    """Sign a person in whose key the API knows."""
    form = await request.form(max_fields=10)
    place = _place(str(form.get("next", "")))
    if is_cross_site(request.headers):
        return _form(request, place=place, error="Sign in on this page.", status=403)
    key = str(form.get("key", "")).strip()
    if not key or len(key) > MAX_KEY or not (key.isascii() and key.isprintable()):
        return _form(request, place=place, error="Enter an API key.", status=422)
    dashboard = dashboard_of(request)
    async with dashboard.engine.untried(key) as client:
        try:
            caller = await client.whoami()
        except ApiError as error:
            if error.status in {401, 403}:
                return _form(
                    request, place=place, error="The API does not know this key.", status=422
                )
            raise
    if caller.needs_key:
        session = dashboard.sessions.open(key, caller.name, frozenset(caller.scopes))
    elif dashboard.is_private:
        session = dashboard.sessions.open(None, "", frozenset(caller.scopes))
    else:
        message = (
            "The API asks for no key, so anybody who reaches this page could change experiments. "
            "Give the API a file of keys, or have the dashboard listen on 127.0.0.1."
        )
        return _form(request, place=place, error=message, status=403)
    dashboard.sessions.close(request.cookies.get(dashboard.cookie, ""))
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


def _form(request: Request, *, place: str, error: str = "", status: int = 200) -> HTMLResponse:
    context = {"place": place, "error": error, "session": None, "path": "/sign-in"}
    return HTMLResponse(render(request, "sign_in.html", context), status)


ROUTES = (
    Route("/sign-in", show, methods=["GET"]),
    Route("/sign-in", sign_in, methods=["POST"]),
    Route("/sign-out", sign_out, methods=["POST"]),
)
