"""Descriptions of calls, and the methods of both clients that are made of them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any, Generic, Literal, ParamSpec, Protocol, TypeVar, overload
from urllib.parse import urlencode

from experiment_streams_client.errors import ApiError, ApiUnreachableError

P = ParamSpec("P")
T = TypeVar("T")

MAX_WAIT_S = 5.0
"""Longest pause before a retry, whatever the API asks for, in seconds."""

OPERATION_S = 65.0
"""Longest wait for what the API computes beside itself, in seconds: it gives up after 60."""


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request, and how its answer is read.

    Attributes:
        method: HTTP method.
        path: Path and query below the address of the API.
        read: Turns the decoded JSON answer into the result. It ignores fields that a newer engine
            adds, so an older client continues working.
        body: JSON-like body; None without one.
        headers: Headers besides the usual ones.
        is_repeatable: Whether sending it twice does no more than sending it once. Only then is it
            sent again after a failure that leaves open whether it arrived.
        accepts: Statuses besides 2xx whose body is a result and not an error.
        next_page: Returns the call for the rest of a list of which a result is the beginning, None
            if there is no rest. Absent for what is no list.
        is_command: Whether it changes an experiment, and so has an author.
        slowest_s: Seconds that its answer may take, where they are more than a client waits for.
    """

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    path: str
    read: Callable[[Any], T]
    body: Any = None
    headers: Mapping[str, str] | None = None
    is_repeatable: bool = True
    accepts: frozenset[int] = frozenset()
    next_page: Callable[[Any], Call[T] | None] | None = None
    is_command: bool = False
    slowest_s: float = 0.0

    def with_parameters(self, **parameters: str) -> Call[T]:
        """Return the call with further parameters in its query."""
        separator = "&" if "?" in self.path else "?"
        return replace(self, path=f"{self.path}{separator}{urlencode(parameters)}")

    def by(self, author: str | None) -> Call[T]:
        """Return the call with a declared author, if it is a command."""
        return self.with_parameters(author=author) if self.is_command and author else self

    def is_worth_repeating(self, error: Exception) -> bool | float:
        """Return whether to send the call again after `error`, or after how many seconds to."""
        if isinstance(error, ApiUnreachableError):
            return self.is_repeatable or not error.was_sent
        if isinstance(error, ApiError) and error.status == HTTPStatus.SERVICE_UNAVAILABLE:
            return True if error.retry_after_s is None else min(error.retry_after_s, MAX_WAIT_S)
        return False


class Carrier(Protocol):
    """Carries a described call out and returns its result."""

    def send(self, call: Call[T], /) -> T:
        """Send `call`, wait for the answer, and return what it says."""


class AsyncCarrier(Protocol):
    """Carries a described call out and returns its result once awaited."""

    async def send(self, call: Call[T], /) -> T:
        """Send `call`, and return what its answer says."""


class Method(Generic[P, T]):
    """A client's method with the parameters of the function that describes the call.

    It decorates a static method, since what is described does not depend on the client. On a
    `Carrier` it returns the result, on an `AsyncCarrier` a coroutine of it.
    """

    def __init__(self, describe: Callable[P, Call[T]]) -> None:
        self._describe: Callable[P, Call[T]] = inspect.unwrap(describe)

    @overload
    def __get__(self, client: None, owner: type) -> Callable[P, Call[T]]: ...
    @overload
    def __get__(self, client: AsyncCarrier, owner: type) -> Callable[P, Coroutine[Any, Any, T]]: ...
    @overload
    def __get__(self, client: Carrier, owner: type) -> Callable[P, T]: ...
    def __get__(self, client: Carrier | AsyncCarrier | None, owner: type) -> Any:
        """Return this method bound to `client`; on a class, the description and its help."""
        if client is None:
            return self._describe

        @functools.wraps(self._describe)
        def bound(*args: P.args, **kwargs: P.kwargs) -> Any:
            return client.send(self._describe(*args, **kwargs))

        return bound
