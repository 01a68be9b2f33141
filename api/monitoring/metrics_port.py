"""Metrics on a separate port, for a scraper that has no API key."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric

from streams.process.metrics_server import start_metrics_server
from streams.settings import ENVIRONMENT_PREFIX

TIMEOUT_S = 5.0
"""Longest wait of a scrape for the event loop."""


class _OnLoop:
    """Collector that runs on the event loop, which owns all counters."""

    def __init__(
        self, collect: Callable[[], Iterable[Metric]], loop: asyncio.AbstractEventLoop
    ) -> None:
        self._collect = collect
        self._loop = loop

    def describe(self) -> Iterable[Metric]:
        """Return nothing: names are not needed before the first scrape."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics as they are now; called from the server's thread."""

        async def found() -> list[Metric]:
            return list(self._collect())

        yield from asyncio.run_coroutine_threadsafe(found(), self._loop).result(TIMEOUT_S)


@contextmanager
def metrics_port(host: str, port: int, collect: Callable[[], Iterable[Metric]]) -> Iterator[None]:
    """Serve metrics without asking for a key; port 0 serves none.

    Raises:
        ConfigurationError: another process listens there, or the address is not this machine's.
    """
    if not port:
        yield
        return
    registry = CollectorRegistry()
    registry.register(_OnLoop(collect, asyncio.get_running_loop()))
    server = start_metrics_server(host, port, f"{ENVIRONMENT_PREFIX}API_METRICS_PORT", registry)
    try:
        yield
    finally:
        # In a thread: a scrape under way waits for this loop.
        threading.Thread(target=_close, args=(server,), daemon=True).start()


def _close(server: WSGIServer) -> None:
    server.shutdown()
    server.server_close()
