"""`experiment receipts`: the first receipts of users and sessions in Redis."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from streams.cli import terminal
from streams.cli.failures import EXIT_FAILED
from streams.cli.terminal import API_DEFAULT, Api, AsJson, print_json
from streams.kafka.records import LogSource
from streams.kafka.source import KafkaSource
from streams.ops.archive.joined import JoinedSource
from streams.ops.archive.source import ArchiveSource
from streams.projection.connection import connect
from streams.projection.keys import Keys
from streams.projection.receipts import ReceiptStore
from streams.replay.partitions import Inputs
from streams.replay.receipt_rebuild import keep_new
from streams.replay.receipts import ReceiptLog
from streams.settings import Settings

Archive = Annotated[
    Path | None,
    typer.Option(
        exists=True,
        file_okay=False,
        help="What `experiment archive` has kept, for impressions that Kafka no longer has.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command group to `app`."""
    receipts = typer.Typer(
        no_args_is_help=True, help="The first receipts of users and sessions, kept in Redis."
    )
    receipts.command()(status)
    receipts.command()(rebuild)
    app.add_typer(receipts, name="receipts")


PATIENCE_S = 60.0
"""How long a rebuild waits for a worker that keeps receipts: it follows the log for 15 s after."""


def status(as_json: AsJson = False, api: Api = API_DEFAULT) -> None:
    """Say whether Redis holds all first receipts, and of which experiments it holds any."""
    found = asyncio.run(_status(terminal.settings_of(api)))
    if as_json:
        print_json(found)
        return
    terminal.echo("complete" if found["complete"] else "not complete: a worker rebuilds them")
    for name in found["experiments"]:
        terminal.echo(name)


def rebuild(archive: Archive = None, as_json: AsJson = False, api: Api = API_DEFAULT) -> None:
    """Keep the first receipt of every unit that Redis has none of, from the log.

    Workers do that when Redis was emptied. This is for what they do not see (keys that were evicted
    or deleted), and for units whose impressions are in an archive alone. Nothing that is there is
    changed, so it may run at any time.
    """
    settings = terminal.settings_of(api)
    kafka = KafkaSource(settings)
    source = kafka if archive is None else JoinedSource(ArchiveSource(archive), kafka)
    found = asyncio.run(_rebuild(settings, source))
    if as_json:
        print_json(found)
    else:
        terminal.echo(f"{found['kept']:,} receipts kept, from {found['impressions']:,} impressions")
    if not found["complete"]:
        terminal.echo("another process rebuilds them at this moment", err=True)
        raise typer.Exit(EXIT_FAILED)


async def _status(settings: Settings) -> dict[str, Any]:
    async with connect(settings.redis_url) as redis:
        store = ReceiptStore(redis, Keys(settings.namespace), settings.sticky_ttl_s)
        places = await store.places()
        return {
            "complete": await store.is_complete(),
            "experiments": sorted({experiment_id for experiment_id, _ in places}),
        }


async def _rebuild(settings: Settings, source: LogSource) -> dict[str, Any]:
    holder = f"{socket.gethostname()}-{os.getpid()}-receipts"
    log = ReceiptLog(source, Inputs.of(settings))
    async with connect(settings.redis_url) as redis:
        store = ReceiptStore(redis, Keys(settings.namespace), settings.sticky_ttl_s)
        until_s = time.monotonic() + PATIENCE_S
        while not (is_held := await store.lease(holder)) and time.monotonic() < until_s:  # noqa: ASYNC110 - in Redis
            await asyncio.sleep(1.0)
        kept = await keep_new(log, store, holder) if is_held else None
        is_complete = kept is not None and await store.declare_complete(holder)
        await store.release(holder)
    return {"kept": kept or 0, "impressions": log.impressions, "complete": is_complete}
