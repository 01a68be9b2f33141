"""Parts that the pages share: sessions, tokens, the engine, and rendering."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from api.http.models.idempotency import checked_key
from dashboard import csrf
from dashboard.attempts import KEY_FIELD
from dashboard.csrf import CsrfTokens, is_cross_site
from dashboard.drafts import Drafts
from dashboard.engine import Engine
from dashboard.feeds import Feeds
from dashboard.sessions import Session, SessionStore
from dashboard.static_files import StaticAssets
from dashboard.submitted_forms import SubmittedForms
from dashboard.views import text
from dashboard.views.isolation import isolated
from experiment_streams_client import AsyncExperimentClient
from streams.model.errors import InputError

TEMPLATES = Path(__file__).parent / "templates"

COOKIE = "experiment_session"

MAX_FIELDS = 1_000
"""Fields of a form."""

R = TypeVar("R", bound=Response)


@dataclass(frozen=True, slots=True)
class Dashboard:
    """Parts of one process.

    Attributes:
        engine: The API.
        feeds: Live experiments.
        sessions: People who are signed in.
        tokens: Tokens of forms.
        resending: Dead letters that are sent again.
        drafts: Forms of sessions that had ended.
        assets: Scripts and styles.
        api_url: Address of the API, as `curl` would use it.
        is_private: Whether the dashboard is reachable from this machine only; only then may it be
            used without a key, if the API does not require one.
        is_secure: Whether cookies are for TLS alone.
    """

    engine: Engine
    feeds: Feeds
    sessions: SessionStore
    tokens: CsrfTokens
    resending: SubmittedForms
    drafts: Drafts
    assets: StaticAssets
    api_url: str
    is_private: bool
    is_secure: bool

    @property
    def cookie(self) -> str:
        """Name of the cookie; with the prefix, browsers take it from this host over TLS alone."""
        return f"__Host-{COOKIE}" if self.is_secure else COOKIE


class NotSignedInError(Exception):
    """A page requires a signed-in user."""


class ForgedFormError(Exception):
    """A form that was not made by a page of this session."""


def dashboard_of(request: Request) -> Dashboard:
    """Return the parts of the process that answers a request."""
    found: Dashboard = request.app.state.dashboard
    return found


async def session_of(request: Request) -> Session:
    """Return the session of a request; a new one where the API asks for no key.

    Raises:
        NotSignedInError: no session exists.
    """
    found: Session | None = getattr(request.state, "session", None)
    if found is not None:
        return found
    dashboard = dashboard_of(request)
    session = dashboard.sessions.find(request.cookies.get(dashboard.cookie, ""))
    if session is None:
        if not dashboard.is_private:
            raise NotSignedInError
        caller = await dashboard.engine.client(None).whoami()
        if caller.needs_key:
            raise NotSignedInError
        session = dashboard.sessions.open(None, "", frozenset(caller.scopes))
        request.state.new_session = session
    request.state.session = session
    return session


async def client_of(request: Request) -> AsyncExperimentClient:
    """Return the client with the key of the person who asks."""
    session = await session_of(request)
    return dashboard_of(request).engine.client(session.api_key)


async def form_of(request: Request) -> dict[str, str]:
    """Return the fields of a form; of fields of one name, the last.

    Raises:
        ForgedFormError: it is not one of our forms, or its page is older than this process.
    """
    session = await session_of(request)
    fields = await _fields_of(request)
    token = fields.pop(csrf.FIELD, request.headers.get(csrf.HEADER, ""))
    if is_cross_site(request.headers) or not dashboard_of(request).tokens.holds(token, session.id):
        raise ForgedFormError
    try:
        checked_key(fields.get(KEY_FIELD))
    except InputError as error:  # every key is drawn by a page
        raise ForgedFormError from error
    request.state.form = fields
    return fields


async def _fields_of(request: Request) -> dict[str, str]:
    form = await request.form(max_fields=MAX_FIELDS)
    return {name: value for name, value in form.items() if isinstance(value, str)}


async def typed_into(request: Request) -> dict[str, str]:
    """Return what a form that was not taken holds, to be shown again; nothing of another site's.

    Its token and its idempotency key are left out: a separate page sends it again.
    """
    if request.method != "POST" or is_cross_site(request.headers):
        return {}
    return {
        name: value
        for name, value in (await _fields_of(request)).items()
        if name not in {csrf.FIELD, KEY_FIELD}
    }


async def draft_of(request: Request) -> Mapping[str, str]:
    """Return what was typed into the form of a page before its session ended; once.

    So it is with one that the API did not answer; that one has its idempotency key.
    """
    session = await session_of(request)
    fields = dashboard_of(request).drafts.take(session.id, request.url.path)
    request.state.draft = fields
    return fields


def keep_unanswered(request: Request) -> bool:
    """Keep the form that the API did not answer for the next page at its address, with its key.

    Returns:
        Whether there was one.
    """
    session, fields = getattr(request.state, "session", None), getattr(request.state, "form", None)
    if session is None or not fields:
        return False
    dashboard_of(request).drafts.keep(session.id, request.url.path, fields)
    return True


async def page(
    request: Request, template: str, context: dict[str, Any], status: int = 200
) -> HTMLResponse:
    """Return a page, or a part of one, of a signed-in user."""
    session = await session_of(request)
    dashboard = dashboard_of(request)
    shared = {
        "session": session,
        "token": dashboard.tokens.token(session.id),
        "path": request.url.path,
        "draft": _state_of(getattr(request.state, "draft", {})),
    }
    return keep_session(
        request, HTMLResponse(render(request, template, {**shared, **context}), status)
    )


def _state_of(draft: Mapping[str, str]) -> str:
    """Return the state of the form whose fields a page shows again; empty without one."""
    if not draft:
        return ""
    return "unanswered" if KEY_FIELD in draft else "unsent"


def render(request: Request, template: str, context: dict[str, Any]) -> str:
    """Return a rendered template."""
    environment: Environment = request.app.state.templates
    return environment.get_template(template).render(context)


def redirect(request: Request, place: str) -> Response:
    """Return a redirect to a page, as an answer to a form."""
    return keep_session(request, RedirectResponse(place, 303))


def keep_session(request: Request, response: R) -> R:
    """Give a browser the cookie of its session, where it has none yet."""
    session: Session | None = getattr(request.state, "new_session", None)
    if session is not None:
        set_cookie(dashboard_of(request), response, session)
    return response


def set_cookie(dashboard: Dashboard, response: Response, session: Session) -> None:
    """Give a browser the cookie of a session."""
    response.set_cookie(
        dashboard.cookie,
        session.id,
        httponly=True,
        samesite="lax",
        secure=dashboard.is_secure,
        path="/",
    )


def template_environment(assets: StaticAssets) -> Environment:
    """Return the environment of all templates."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(asset=assets.address, text=text)
    environment.filters.update(
        count=text.count, moment=text.moment, iso=text.iso, isolated=isolated
    )
    return environment
