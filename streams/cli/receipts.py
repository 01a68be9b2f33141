"""`experiment receipts`: the first receipts of users and sessions in Redis."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from typing import Any

import typer

from streams.cli import terminal
from streams.cli.failures import EXIT_FAILED
from streams.cli.log_options import Archive, log_of
from streams.cli.terminal import API_DEFAULT, Api, AsJson
from streams.kafka.records import LogSource
from streams.projection.connection import connect
from streams.projection.keys import Keys
from streams.projection.receipts import ReceiptStore
from streams.replay.partitions import FoldInputs
from streams.replay.receipt_rebuild import keep_new
from streams.replay.receipts import ReceiptLog
from streams.settings import Settings


def register(app: typer.Typer) -> None:
    """Add the command group to `app`."""
    receipts = terminal.group(
        app, "receipts", "The first receipts of users and sessions, kept in Redis."
    )
    receipts.command()(status)
    receipts.command()(rebuild)


PATIENCE_S = 60.0
"""Time that a rebuild waits for a worker that keeps receipts: it follows the log for 15 s after."""


def status(as_json: AsJson = False, api: Api = API_DEFAULT) -> None:
    """Show whether Redis holds all first receipts, and for which experiments it holds any."""
    found = asyncio.run(_status(terminal.settings_of(api)))
    terminal.show(found, dict, _status_text, as_json=as_json)


def rebuild(archive: Archive = None, as_json: AsJson = False, api: Api = API_DEFAULT) -> None:
    """Restore from the log the first receipt of every unit that Redis lacks.

    Workers do this after Redis is emptied. This command is for keys that were evicted or deleted,
    and for units whose impressions are only in an archive. It changes no existing receipt, so it
    can run at any time.
    """
    settings = terminal.settings_of(api)
    found = asyncio.run(_rebuild(settings, log_of(settings, archive)))
    terminal.show(found, dict, _rebuild_text, as_json=as_json)
    if not found["complete"]:
        terminal.echo("another process rebuilds them at this moment", err=True)
        raise typer.Exit(EXIT_FAILED)


def _status_text(found: dict[str, Any]) -> str:
    is_complete = "complete" if found["complete"] else "not complete: a worker rebuilds them"
    return "\n".join([is_complete, *found["experiments"]])


def _rebuild_text(found: dict[str, Any]) -> str:
    return f"{found['kept']:,} receipts kept, from {found['impressions']:,} impressions"


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
    log = ReceiptLog(source, FoldInputs.of(settings))
    async with connect(settings.redis_url) as redis:
        store = ReceiptStore(redis, Keys(settings.namespace), settings.sticky_ttl_s)
        until_s = time.monotonic() + PATIENCE_S
        while not (is_held := await store.lease(holder)) and time.monotonic() < until_s:  # noqa: ASYNC110 - in Redis
            await asyncio.sleep(1.0)
        kept = await keep_new(log, store, holder) if is_held else None
        is_complete = kept is not None and await store.declare_complete(holder)
        if is_complete:
            await store.note_rebuilt(log.aliased)
        await store.release(holder)
    return {"kept": kept or 0, "impressions": log.impressions, "complete": is_complete}
