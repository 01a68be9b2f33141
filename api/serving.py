"""uvicorn as it is used here: one write for each answer, and signals that stop instead of kill."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from api.edge import AsgiApp
from streams.domain.errors import ConfigurationError

BACKLOG = 2_048
GRACE_S = 1
"""How long open requests may take when the process stops, in whole seconds."""


class Server(uvicorn.Server):
    """A server that a signal stops and does not kill.

    uvicorn's own raises the signal again at its end, before what is outside of it could drain.
    """

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop on SIGTERM and SIGINT."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield


def listening_socket(host: str, port: int) -> socket.socket:
    """Return a socket that listens; port 0 takes a free one.

    Raises:
        ConfigurationError: somebody else listens there, or the address is not ours.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise ConfigurationError(f"cannot listen on {host}:{port}: {error}", "api_port") from error


def server_of(app: AsgiApp) -> Server:
    """Return a server of `app`, to be given the sockets it serves."""
    return Server(
        uvicorn.Config(
            app,
            loop="none",
            http=_Protocol,
            ws="none",
            lifespan="off",
            access_log=False,
            log_level="warning",
            proxy_headers=False,
            server_header=False,
            backlog=BACKLOG,
            timeout_graceful_shutdown=GRACE_S,
        )
    )


class _Protocol(HttpToolsProtocol):
    """uvicorn's protocol, on a transport that joins what it is given, with one idle timer."""

    def connection_made(self, transport: Any) -> None:
        loop = self.loop
        self.loop = _OneTimer(loop)  # type: ignore[assignment]
        super().connection_made(_JoinedWrites(transport, loop))  # type: ignore[arg-type]


class _OneTimer:
    """What the protocol uses of an event loop, with one timer for a connection.

    uvicorn sets and cancels a timer after every answer, to close idle connections; a tenth of the
    time of a small request goes into that. Here the timer that runs already looks, when it ends,
    whether there was something since.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.create_task = loop.create_task
        self._loop = loop
        self._is_running = False
        self._deadline_s: float | None = None
        self._callback: Callable[[], object] = _nothing

    def call_later(self, delay_s: float, callback: Callable[[], object]) -> _OneTimer:
        """Call back after a time unless cancelled; a second call replaces the first."""
        self._deadline_s = self._loop.time() + delay_s
        self._callback = callback
        if not self._is_running:
            self._is_running = True
            self._loop.call_later(delay_s, self._look)
        return self

    def cancel(self) -> None:
        """Do not call back."""
        self._deadline_s = None

    def _look(self) -> None:
        self._is_running = False
        if self._deadline_s is None:
            return
        left_s = self._deadline_s - self._loop.time()
        if left_s <= 0:
            self._deadline_s = None
            self._callback()
        else:
            self._is_running = True
            self._loop.call_later(left_s, self._look)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)


class _JoinedWrites:
    """A transport that writes once for all that it was given in one turn of the event loop.

    uvicorn writes head and body of an answer apart, and uvloop passes each to the kernel at once:
    two system calls and two packets, a sixth of what a small answer costs in all.
    """

    __slots__ = ("_loop", "_parts", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Take data; it is written at the end of the turn."""
        if not self._parts:
            self._loop.call_soon(self._flush)
        self._parts.append(data)

    def close(self) -> None:
        """Write what was taken, and close."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._parts:
            data = b"".join(self._parts)
            self._parts.clear()
            if not self._transport.is_closing():
                self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


def _nothing() -> None:
    """Do nothing."""
