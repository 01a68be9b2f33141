"""Parts that requests are made of: paths, bodies, commands and lists that come in pages."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from typing import Any, Literal, Self, TypeVar
from urllib.parse import quote, urlencode

from api.http.models.idempotency import KEY_HEADER, checked_key
from api.http.models.responses import Experiment
from experiment_streams_client.calls.base import Call
from streams.model.validation import InputModel

T = TypeVar("T")

PAGE_LIMIT = 200
"""Members of one page: as many as the API gives at most."""


def path(*segments: str, **query: Any) -> str:
    """Return the path of `segments`, with the parameters of `query` that are not None."""
    place = "".join(f"/{quote(segment, safe='')}" for segment in segments)
    parameters = urlencode(given(**query))
    return f"{place}?{parameters}" if parameters else place


def given(**fields: Any) -> dict[str, Any]:
    """Return the fields of a body that are not None."""
    return {name: value for name, value in fields.items() if value is not None}


def json_of(request: InputModel) -> dict[str, Any]:
    """Return the JSON object of a request; what is not given is left out."""
    return request.model_dump(by_alias=True, exclude_none=True)


def command(
    method: Literal["POST", "PUT", "PATCH", "DELETE"],
    path: str,
    body: Any,
    read: Callable[[Any], T],
    idempotency_key: str | None,
    reason: str | None = None,
    expected_version: int | None = None,
) -> Call[T]:
    """Return a command, which a worker carries out once for each key.

    Raises:
        InputError: the key is not one, see `checked_key`. An empty one, as of a variable that is
            not set, is not replaced: each repetition would be another command.
    """
    key = checked_key(idempotency_key)
    headers = {KEY_HEADER: uuid.uuid4().hex if key is None else key}
    call = Call(method, path, read, body, headers, is_command=True)
    parameters = given(reason=reason, expectedVersion=expected_version)
    return call.with_parameters(**parameters) if parameters else call


def experiment_command(
    method: Literal["POST", "PUT", "PATCH"],
    path: str,
    body: Any,
    idempotency_key: str | None,
    reason: str | None,
    expected_version: int | None = None,
) -> Call[Experiment]:
    """Return a command that is answered with the experiment."""
    return command(
        method,
        path,
        body,
        Experiment.model_validate,
        idempotency_key,
        reason,
        expected_version,
    )


class Page(tuple[T, ...]):  # noqa: SLOT001 - a tuple that knows one thing more
    """Members of one answer.

    Attributes:
        next_cursor: Leads to the next page; None on the last one.
    """

    next_cursor: str | None

    def __new__(cls, members: Iterable[T] = (), next_cursor: str | None = None) -> Self:
        """Return a page of `members`."""
        page = super().__new__(cls, members)
        page.next_cursor = next_cursor
        return page


def paged(
    *segments: str, read: Callable[[Any], Page[T]], cursor: str | None = None, **query: Any
) -> Call[tuple[T, ...]]:
    """Return the call for a list that comes in pages.

    Args:
        *segments: Of its path.
        read: Turns the decoded JSON answer into a page.
        cursor: Of the page to begin with; None for the first.
        **query: Parameters of every page.
    """

    def next_page(page: Page[T]) -> Call[tuple[T, ...]] | None:
        if not page.next_cursor:
            return None
        return paged(*segments, read=read, cursor=page.next_cursor, **query)

    place = path(*segments, limit=PAGE_LIMIT, **query, cursor=cursor)
    return Call("GET", place, read, next_page=next_page)
