"""API processes of this machine that share a port."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from streams.local.child_groups import keep_all, stop_all
from streams.local.children import Child, ChildFailedError
from streams.model.errors import ConfigurationError
from streams.process.exits import EXIT_CONFIGURATION, STOP_S
from streams.settings import ENVIRONMENT_PREFIX, Settings

GRACE_S = STOP_S + 1.0
"""Longest wait for a process to end."""

COMMAND = (sys.executable, "-m", "api")


def api_environments(environment: Mapping[str, str], count: int) -> list[dict[str, str]]:
    """Return the environment of each of several API processes that share a port.

    Each has its name; their metrics ports, if any, are successive.
    """
    port = f"{ENVIRONMENT_PREFIX}API_METRICS_PORT"
    first = int(environment.get(port, 0))
    return [
        {
            **environment,
            f"{ENVIRONMENT_PREFIX}API_PROCESS": str(index + 1),
            port: str(first + index if first else 0),
        }
        for index in range(count)
    ]


async def run_api_processes(settings: Settings, count: int, report: Callable[[str], None]) -> int:
    """Run several API processes until SIGTERM or SIGINT; return the exit code.

    One that ends is started again, unless its settings cannot be used: then all are stopped.
    SIGHUP is passed on.

    Args:
        settings: Those of each.
        count: How many.
        report: Called when one has ended.

    Raises:
        ConfigurationError: another process listens where they should.
    """
    with reserved_port(settings.api_host, settings.api_port) as port:
        environment = {**os.environ, f"{ENVIRONMENT_PREFIX}API_PORT": str(port)}
        children = [
            Child(f"api-{index + 1}", COMMAND, own, None, GRACE_S)
            for index, own in enumerate(api_environments(environment, count))
        ]
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        loop.add_signal_handler(signal.SIGHUP, _hang_up, children)
        keeping = asyncio.create_task(keep_all(children, report))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({keeping, stopping}, return_when=asyncio.FIRST_COMPLETED)
        is_stopped = stopping.done()
        keeping.cancel()
        stopping.cancel()
        try:
            with suppress(asyncio.CancelledError):
                await keeping
        except* ChildFailedError as failed:
            report("; ".join(map(str, failed.exceptions)))
        await stop_all(children)
        return 0 if is_stopped else EXIT_CONFIGURATION


def _hang_up(children: Sequence[Child]) -> None:
    for child in children:
        child.hang_up()


@contextmanager
def reserved_port(host: str, port: int) -> Iterator[int]:
    """Hold a port for processes of this user that share it; 0 takes a free one.

    The socket that holds it does not listen, so the kernel gives it no connection.

    Raises:
        ConfigurationError: another process listens there, or the address is not ours.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family) as alone:  # refused where anything listens, sharing or not
            alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            alone.bind((host, port))
            port = int(alone.getsockname()[1])
        with socket.socket(family) as held:
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            held.bind((host, port))
            yield port
    except OSError as error:
        raise ConfigurationError(f"cannot listen on {host}:{port}: {error}", "api_port") from error
