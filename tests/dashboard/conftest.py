"""A dashboard over a scripted API."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from dashboard.app import dashboard_app
from experiment_streams_client import AsyncExperimentClient
from streams.planning.planned import PlanQuestion, formula_plan
from tests.dashboard.samples import (
    PLACE,
    doctor_json,
    experiment_json,
    history_json,
    letters_json,
    listed_json,
    series_json,
    stats_json,
)

SCOPES_OF_KEY = {"reads": ["read"], "manages": ["manage", "read"], "assigns": ["assign"]}


@dataclass
class ScriptedApi:
    """Answers of an API, by method and path, and what was sent to it.

    Attributes:
        needs_key: Whether it asks for keys.
        is_reachable: Whether it answers at all; if not, `failure` is raised.
        answers: Status and JSON by `METHOD /path`; they come before the usual ones.
        sent: Requests, in order.
    """

    needs_key: bool = True
    is_reachable: bool = True
    failure: type[httpx.TransportError] = httpx.ConnectError
    answers: dict[str, tuple[int, Any]] = field(default_factory=dict)
    sent: list[httpx.Request] = field(default_factory=list)

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.sent.append(request)
        if not self.is_reachable:
            raise self.failure("lost", request=request)
        name = request.headers.get("authorization", "").removeprefix("Bearer ")
        scopes = SCOPES_OF_KEY.get(name, [] if self.needs_key else ["manage", "read"])
        path = request.url.path
        if not scopes:
            return _error(401, "UNAUTHENTICATED", "the request carries no valid API key")
        if path == "/whoami":
            return httpx.Response(
                200, json={"name": name, "scopes": scopes, "needsKey": self.needs_key}
            )
        wanted = "read" if request.method == "GET" or path == "/plan" else "manage"
        if wanted not in scopes:
            return _error(403, "FORBIDDEN", f"the API key does not have the scope {wanted}")
        if path == "/plan" and "POST /plan" not in self.answers:
            question = PlanQuestion.model_validate_json(request.content)
            return httpx.Response(200, json=formula_plan(question))
        status, body = self.answers.get(f"{request.method} {path}") or self._usual(
            request.method, path
        )
        return httpx.Response(status, json=body)

    def _usual(self, method: str, path: str) -> tuple[int, Any]:
        if path == "/experiments" and method == "GET":
            return 200, {"experiments": [listed_json()], "nextCursor": None}
        if path == "/doctor":
            return 200, doctor_json()
        if path == "/dead-letters":
            return 200, letters_json()
        if path == "/dead-letters/resend":
            return 200, {"sent": [{"place": PLACE, "bytes": 1_536}], "refused": []}
        if path.endswith("/timeseries"):
            return 200, series_json(3)
        if path.endswith("/history"):
            return 200, {"entries": history_json(), "nextCursor": None}
        if path.endswith("/stats"):
            return 200, stats_json()
        return 200, experiment_json()

    def commands(self) -> list[tuple[str, Any]]:
        """Return what may change something."""
        return [
            (f"{each.method} {each.url.path}", json.loads(each.content))
            for each in self.sent
            if each.method != "GET" and each.url.path != "/plan"
        ]


def _error(status: int, code: str, message: str, path: str = "") -> httpx.Response:
    return httpx.Response(status, json={"error": {"code": code, "message": message, "path": path}})


@dataclass
class Browser:
    """A browser without scripts at the dashboard."""

    http: TestClient
    api: ScriptedApi

    def get(self, path: str, **options: Any) -> httpx.Response:
        answer: httpx.Response = self.http.get(path, **options)
        return answer

    def sign_in(self, key: str, place: str = "") -> httpx.Response:
        answer: httpx.Response = self.http.post("/sign-in", data={"key": key, "next": place})
        return answer

    def token(self, path: str = "/") -> str:
        found = re.search(r'name="csrf" value="([^"]+)"', self.get(path).text)
        return found[1] if found else ""

    def submit(self, path: str, **fields: str) -> httpx.Response:
        """Send the form of a page as the page would."""
        sent = {"csrf": self.token(path), **fields}
        answer: httpx.Response = self.http.post(path, data=sent)
        return answer


@pytest.fixture
def browser_of() -> Iterator[Callable[..., Browser]]:
    opened: list[TestClient] = []

    def make(*, host: str = "127.0.0.1", public_url: str = "", **api: Any) -> Browser:
        scripted = ScriptedApi(**api)

        def client(key: str | None) -> AsyncExperimentClient:
            transport = httpx.MockTransport(scripted.answer)
            return AsyncExperimentClient("http://api", api_key=key, attempts=1, transport=transport)

        app = dashboard_app(
            "http://api",
            host=host,
            public_url=public_url,
            session_s=60,
            now_s=lambda: 0.0,
            make_client=client,
        )
        base = public_url or f"http://{host}"
        http = TestClient(app, base_url=base, raise_server_exceptions=False)
        http.__enter__()
        opened.append(http)
        return Browser(http, scripted)

    yield make
    for each in opened:
        each.__exit__(None, None, None)


@pytest.fixture
def browser(browser_of: Callable[..., Browser]) -> Browser:
    """A browser at a dashboard whose API asks for keys; no user is signed in."""
    return browser_of()
