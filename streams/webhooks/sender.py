"""Single delivery attempts: bounded in time and size, and to allowed addresses only.

`httpcore` asks `_GuardedNetwork` for every connection. It resolves the name, refuses it if one of
its addresses is not allowed, and connects to one that it has checked; TLS verifies the name. No
redirect is followed and no proxy used. Of an answer, only the status and `Retry-After` are used.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from enum import StrEnum
from http import HTTPStatus
from typing import Any, Self

import httpcore
import httpx

from streams.webhooks.addresses import AddressPolicy, ReceiverUrl
from streams.webhooks.definition import MAX_WEBHOOKS
from streams.webhooks.progress import GONE

MAX_ANSWER_BYTES = 65_536
"""Bytes of an answer that are read and dropped; after more, the connection is closed."""

MAX_RETRY_AFTER_S = 86_400.0

MAX_CONNECTIONS = 8 * MAX_WEBHOOKS

KEEP_ALIVE_S = 20.0

_THROTTLED = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})


class DeliveryFailure(StrEnum):
    """Code of a delivery that failed."""

    NAME_NOT_RESOLVED = "NAME_NOT_RESOLVED"
    ADDRESS_NOT_ALLOWED = "ADDRESS_NOT_ALLOWED"
    CONNECTION_FAILED = "CONNECTION_FAILED"
    TLS_FAILED = "TLS_FAILED"
    TIMED_OUT = "TIMED_OUT"
    PROTOCOL_ERROR = "PROTOCOL_ERROR"
    REDIRECTED = "REDIRECTED"
    GONE = GONE
    REFUSED = "REFUSED"
    """An answer 4xx other than 410."""
    SERVER_ERROR = "SERVER_ERROR"
    INTERNAL_ERROR = "INTERNAL_ERROR"
    """Not sent because of a fault of this program, which its log has."""


@dataclass(frozen=True, slots=True)
class DeliveryOutcome:
    """Result of one delivery.

    Attributes:
        status: HTTP status of the answer; None without one.
        failure: Code of the failure; None if the receiver has accepted it.
        retry_after_s: Pause requested by the receiver; 0 without one.
        seconds: Duration.
    """

    status: int | None
    failure: DeliveryFailure | None
    retry_after_s: float = 0.0
    seconds: float = 0.0


class _NetworkError(Exception):
    """A connection to a receiver failed.

    Attributes:
        failure: Code of the failure.
    """

    def __init__(self, failure: DeliveryFailure) -> None:
        super().__init__(failure.value)
        self.failure = failure


class Sender:
    """Client of all receivers. Use it as an asynchronous context manager.

    Args:
        policy: Policy of allowed addresses.
        timeout_s: Longest time for a delivery, in seconds.
        context: TLS verification of receivers; None for the default authorities.
    """

    def __init__(
        self, policy: AddressPolicy, timeout_s: float, context: ssl.SSLContext | None = None
    ) -> None:
        self._timeout_s = timeout_s
        # A look-up may block its thread indefinitely. With a thread for every webhook, an
        # unanswered name does not delay others.
        self._resolvers = ThreadPoolExecutor(MAX_WEBHOOKS, "resolve")
        self._network = _GuardedNetwork(policy, self._resolvers)
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=context or httpx.create_ssl_context(),
            max_connections=MAX_CONNECTIONS,
            max_keepalive_connections=MAX_WEBHOOKS,
            keepalive_expiry=KEEP_ALIVE_S,
            network_backend=self._network,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._pool.aclose()
        self._resolvers.shutdown(wait=False, cancel_futures=True)

    async def post(
        self, target: ReceiverUrl, headers: Mapping[str, str], body: bytes
    ) -> DeliveryOutcome:
        """Send a body once, and return what became of it.

        Once the receiver has answered with a status, that decides, whatever becomes of the rest of
        its answer: an event that was taken is not sent again.
        """
        began_s = time.monotonic()
        answered: list[DeliveryOutcome] = []
        failure: DeliveryFailure | None = None
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._post(target, headers, body, answered.append)
        except _NetworkError as error:
            failure = error.failure
        except (TimeoutError, httpcore.TimeoutException):
            failure = DeliveryFailure.TIMED_OUT
        except (httpcore.ProtocolError, httpcore.UnsupportedProtocol):
            failure = DeliveryFailure.PROTOCOL_ERROR
        except httpcore.NetworkError as error:
            is_tls = isinstance(error.__cause__ or error.__context__, ssl.SSLError)
            failure = DeliveryFailure.TLS_FAILED if is_tls else DeliveryFailure.CONNECTION_FAILED
        except (OSError, ValueError):
            failure = DeliveryFailure.CONNECTION_FAILED
        outcome = answered[0] if answered else DeliveryOutcome(None, failure)
        return replace(outcome, seconds=time.monotonic() - began_s)

    async def _post(
        self,
        target: ReceiverUrl,
        headers: Mapping[str, str],
        body: bytes,
        on_status: Callable[[DeliveryOutcome], None],
    ) -> None:
        url = httpcore.URL(
            scheme=b"https" if target.is_secure else b"http",
            host=target.host.encode("ascii"),
            port=target.port,
            target=target.path,
        )
        sent = {"Host": target.authority.decode("ascii"), **headers}
        async with self._pool.stream("POST", url, headers=list(sent.items()), content=body) as got:
            failure = failure_of(got.status)
            on_status(DeliveryOutcome(got.status, failure, _retry_after_s(got.status, got.headers)))
            size = 0
            # The rest is read, up to a limit, so that the connection can be reused.
            async for chunk in got.aiter_stream():
                size += len(chunk)
                if size > MAX_ANSWER_BYTES:
                    break


def failure_of(status: int) -> DeliveryFailure | None:
    """Return the failure of an HTTP status; None for a success."""
    match status:
        case HTTPStatus.GONE:
            return DeliveryFailure.GONE
        case _ if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
            return None
        case _ if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
            return DeliveryFailure.REDIRECTED
        case _ if HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR:
            return DeliveryFailure.REFUSED
        case _:
            return DeliveryFailure.SERVER_ERROR


def _retry_after_s(status: int, headers: Iterable[tuple[bytes, bytes]]) -> float:
    """Return the seconds of `Retry-After`; the rare form with a date is ignored."""
    if status not in _THROTTLED:
        return 0.0
    for name, value in headers:
        if name.lower() == b"retry-after" and value.isdigit() and len(value) < 10:  # noqa: PLR2004
            return min(float(value), MAX_RETRY_AFTER_S)
    return 0.0


class _GuardedNetwork(httpcore.AsyncNetworkBackend):
    """Network backend that connects to allowed addresses only.

    Args:
        policy: Policy of allowed addresses.
        resolvers: Threads in which names are resolved.
    """

    def __init__(self, policy: AddressPolicy, resolvers: ThreadPoolExecutor) -> None:
        self._policy = policy
        self._resolvers = resolvers
        self._network = httpcore.AnyIOBackend()
        self._asked: dict[tuple[str, int], asyncio.Future[list[Any]]] = {}

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first address of a name that answers.

        Raises:
            _NetworkError: the name is not resolved, or one of its addresses is not allowed.
        """
        addresses = list(dict.fromkeys(str(each[4][0]) for each in await self._found(host, port)))
        if not addresses:
            raise _NetworkError(DeliveryFailure.NAME_NOT_RESOLVED)
        # One refused address refuses the name, so that the choice of the resolver does not matter.
        if not all(map(self._policy.allows, addresses)):
            raise _NetworkError(DeliveryFailure.ADDRESS_NOT_ALLOWED)
        failed: Exception = httpcore.ConnectError(host)
        for address in addresses:
            try:
                return await self._network.connect_tcp(
                    address, port, timeout, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failed = error
        raise failed

    async def connect_unix_socket(self, *_: Any, **__: Any) -> httpcore.AsyncNetworkStream:
        """Refuse: receivers are not files.

        Raises:
            _NetworkError: always.
        """
        raise _NetworkError(DeliveryFailure.ADDRESS_NOT_ALLOWED)

    async def sleep(self, seconds: float) -> None:
        """Sleep."""
        await asyncio.sleep(seconds)

    async def _found(self, host: str, port: int) -> list[Any]:
        """Return the resolved addresses of a name, with one concurrent look-up for each."""
        asked = self._asked.get((host, port))
        if asked is None:
            asked = asyncio.get_running_loop().run_in_executor(
                self._resolvers, _resolved, host, port
            )
            self._asked[host, port] = asked
            asked.add_done_callback(lambda _: self._asked.pop((host, port), None))
        return await asyncio.shield(asked)


def _resolved(host: str, port: int) -> list[Any]:
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
