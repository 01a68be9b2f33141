"""The routing table: paths, their methods, and the rules of each.

`api.http.endpoints` declares every endpoint once. `FastPathApp` finds it here before it reads
anything of a body, and `api.http.fastapi_app` derives FastAPI's routes, and with them the OpenAPI
document, from the same declarations.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from http import HTTPStatus
from types import UnionType
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel
from starlette.routing import BaseRoute, Mount, Route

from api.http.dependencies import Services
from api.http.error_responses import Headers, RouteError, error_response
from api.http.models.text_query import TextQuery
from api.http.ofrep_errors import ofrep_error
from streams.api_keys import Scope

PARAMETER = "{experiment_id}"
"""Parameter of paths of experiments, their second segment."""

VARIANT_PARAMETER = "{variant_id}"
"""Parameter of the path of a variant, its last segment."""

HOLDOUT_PARAMETER = "{holdout_key}"
"""Parameter of paths of holdouts, likewise."""

WEBHOOK_PARAMETER = "{webhook_id}"
"""Parameter of paths of webhooks, likewise."""

KEY_PARAMETER = "{key}"
"""Parameter of the path of a flag: all that follows, since a flag's key may be any text."""

CACHED_PATHS = 1_024
"""Paths whose place in the table is remembered: a look-up costs 1 us of each assignment."""

FastHandler = Callable[[Services, str, bytes], Awaitable[bytes]]
ErrorRenderer = Callable[[Exception, str], tuple[int, bytes, Headers, str]]
"""Returns status, body, headers and code of an error, for a parameter of the path."""


def _own_error(error: Exception, _: str) -> tuple[int, bytes, Headers, str]:
    return error_response(error)


