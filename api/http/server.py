"""The HTTP server: uvicorn with bounded connections, and signals that stop instead of kill."""

from __future__ import annotations

import asyncio
import logging
import resource
import signal
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import uvicorn

from api.http.asgi import AsgiApp
from api.http.connections import SWEEP_S, Connections, HttpLimits
from api.http.protocol import protocol_factory
from streams.model.errors import ConfigurationError
from streams.settings import Settings

_log = logging.getLogger(__name__)

BACKLOG = 2_048
GRACE_S = 1
"""Time that open requests may take when the process stops, in whole seconds."""


TICK_S = 0.1
"""Interval at which uvicorn calls `on_tick`, in seconds."""

SPARE_FILES = 128
"""File descriptors for all that is no connection of a client: Kafka, Redis, spool, log."""


class Server(uvicorn.Server):
    """A server that a signal stops and does not kill, and that ends overdue connections.

    uvicorn's own raises the signal again at its end, before what is outside of it could drain.
    """

    def __init__(
        self, config: uvicorn.Config, connections: Connections, on_stop: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self.connections = connections
        self._on_stop = on_stop

    async def on_tick(self, counter: int) -> bool:
        """Look at deadlines from time to time; return whether to stop."""
        if counter % round(SWEEP_S / TICK_S) == 0:
            self.connections.sweep(asyncio.get_running_loop().time())
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End event streams, then wait for open requests."""
        self._on_stop()
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop on SIGTERM and SIGINT."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield


def listening_socket(
    host: str, port: int, *, is_shared: bool = False, setting: str = "api_port"
) -> socket.socket:
    """Return a socket that listens; port 0 takes a free one.

    Args:
        host: Address.
        port: Port.
        setting: Name of the setting of the port.
        is_shared: Whether other processes of this user may listen there, too; the kernel then
            gives each connection to one of them, by its hash.

    Raises:
        ConfigurationError: another process listens there, or the address is not of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server(
            (host, port), family=family, backlog=BACKLOG, reuse_port=is_shared
        )
    except OSError as error:
        raise ConfigurationError(f"cannot listen on {host}:{port}: {error}", setting) from error


def _nothing() -> None:
    """Do nothing."""


def http_server(
    app: AsgiApp,
    limits: HttpLimits | None = None,
    errors: Counter[str] | None = None,
    on_stop: Callable[[], None] = _nothing,
) -> Server:
    """Return a server of `app`, to be given the sockets it serves.

    Args:
        app: Answers requests.
        limits: What clients may take.
        errors: Where refusals are counted, by code.
        on_stop: Called when it begins to stop, to end answers that have no end.
    """
    limits = within_file_limit(limits or HttpLimits())
    connections = Connections(limits, Counter() if errors is None else errors)
    config = uvicorn.Config(
        app,
        loop="none",
        http=protocol_factory(connections),  # type: ignore[arg-type]  # it only calls it
        ws="none",
        lifespan="off",
        access_log=False,
        log_level="warning",
        log_config=None,  # it logs as everything here does
        proxy_headers=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_graceful_shutdown=GRACE_S,
    )
    return Server(config, connections, on_stop)


def http_limits(settings: Settings) -> HttpLimits:
    """Return the limits that an installation has chosen."""
    return HttpLimits(
        max_connections=settings.api_max_connections,
        head_timeout_s=settings.api_head_timeout_s,
        body_timeout_s=settings.api_body_timeout_s,
        answer_timeout_s=settings.api_answer_timeout_s,
        keep_alive_s=settings.api_keep_alive_s,
        max_head_bytes=settings.api_max_head_bytes,
        max_url_bytes=settings.api_max_url_bytes,
    )


def within_file_limit(limits: HttpLimits) -> HttpLimits:
    """Return limits that leave file descriptors to the rest of the process.

    The soft limit is raised first, if the process may.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = limits.max_connections + SPARE_FILES
    if resource.RLIM_INFINITY != soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return limits
    _log.warning("%d file descriptors allow %d connections", soft, soft - SPARE_FILES)
    return replace(limits, max_connections=max(1, soft - SPARE_FILES))
