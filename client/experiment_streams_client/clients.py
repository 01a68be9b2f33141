"""The two clients: the same methods over a blocking and over an asynchronous connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator
from http import HTTPStatus
from ipaddress import ip_address
from typing import Any, Self, TypeVar, cast

import httpx
import stamina
from pydantic import ValidationError

from experiment_streams_client.calls.base import Call
from experiment_streams_client.calls.bodies import json_body
from experiment_streams_client.errors import (
    ApiError,
    ApiUnreachableError,
    foreign_answer,
    refusal,
)
from experiment_streams_client.methods import Methods
from experiment_streams_client.stats_streams import (
    EventParser,
    StatsEvent,
    request_of,
    require_success,
)

T = TypeVar("T")

DEFAULT_URL = "http://127.0.0.1:8080"
"""URL at which `experiment up` serves the API by default."""

_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


class ExperimentClient(Methods):
    """The API of a running engine, one blocking call a method. May be shared by threads.

    Args:
        url: Address of the API.
        api_key: Sent as a bearer token; None where the API is open, as on loopback.
        author: Who gives the commands, where several people share an API key: at most 100
            characters, recorded behind the name of the key. None for the key alone.
        timeout_s: Seconds to wait for a connection and for each answer; what the API computes for
            up to a minute, as a diagnosis, is waited for that long.
        attempts: How often a request is sent at most. It is sent again, after a growing pause or
            the one the API asks for, when the API says that it cannot serve it now (503), or
            when the connection failed and sending twice does no harm.
        transport: Replaces the network, as in tests.

    Examples:
        ```
        with ExperimentClient("http://127.0.0.1:8080") as client:
            assignment = client.assign_variant(experiment_id, AssignmentContext(user_id="user_123"))
            client.record_observation(assignment.id, "click", 1)
        ```
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        api_key: str | None = None,
        author: str | None = None,
        timeout_s: float = 10.0,
        attempts: int = 4,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._timeout_s = timeout_s
        self._author = author
        self._http = httpx.Client(
            base_url=url,
            headers=_headers(api_key),
            timeout=timeout_s,
            transport=transport,
            trust_env=not _is_loopback(url),
        )
        self._retrying = stamina.RetryingCaller(attempts, **_BACKOFF)

    def send(self, call: Call[T], /) -> T:
        """Send a described call and return its result.

        Raises:
            ApiError: the API refused it, or was not reached in any of the attempts.
        """
        result: Any = self._retrying(call.is_worth_repeating, self._send_once, call)
        following = call.next_page and call.next_page(result)
        while following:
            page: Any = self._retrying(following.is_worth_repeating, self._send_once, following)
            result += page
            following = following.next_page and following.next_page(page)
        return cast("T", result)

    def _send_once(self, call: Call[T]) -> T:
        try:
            response = self._http.request(**_request(call, self._author, self._timeout_s))
        except httpx.TransportError as error:
            raise _unreachable(self._http.base_url, error) from error
        return _result(call, response)

    def stream_experiment_stats(
        self, experiment_id: str, last_event_id: str | None = None
    ) -> Generator[StatsEvent, None, None]:
        """Yield the statistics of an experiment whenever they have changed, until it is archived.

        Args:
            experiment_id: Its id or key.
            last_event_id: `StatsEvent.id` of the last event that was seen; None to get the present
                statistics at once.

        Raises:
            ApiError: the API refused it, or the connection was lost; it is not opened again.
        """
        try:
            with self._http.stream(
                **request_of(experiment_id, last_event_id, self._timeout_s)
            ) as response:
                if not response.is_success:
                    response.read()
                require_success(response)
                parser = EventParser()
                for line in response.iter_lines():
                    event = parser.line(line)
                    if event is not None:
                        yield event
                    if parser.has_ended:
                        return
        except httpx.TransportError as error:
            raise _unreachable(self._http.base_url, error) from error
        raise _ended(self._http.base_url)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncExperimentClient(Methods):
    """The API of a running engine, one awaitable a method; otherwise as `ExperimentClient`.

    Args:
        url, api_key, author, timeout_s, attempts, transport: As for `ExperimentClient`.
        connections: Connections kept open at most. Further calls wait for one.

    Examples:
        ```
        async with AsyncExperimentClient() as client:
            assignment = await client.assign_variant(experiment_id, {"userId": "user_123"})
        ```
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        api_key: str | None = None,
        author: str | None = None,
        timeout_s: float = 10.0,
        attempts: int = 4,
        connections: int = 32,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        # Waiting for a free connection has no separate timeout: the semaphore is first come, first
        # served, while httpx's pool under load lets some wait until they time out.
        self._free = asyncio.Semaphore(connections)
        self._timeout_s = timeout_s
        self._author = author
        self._http = httpx.AsyncClient(
            base_url=url,
            headers=_headers(api_key),
            timeout=timeout_s,
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
            transport=transport,
            trust_env=not _is_loopback(url),
        )
        self._retrying = stamina.AsyncRetryingCaller(attempts, **_BACKOFF)

    async def send(self, call: Call[T], /) -> T:
        """Send a described call and return its result.

        Raises:
            ApiError: the API refused it, or was not reached in any of the attempts.
        """
        result: Any = await self._retrying(call.is_worth_repeating, self._send_once, call)
        following = call.next_page and call.next_page(result)
        while following:
            page: Any = await self._retrying(
                following.is_worth_repeating, self._send_once, following
            )
            result += page
            following = following.next_page and following.next_page(page)
        return cast("T", result)

    async def _send_once(self, call: Call[T]) -> T:
        try:
            async with self._free:
                response = await self._http.request(**_request(call, self._author, self._timeout_s))
        except httpx.TransportError as error:
            raise _unreachable(self._http.base_url, error) from error
        return _result(call, response)

    async def stream_experiment_stats(
        self, experiment_id: str, last_event_id: str | None = None
    ) -> AsyncGenerator[StatsEvent, None]:
        """Yield the statistics of an experiment whenever they have changed, until it is archived.

        Args:
            experiment_id: Its id or key.
            last_event_id: `StatsEvent.id` of the last event that was seen; None to get the present
                statistics at once.

        Raises:
            ApiError: the API refused it, or the connection was lost; it is not opened again.
        """
        try:
            async with self._http.stream(
                **request_of(experiment_id, last_event_id, self._timeout_s)
            ) as response:
                if not response.is_success:
                    await response.aread()
                require_success(response)
                parser = EventParser()
                async for line in response.aiter_lines():
                    event = parser.line(line)
                    if event is not None:
                        yield event
                    if parser.has_ended:
                        return
        except httpx.TransportError as error:
            raise _unreachable(self._http.base_url, error) from error
        raise _ended(self._http.base_url)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


# Waits of about 0.1, 0.2, 0.4 … s. The random part keeps clients that failed together apart.
_BACKOFF: Any = {"timeout": None, "wait_initial": 0.1, "wait_max": 5.0, "wait_jitter": 0.1}


def _request(call: Call[Any], author: str | None, timeout_s: float) -> dict[str, Any]:
    """Return the arguments of `httpx.Client.request` for a call."""
    headers = dict(call.headers or {})
    content = None
    if call.body is not None:
        content = json_body(call.body)
        headers["Content-Type"] = "application/json"
    return {
        "method": call.method,
        "url": call.by(author).path,
        "content": content,
        "headers": headers,
        "timeout": _timeout(timeout_s, call),
    }


def _timeout(timeout_s: float, call: Call[Any]) -> httpx.Timeout:
    return httpx.Timeout(timeout_s, read=max(timeout_s, call.slowest_s))


def _headers(api_key: str | None) -> dict[str, str]:
    """Return the headers of all requests.

    Raises:
        ApiError: the API key is invalid: a header cannot carry it. The API would answer the same.
    """
    if api_key is None:
        return {}
    if not (api_key.isascii() and api_key.isprintable()):
        message = "the API key has a character that no key has: a line break, or one beyond ASCII"
        raise ApiError("UNAUTHENTICATED", message, status=HTTPStatus.UNAUTHORIZED)
    return {"Authorization": f"Bearer {api_key}"}


def _is_loopback(url: str) -> bool:
    """Return whether `url` is on this machine, where no proxy of the environment can help."""
    host = httpx.URL(url).host
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _unreachable(url: httpx.URL, error: httpx.TransportError) -> ApiUnreachableError:
    reason = str(error) or type(error).__name__
    return ApiUnreachableError(f"{url}: {reason}", was_sent=not isinstance(error, _NOT_SENT))


def _ended(url: httpx.URL) -> ApiUnreachableError:
    return ApiUnreachableError(f"{url}: the stream ended", was_sent=True)


def _result(call: Call[T], response: httpx.Response) -> T:
    if not response.is_success and response.status_code not in call.accepts:
        raise refusal(response)
    try:
        payload = response.json()
    except ValueError:
        payload = None
    try:
        return call.read(payload)
    except ValidationError as error:
        message = f"{response.url} answered what no engine of this version does: {error}"
        if payload is None:
            message = foreign_answer(response)
        raise ApiError("UNEXPECTED_ANSWER", message, status=response.status_code) from error
