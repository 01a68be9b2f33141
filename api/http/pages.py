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
from collections.abc import Sequence
from typing import NamedTuple

from api.http.payloads import experiment_response, stats_of, summary_response, variant_result
from streams.experiments.snapshot import Snapshot
from streams.experiments.summary import urgency_of
from streams.model.errors import InputError
from streams.model.published import json_bytes

MAX_PAGE_BYTES = 2**20
"""A page ends before this size, unless its first experiment alone exceeds it."""

PIECE_S = 0.001
"""About how long rendering keeps the event loop, in seconds."""

_POSITION = struct.Struct(">QQ")
_URGENT_POSITION = struct.Struct(">BQQ")


class PagePosition(NamedTuple):
    """A position in the list of experiments: that of the last one listed.

    Experiments that are created later stand before it, so they do not move what follows.

    Attributes:
        created_at_ms: When it was created; the newest come first.
        number: The experiment as a number, which orders those of one millisecond.
        urgency: Its rank in a list by urgency; None in one by time.
    """

    created_at_ms: int
    number: int
    urgency: int | None = None

    @property
    def key(self) -> tuple[int, int, int]:
        """Sort key of the list."""
        return self.urgency or 0, -self.created_at_ms, self.number

    def cursor(self) -> str:
        """Return it as an opaque text."""
        if self.urgency is None:
            packed = _POSITION.pack(self.created_at_ms, self.number)
        else:
            packed = _URGENT_POSITION.pack(self.urgency, self.created_at_ms, self.number)
        return base64.urlsafe_b64encode(packed).decode().rstrip("=")


def position_of(cursor: str, *, is_by_urgency: bool = False) -> PagePosition:
    """Return the position that a cursor of a list encodes.

    Raises:
        InputError: it is not a cursor of this list (`INVALID_CURSOR`).
    """
    try:
        packed = base64.urlsafe_b64decode(f"{cursor}==")
        if is_by_urgency:
            urgency, created_at_ms, number = _URGENT_POSITION.unpack(packed)
            position = PagePosition(created_at_ms, number, urgency)
        else:
            position = PagePosition(*_POSITION.unpack(packed))
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
    snapshots: Sequence[Snapshot],
    limit: int,
    after: PagePosition | None = None,
    *,
    is_by_urgency: bool = False,
) -> bytes:
    """Return the JSON of `limit` experiments at most, newest first or the most urgent ones first.

    Args:
        snapshots: All of the list, in any order.
        limit: Experiments of the page, >= 1.
        after: The last one of the page before; None for the first page.
        is_by_urgency: Whether those that need a decision come first.
    """
    places = [(_position(each, is_by_urgency=is_by_urgency), each) for each in snapshots]
    wanted = (each for each in places if after is None or each[0].key > after.key)
    page = heapq.nsmallest(limit + 1, wanted, key=lambda each: each[0].key)
    parts: list[bytes] = []
    size = 0
    budget = _TimeBudget()
    for _, found in page[:limit]:
        part = experiment_response(found.experiment).to_json()
        part = b'%b,"summary":%b}' % (part[:-1], summary_response(found).to_json())
        if parts and size + len(part) > MAX_PAGE_BYTES:
            break
        parts.append(part)
        size += len(part)
        await budget.pause()
    cursor = b"null"
    if len(parts) < len(page):
        cursor = b'"%b"' % page[len(parts) - 1][0].cursor().encode()
    return b'{"experiments":[%b],"nextCursor":%b,"total":%d}' % (
        b",".join(parts),
        cursor,
        len(places),
    )


def _position(snapshot: Snapshot, *, is_by_urgency: bool) -> PagePosition:
    experiment = snapshot.experiment
    urgency = int(urgency_of(snapshot)) if is_by_urgency else None
    return PagePosition(experiment.created_at_ms, experiment.number, urgency)


async def stats_page(snapshot: Snapshot, dimension: str | None = None) -> bytes:
    """Return the JSON of what is known of an experiment.

    Args:
        snapshot: Its snapshot.
        dimension: The dimension of which the values are in it; None without one.
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