class Body(NamedTuple):
    """The JSON body of an endpoint.

    Attributes:
        model: Its model.
        is_required: Whether an empty body is not the same as an empty object.
        is_list_too: Whether it may also be a list of such objects.
    """

    model: type[BaseModel]
    is_required: bool = True
    is_list_too: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One method of one path.

    Attributes:
        method, path: Address of the endpoint.
        handler: A `FastHandler` where `traffic` is given, else a handler as FastAPI has them. Its
            name and docstring are those of the endpoint in the documentation.
        tag: Group in the documentation.
        scopes: Scopes of which an API key needs one; empty where no key is needed.
        response: Model of a successful answer, or several; None for what is no JSON.
        status: HTTP status of a successful answer.
        body: The body it takes; None without one.
        query: Model of its query parameters; None without one.
        further_answers: Documented answers, by status; None for one without a body.
        is_ofrep: Whether its errors have the form of OFREP, and any query parameter is taken.
        traffic: Latency histogram of an endpoint that `FastPathApp` answers itself, without
            FastAPI; None where FastAPI answers.
    """

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    path: str
    handler: Callable[..., Awaitable[Any]]
    tag: str
    scopes: tuple[Scope, ...] = ()
    response: type[Any] | UnionType | None = None
    status: int = HTTPStatus.OK
    body: Body | None = None
    query: type[TextQuery] | None = None
    further_answers: tuple[tuple[int, type[BaseModel] | None], ...] = ()
    is_ofrep: bool = False
    traffic: Literal["assign", "observe"] | None = None


class MethodRule(NamedTuple):
    """The rules of one method of a path.

    Attributes:
        scopes: Scopes of which an API key needs one; empty where no key is needed.
        parameters: Names of the query parameters; None for any.
        fast_handler: Answers without FastAPI; None where FastAPI answers.
        traffic: Latency histogram of the fast handler.
        status: HTTP status of the fast handler's answers.
        render_error: Renders errors.
    """

    scopes: tuple[Scope, ...] = ()
    parameters: frozenset[str] | None = frozenset()
    fast_handler: FastHandler | None = None
    traffic: str = ""
    status: int = HTTPStatus.OK
    render_error: ErrorRenderer = _own_error


@dataclass(slots=True)
class Resource:
    """One path.

    Attributes:
        rules: By method.
        allow: The methods, as the header `Allow` has them.
    """

    rules: dict[str, MethodRule] = field(default_factory=dict)
    allow: str = ""

    def put(self, method: str, rule: MethodRule) -> None:
        """Add a method; GET implies HEAD."""
        self.rules[method] = rule
        if method == "GET":
            self.rules["HEAD"] = rule
        self.allow = ", ".join(sorted({*self.rules, "OPTIONS"}))

    def of(self, method: str) -> MethodRule:
        """Return the rule of a method.

        Raises:
            RouteError: the resource does not take the method (`METHOD_NOT_ALLOWED`).
        """
        rule = self.rules.get(method)
        if rule is None:
            raise RouteError("METHOD_NOT_ALLOWED", HTTPStatus.METHOD_NOT_ALLOWED.phrase, self.allow)
        return rule


class RoutingTable:
    """All paths of the API.

    Attributes:
        find: Returns what is at a path, and the parameter in the path, empty without one.
            Raises a RouteError (`NOT_FOUND`) where nothing is.

    Args:
        endpoints: The declared endpoints.
        pages: Routes of FastAPI's own pages, as of the documentation.
    """

    def __init__(self, endpoints: Iterable[Endpoint], pages: Iterable[BaseRoute] = ()) -> None:
        self._fixed: dict[str, Resource] = {}
        self._parametric: dict[str, Resource] = {}
        self._nested: dict[str, Resource] = {}
        self._tails: dict[str, Resource] = {}
        self._prefixes: dict[str, Resource] = {}
        for endpoint in endpoints:
            self._resource(endpoint.path).put(endpoint.method, _rule(endpoint))
        for page in pages:
            if isinstance(page, Mount):
                self._prefixes[page.path + "/"] = resource = Resource()
                resource.put("GET", MethodRule())
            elif isinstance(page, Route):
                self._resource(page.path).put("GET", MethodRule(parameters=None))
        methods = {method for each in self._resources() for method in each.rules}
        self._fixed["*"] = Resource(allow=", ".join(sorted({*methods, "OPTIONS"})))
        self.find = lru_cache(CACHED_PATHS)(self._find)

    def _find(self, path: str) -> tuple[Resource, str]:
        found = self._fixed.get(path)
        if found is not None:
            return found, ""
        start = path.find("/", 1) + 1
        end = path.find("/", start)
        if end < 0:
            end = len(path)
        if 0 < start < end:
            rest = path[:start] + path[end:]
            collection, separator, member = rest.rpartition("/")
            found = self._parametric.get(rest)
            if found is None and member:
                found = self._nested.get(collection + separator)
            if found is not None:
                return found, path[start:end]
        for prefix, resource in self._tails.items():
            if path.startswith(prefix) and len(path) > len(prefix):
                return resource, path[len(prefix) :]
        for prefix, resource in self._prefixes.items():
            if path.startswith(prefix):
                return resource, ""
        raise RouteError("NOT_FOUND", HTTPStatus.NOT_FOUND.phrase)

    def _resource(self, path: str) -> Resource:
        if path.endswith(KEY_PARAMETER):
            return self._tails.setdefault(path.removesuffix(KEY_PARAMETER), Resource())
        for parameter in (HOLDOUT_PARAMETER, WEBHOOK_PARAMETER):
            if parameter in path:
                return self._parametric.setdefault(path.replace(parameter, ""), Resource())
        if PARAMETER not in path:
            return self._fixed.setdefault(path, Resource())
        place = path.replace(PARAMETER, "")
        if place.endswith(VARIANT_PARAMETER):
            return self._nested.setdefault(place.removesuffix(VARIANT_PARAMETER), Resource())
        return self._parametric.setdefault(place, Resource())

    def _resources(self) -> Iterable[Resource]:
        return (
            *self._fixed.values(),
            *self._parametric.values(),
            *self._nested.values(),
            *self._tails.values(),
        )


def _rule(endpoint: Endpoint) -> MethodRule:
    fields = {} if endpoint.query is None else endpoint.query.model_fields
    parameters = frozenset(field.alias or name for name, field in fields.items())
    rule = MethodRule(endpoint.scopes, parameters)
    if endpoint.is_ofrep:  # clients of it may send parameters of their vendors
        rule = rule._replace(parameters=None, render_error=ofrep_error)
    if endpoint.traffic is None:
        return rule
    return rule._replace(
        fast_handler=endpoint.handler, traffic=endpoint.traffic, status=int(endpoint.status)
    )
