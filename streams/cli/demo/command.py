"""`experiment demo`: the whole stack, traffic with known rates, and every count compared."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from experiment_streams_client import AsyncExperimentClient
from experiment_streams_client.publisher import ObservationPublisher
from schemas.catalogue import OBSERVATIONS
from streams.cli import terminal
from streams.cli.demo.ledger import SentEvents
from streams.cli.demo.pipeline import Pipeline, create_experiments, ship_best
from streams.cli.demo.report import DemoReport, settled
from streams.cli.demo.screen import Screen
from streams.cli.failures import EXIT_FAILED
from streams.cli.terminal import AsJson
from streams.cli.up import planned
from streams.local.stack_files import find_stack
from streams.local.supervisor import LogLostError, Supervisor
from streams.model.receipts import Keyring
from streams.settings import Settings

HOST = "127.0.0.1"
EXIT_TERMINATED = 128 + signal.SIGTERM


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(demo)


def demo(
    seconds: Annotated[float, typer.Option(min=1, max=3600, help="Duration of the traffic.")] = 20,
    rate: Annotated[float, typer.Option(min=1, max=2000, help="Visitors per second.")] = 50,
    seed: Annotated[int, typer.Option(help="Seed of the visitors and their actions.")] = 1,
    open_browser: Annotated[
        bool, typer.Option("--open", help="Open the dashboard in the browser.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run the engine against known click rates, and compare every count at the end.

    Starts its own stack on a free port, and stops it. Every visitor is assigned in five
    experiments, in one of them among the variants that the visit can show; in another, units count
    once they saw theirs. At the end the winner of a third is shipped. Exit code 0 says that the
    engine counted exactly what was sent. The address of its dashboard is printed, unless --json.
    """
    try:
        report = asyncio.run(_run(seconds, rate, seed, is_quiet=as_json, is_opened=open_browser))
    except LogLostError as error:
        terminal.echo(f"experiment: {error}", err=True)
        raise typer.Exit(EXIT_FAILED) from error
    except asyncio.CancelledError as error:
        raise typer.Exit(EXIT_TERMINATED) from error
    if as_json:
        terminal.print_json(report.to_json())
    else:
        report.show()
    if not report.is_exact:
        raise typer.Exit(EXIT_FAILED)


async def _run(
    seconds: float, rate: float, seed: int, *, is_quiet: bool, is_opened: bool
) -> DemoReport:
    current = asyncio.current_task()
    assert current is not None  # noqa: S101 - a coroutine runs in a task
    # As Ctrl-C does: whatever was started is stopped on the way out.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, current.cancel)
    with tempfile.TemporaryDirectory(prefix="experiment-demo-") as directory:
        if not is_quiet:
            terminal.err.print("Starting broker, Valkey, worker and API.")
        look = None if is_quiet and not is_opened else partial(_look, is_opened=is_opened)
        async with _stack(Path(directory), look) as url, AsyncExperimentClient(url) as client:
            settings = _settings_of(url)  # whatever installation the environment names
            trial_of = await create_experiments(client)
            async with ObservationPublisher(
                settings.confluent_config(),
                topic=OBSERVATIONS.full_name(settings.topic_prefix),
                keyring=Keyring.parse(settings.signing_keys),
            ) as publisher:
                ledger = SentEvents()
                pipeline = Pipeline(client, publisher, trial_of, ledger, seed)
                async with Screen(client, trial_of, ledger, is_quiet=is_quiet):
                    await pipeline.run(seconds, rate)
                    found = await settled(client, list(trial_of), ledger)
                return replace(found, is_shipped=await ship_best(client, trial_of))


def _look(url: str, *, is_opened: bool) -> None:
    """Name the address of the dashboard, and open it."""
    terminal.err.print(f"Dashboard: {url}")
    if is_opened:
        typer.launch(url)


def _settings_of(url: str) -> Settings:
    stack = find_stack(urlsplit(url).port or 0)
    assert stack is not None  # noqa: S101 - it was registered before it was announced
    return stack.as_settings()


@asynccontextmanager
async def _stack(directory: Path, look: Callable[[str], None] | None = None) -> AsyncIterator[str]:
    """Run a whole stack on free ports while the block runs, and yield the address of its API.

    Args:
        directory: Where it has its files.
        look: Called with the address of its dashboard; None without one.

    Raises:
        ChildFailedError, LogLostError, EngineError: it does not start, or has ended meanwhile.
    """
    plan = planned(
        host=HOST,
        port=0,
        data_dir=directory,
        is_ephemeral=True,
        has_dashboard=look is not None,
        dashboard_port=0,
    )
    stop = asyncio.Event()
    ready: asyncio.Queue[str] = asyncio.Queue()
    supervisor = Supervisor(plan, os.environ, report=lambda line: terminal.echo(line, err=True))
    stack = asyncio.create_task(supervisor.run(stop, ready.put_nowait, look))
    announced = asyncio.create_task(ready.get())
    try:
        await asyncio.wait((stack, announced), return_when=asyncio.FIRST_COMPLETED)
        if stack.done():
            stack.result()
        yield announced.result()
    finally:
        announced.cancel()
        stop.set()
        await stack
