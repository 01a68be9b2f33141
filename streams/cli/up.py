"""`experiment up`: the whole stack on this machine under one supervisor."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from streams.cli import terminal
from streams.local.children import free_port
from streams.local.plan import StackPlan
from streams.local.supervisor import LogLostError, Supervisor
from streams.model.errors import ConfigurationError, quoted
from streams.settings import load_settings

LAST_PORT = 65_535

EXIT_LOG_LOST = 70  # sysexits.h: an internal fault; the state is gone


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(up)


def up(
    host: Annotated[
        str | None, typer.Option(help="Address of the API.", show_default="127.0.0.1")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            min=0, max=LAST_PORT, help="Port of the API; 0 takes a free one.", show_default="8080"
        ),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Worker processes.")] = 1,
    api_processes: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=64,
            help="API processes; they share the port.",
            show_default="EXPERIMENT_API_PROCESSES, or 1",
        ),
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(help="Logs, spool and receipt key.", show_default="the user's, by port"),
    ] = None,
    kafka: Annotated[
        str | None, typer.Option(help="Kafka to use, host:port.", show_default="embedded")
    ] = None,
    redis: Annotated[
        str | None, typer.Option(help="Redis to use, by URL.", show_default="embedded")
    ] = None,
    dashboard: Annotated[
        bool, typer.Option("--dashboard/--no-dashboard", help="Serve the dashboard, too.")
    ] = True,
    dashboard_port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=LAST_PORT,
            help="Port of the dashboard; 0 takes a free one.",
            show_default="8090, or a free one if that is in use",
        ),
    ] = None,
    ephemeral: Annotated[
        bool, typer.Option("--ephemeral", help="Keep nothing: the log ends with the stack.")
    ] = False,
) -> None:
    """Start broker, Valkey, workers, API and dashboard, and stop them all on Ctrl-C.

    Prints `ready http://HOST:PORT` once an experiment can be created and assigned, and then
    `dashboard http://HOST:PORT`. A stack that is
    started again continues with all experiments, counts and receipts, unless it is --ephemeral.
    """
    plan = planned(
        host=host,
        port=port,
        workers=workers,
        api_processes=api_processes,
        data_dir=data_dir,
        kafka=kafka,
        redis=redis,
        is_ephemeral=ephemeral,
        dashboard_port=dashboard_port,
        has_dashboard=dashboard,
    )
    try:
        asyncio.run(_run_until_signal(plan))
    except LogLostError as error:
        terminal.echo(f"experiment: {error}", err=True)
        raise typer.Exit(EXIT_LOG_LOST) from error


def planned(
    *,
    host: str | None = None,
    port: int | None = None,
    workers: int = 1,
    api_processes: int | None = None,
    data_dir: Path | None = None,
    kafka: str | None = None,
    redis: str | None = None,
    is_ephemeral: bool = False,
    dashboard_port: int | None = None,
    has_dashboard: bool = False,
) -> StackPlan:
    """Return the plan of a stack; what is None comes from the settings.

    Raises:
        ConfigurationError: the environment holds a value outside its domain, or the host is not an
            address of this machine.
    """
    settings = load_settings()
    host = host or settings.api_host
    port = settings.api_port if port is None else port
    port = port or _free_port(host)
    if not has_dashboard:
        dashboard_port = None
    elif dashboard_port is None:
        dashboard_port = _free_or(settings.dashboard_port, host)
    else:
        dashboard_port = dashboard_port or _free_port(host)
    # With an external or an ephemeral Kafka, the spool belongs to another log.
    kind = "ephemeral" if is_ephemeral else "stack" if kafka is None else "external"
    return StackPlan(
        host=host,
        port=port,
        workers=workers,
        directory=(data_dir or settings.data_dir / f"{kind}-{port}").absolute(),
        kafka_url=kafka,
        redis_url=redis,
        api_processes=api_processes or settings.api_processes,
        is_ephemeral=is_ephemeral,
        dashboard_port=dashboard_port,
    )


def _free_or(port: int, host: str) -> int:
    """Return the port, or a free one if it is 0 or in use."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe, suppress(OSError, UnicodeError):
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
        return int(probe.getsockname()[1])
    return _free_port(host)


def _free_port(host: str) -> int:
    try:
        return free_port(host)
    except (OSError, UnicodeError) as error:  # UnicodeError: a label of more than 63 characters
        raise ConfigurationError(f"no port of {quoted(host)} can be used: {error}") from error


async def _run_until_signal(plan: StackPlan) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    supervisor = Supervisor(
        plan, os.environ, report=lambda line: terminal.echo(f"experiment: {line}", err=True)
    )
    loop.add_signal_handler(signal.SIGHUP, partial(_hang_up, supervisor, stop, _has_terminal()))
    await supervisor.run(stop, _announce, _announce_dashboard)


def _hang_up(supervisor: Supervisor, stop: asyncio.Event, had_terminal: bool) -> None:
    """Have keys read again; or stop, if the signal came because the terminal was closed."""
    if had_terminal and not _has_terminal():
        stop.set()
    else:
        supervisor.hang_up()


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _announce(url: str) -> None:
    # A program that waits for this line reads a pipe, which Python would buffer.
    print(f"ready {url}", flush=True)  # noqa: T201 - the one line on stdout


def _announce_dashboard(url: str) -> None:
    print(f"dashboard {url}", flush=True)  # noqa: T201 - likewise
