"""Large responses: lists in pages, and JSON rendered in pieces.

Rendering runs on the event loop that assigns, so it pauses after each piece of work that takes
about a millisecond.
"""

from __future__ import annotations

import asyncio
import base64
import heapq
import struct
import time
from collections.abc import Collection, Iterable
from typing import NamedTuple

from api.http.payloads import experiment_response, stats_of, variant_result
from streams.experiments.snapshot import Snapshot
from streams.model.errors import InputError
from streams.model.published import json_bytes

MAX_PAGE_BYTES = 2**20
"""A page ends before this size, unless its first experiment alone exceeds it."""

PIECE_S = 0.001
"""About how long rendering keeps the event loop, in seconds."""

_POSITION = struct.Struct(">QQ")


class PagePosition(NamedTuple):
    """A position in the list of experiments, newest first: that of the last one listed.

    Experiments that are created later stand before it, so they do not move what follows.

    Attributes:
        created_at_ms: When it was created.
        number: The experiment as a number, which orders those of one millisecond.
    """

    created_at_ms: int
    number: int

    def cursor(self) -> str:
        """Return it as an opaque text."""
        return base64.urlsafe_b64encode(_POSITION.pack(*self)).decode().rstrip("=")


def position_of(cursor: str) -> PagePosition:
    """Return the position that a cursor encodes.

    Raises:
        InputError: it is not a cursor of this API (`INVALID_CURSOR`).
    """
    try:
        position = PagePosition(*_POSITION.unpack(base64.urlsafe_b64decode(f"{cursor}==")))
    except (ValueError, struct.error) as error:
        raise InputError(
            "INVALID_CURSOR", "not the nextCursor of an earlier answer", "query.cursor"
        ) from error
    if position.cursor() != cursor:
        raise InputError(
            "INVALID_CURSOR", "not the nextCursor of an earlier answer", "query.cursor"
        )
    return position


async def experiments_page(
    snapshots: Iterable[Snapshot], limit: int, after: PagePosition | None, statuses: Collection[str]
) -> bytes:
    """Return the JSON of `limit` experiments at most, newest first.

    Args:
        snapshots: All of them, in any order.
        limit: Experiments of the page, >= 1.
        after: The last one of the page before; None for the first page.
        statuses: Only those with one of these; empty for all.
    """
    wanted = (
        (-found.experiment.created_at_ms, found.experiment.number, found)
        for found in snapshots
        if not statuses or found.experiment.status in statuses
    )
    if after is not None:
        start = (-after.created_at_ms, after.number)
        wanted = (each for each in wanted if each[:2] > start)
    page = heapq.nsmallest(limit + 1, wanted, key=lambda each: each[:2])
    parts: list[bytes] = []
    size = 0
    budget = _TimeBudget()
    for _, _, found in page[:limit]:
        part = experiment_response(found.experiment).to_json()
        if parts and size + len(part) > MAX_PAGE_BYTES:
            break
        parts.append(part)
        size += len(part)
        await budget.pause()
    cursor = b"null"
    if len(parts) < len(page):
        last = page[len(parts) - 1][2].experiment
        cursor = b'"%b"' % PagePosition(last.created_at_ms, last.number).cursor().encode()
    return b'{"experiments":[%b],"nextCursor":%b}' % (b",".join(parts), cursor)


async def stats_page(snapshot: Snapshot, dimension: str | None = None) -> bytes:
    """Return the JSON of what is known of an experiment.

    Args:
        snapshot: Its snapshot.
        dimension: The dimension of which the values are in it; None for none.
    """
    budget = _TimeBudget()
    ids = snapshot.variant_ids
    parts = []
    for index in range(len(ids)):
        parts.append(json_bytes(variant_result(snapshot, index), ids))
        await budget.pause()
    rest = json_bytes(stats_of(snapshot, dimension), ids, exclude={"variants"})
    return b'%b,"variants":[%b]}' % (rest[:-1], b",".join(parts))


class _TimeBudget:
    """Time budget of rendering, after which other tasks run."""

    def __init__(self) -> None:
        self._began_s = time.perf_counter()

    async def pause(self) -> None:
        """Let others run if this piece has taken long enough."""
        if time.perf_counter() - self._began_s > PIECE_S:
            await asyncio.sleep(0)
            self._began_s = time.perf_counter()
