"""What is where: paths, methods, the scope each needs and the parameters it takes.

Read off the routers of the control plane, so a route declares all of it once. The edge asks here
before anything of a request's body is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import NamedTuple

from fastapi import APIRouter, Request
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute, Mount, Route

from api.auth import Gate, Scope
from api.http.error_responses import RouteError


@dataclass(frozen=True, slots=True)
class Requires:
    """The dependency of a route on an API key with a scope."""

    gate: Gate
    scope: Scope
    other: Scope | None = None

    @property
    def scopes(self) -> tuple[Scope, ...]:
        """The scopes of which one is enough."""
        return (self.scope,) if self.other is None else (self.scope, self.other)

    async def __call__(self, request: Request) -> None:
        """Refuse a request whose key does not have the scope, and note whose the key is."""
        request.state.caller = self.gate.check(request.scope["headers"], *self.scopes)


class Rules(NamedTuple):
    """What one method of a path asks for.

    Attributes:
        scopes: Scopes of which its key needs one; empty where it needs no key.
        parameters: Names of its query parameters; None for any.
    """

    scopes: tuple[Scope, ...] = ()
    parameters: frozenset[str] | None = frozenset()


@dataclass(slots=True)
class Resource:
    """One path.

    Attributes:
        rules: By method.
    """

    rules: dict[str, Rules] = field(default_factory=dict)

    @property
    def allow(self) -> str:
        """Its methods, as the header `Allow` has them."""
        methods = {*self.rules, "OPTIONS"}
        if "GET" in methods:
            methods.add("HEAD")
        return ", ".join(sorted(methods))

    def of(self, method: str) -> Rules:
        """Return the rules of a method.

        Raises:
            RouteError: it does not take the method (`METHOD_NOT_ALLOWED`).
        """
        rules = self.rules.get("GET" if method == "HEAD" else method)
        if rules is None:
            raise RouteError("METHOD_NOT_ALLOWED", HTTPStatus.METHOD_NOT_ALLOWED.phrase, self.allow)
        return rules


class Routing:
    """All paths of the control plane."""

    def __init__(self) -> None:
        self._fixed: dict[str, Resource] = {}
        self._patterns: dict[str, tuple[re.Pattern[str], Resource]] = {}
        self._prefixes: dict[str, Resource] = {}

    def add(self, routes: Iterable[BaseRoute], routers: Sequence[APIRouter]) -> None:
        """Take the routes of an application and of the routers in it."""
        for router in routers:
            for route in router.routes:
                if isinstance(route, APIRoute):
                    known = frozenset(each.alias for each in route.dependant.query_params)
                    self._put(route, Rules(_scopes(route), known))
        for route in routes:
            if isinstance(route, Mount):
                self._prefixes[route.path + "/"] = Resource({"GET": Rules()})
            elif isinstance(route, Route) and not isinstance(route, APIRoute):
                self._put(route, Rules())
            elif isinstance(route, APIRoute) and not route.include_in_schema:
                self._put(route, Rules(parameters=None))

    def find(self, path: str) -> Resource:
        """Return what is at a path.

        Raises:
            RouteError: nothing (`NOT_FOUND`).
        """
        found = self._fixed.get(path)
        if found is not None:
            return found
        for pattern, resource in self._patterns.values():
            if pattern.match(path):
                return resource
        for prefix, resource in self._prefixes.items():
            if path.startswith(prefix):
                return resource
        raise RouteError("NOT_FOUND", HTTPStatus.NOT_FOUND.phrase)

    def _put(self, route: Route, rules: Rules) -> None:
        if "{" in route.path:
            new = (route.path_regex, Resource())
            resource = self._patterns.setdefault(route.path, new)[1]
        else:
            resource = self._fixed.setdefault(route.path, Resource())
        for method in route.methods or ():
            if method != "HEAD":
                resource.rules[method] = rules


def _scopes(route: APIRoute) -> tuple[Scope, ...]:
    for dependency in route.dependencies:
        if isinstance(dependency.dependency, Requires):
            return dependency.dependency.scopes
    return ()
