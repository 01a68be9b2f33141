"""The application: routes, errors, and what begins and ends with it."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from urllib.parse import quote, urlsplit

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from dashboard.context import (
    Dashboard,
    ForgedFormError,
    NotSignedInError,
    dashboard_of,
    keep_session,
    keep_unanswered,
    render,
    session_of,
    template_environment,
    typed_into,
)
from dashboard.csrf import CsrfTokens
from dashboard.drafts import Drafts
from dashboard.engine import Engine, MakeClient, client_maker
from dashboard.failures import failure_of, is_unanswered
from dashboard.feeds import Feeds
from dashboard.pages import (
    commands,
    create,
    dead_letters,
    experiment,
    listing,
    restore,
    sign_in,
    system,
)
from dashboard.security import Guard
from dashboard.sessions import SessionStore
from dashboard.static_files import StaticAssets
from dashboard.submitted_forms import SubmittedForms
from dashboard.views.text import sentence
from experiment_streams_client import ApiError
from streams.model.errors import InputError
from streams.process.outages import outage

LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]"})

_log = logging.getLogger(__name__)


def dashboard_app(
    api_url: str,
    *,
    host: str,
    public_url: str,
    session_s: float,
    now_s: Callable[[], float],
    make_client: MakeClient | None = None,
) -> Starlette:
    """Return the application.

    Args:
        api_url: Address of the API.
        host: Address that it will listen on.
        public_url: Address as browsers reach it; empty for that of the request.
        session_s: Seconds for which an idle session is kept.
        now_s: Monotonic clock.
        make_client: Makes a client of the API for a key.
    """
    engine = Engine(make_client or client_maker(api_url))
    assets = StaticAssets()
    is_private = _bracketed(host) in LOOPBACK
    dashboard = Dashboard(
        engine=engine,
        feeds=Feeds(engine),
        sessions=SessionStore(session_s, now_s),
        tokens=CsrfTokens(),
        resending=SubmittedForms(),
        drafts=Drafts(),
        assets=assets,
        api_url=api_url,
        is_private=is_private,
        is_secure=public_url.startswith("https:"),
    )

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await dashboard.feeds.close()
        await engine.close()

    app = Starlette(
        routes=[
            Route("/health", _health, methods=["GET"]),
            Route("/static/{name:path}", assets.answer, methods=["GET"]),
            *sign_in.ROUTES,
            *listing.ROUTES,
            *create.ROUTES,
            *commands.ROUTES,
            *restore.ROUTES,
            *experiment.ROUTES,
            *system.ROUTES,
            *dead_letters.ROUTES,
        ],
        middleware=[Middleware(Guard, hosts=_hosts(host, public_url))],
        exception_handlers={
            NotSignedInError: _to_sign_in,
            ForgedFormError: _forged,
            ApiError: _api_error,
            InputError: _unsendable,
            HTTPException: _http_error,
            Exception: _fault,
        },
        lifespan=lifespan,
    )
    app.state.dashboard = dashboard
    app.state.templates = template_environment(assets)
    return app


def _hosts(host: str, public_url: str) -> set[str] | None:
    """Return the names that a browser may reach the dashboard by; None for any."""
    public = urlsplit(public_url).hostname
    if not public and _bracketed(host) not in LOOPBACK:
        return None
    return {*LOOPBACK, _bracketed(host), *([_bracketed(public)] if public else [])}


async def _health(_: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def _to_sign_in(request: Request, _: Exception) -> Response:
    place = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    if request.headers.get("hx-request") == "true" or request.url.path.endswith("/live"):
        shown = urlsplit(request.headers.get("hx-current-url", ""))
        place = shown.path + (f"?{shown.query}" if shown.query else "")
        return Response("Sign in again.", 401, headers={"HX-Redirect": _sign_in(place)})
    if typed := await typed_into(request):
        return sign_in.form(request, place=request.url.path, typed=typed, status=401)
    return RedirectResponse(_sign_in(place if request.method == "GET" else ""), 303)


def _sign_in(place: str) -> str:
    """Return the address of the form that leads back to a page."""
    return "/sign-in" if place in {"", "/"} else f"/sign-in?next={quote(place)}"


async def _keep_typed(request: Request) -> bool:
    """Keep what was typed into a form for the next page at its address; return whether any was."""
    typed = await typed_into(request)
    if typed:
        session = await session_of(request)
        dashboard_of(request).drafts.keep(session.id, request.url.path, typed)
    return bool(typed)


async def _forged(request: Request, _: Exception) -> Response:
    is_kept = await _keep_typed(request)
    what_next = "What you typed is in it when" if is_kept else "Repeat what you did when"
    return _error(
        request,
        403,
        "This form is out of date.",
        "The dashboard was restarted, or you signed in anew in another tab. Nothing was changed. "
        f"{what_next} you load this page again.",
    )


async def _unsendable(request: Request, error: Exception) -> Response:
    """Answer a form that the client refuses to send; pages show what the API refuses."""
    assert isinstance(error, InputError)  # noqa: S101 - as registered
    text = f"{sentence(error.message)} ({error.code}) Nothing was changed."
    if await _keep_typed(request):
        text += " What you typed is in the page when you load it again."
    return _error(request, 422, "This cannot be sent.", text)


async def _api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)  # noqa: S101 - as registered
    if error.status == HTTPStatus.UNAUTHORIZED:
        dashboard = dashboard_of(request)
        dashboard.sessions.close(request.cookies.get(dashboard.cookie, ""))
        return await _to_sign_in(request, error)
    failure = failure_of(error)
    if is_unanswered(failure):
        _log.warning("the API does not answer: %s", error, extra=outage("api"))
    text = failure.text
    if is_unanswered(failure) and keep_unanswered(request):
        text += (
            " Whether what you sent has taken effect is not known. The page has what you typed "
            "when you load it again, and sent once more it takes effect once."
        )
    return _error(request, failure.status, failure.title, text)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - as registered
    is_missing = error.status_code == HTTPStatus.NOT_FOUND
    title = "There is no such page." if is_missing else str(error.detail)
    return _error(request, error.status_code, title, "")


async def _fault(request: Request, _: Exception) -> Response:
    text = "Its log has the error."
    if request.method == "GET":
        text += " Nothing was changed."
    else:
        text += " Whether what you sent has taken effect is not known: look before you repeat it."
    return _error(request, 500, "The dashboard failed.", text)


def _error(request: Request, status: int, title: str, text: str) -> Response:
    dashboard, session = dashboard_of(request), getattr(request.state, "session", None)
    context = {
        "title": title,
        "message": text,
        "session": session,
        "token": "" if session is None else dashboard.tokens.token(session.id),
        "path": f"/{request.url.path.lstrip('/')}",  # `//name` would be another site
    }
    return keep_session(request, HTMLResponse(render(request, "error.html", context), status))


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host.lower()
