"""Partitions that workers have counted, but whose cells they are still sending."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

from streams.kafka.records import LogSource, records_since

LOOK_S = 4.0
"""Pause before the next look. A worker that has large cells to send sends one every half second."""

LOOKS = 8
"""Most looks. A worker sends large cells of one partition after the other."""

Place = tuple[str, int]


async def still_sending(
    source: LogSource,
    tallies: str,
    since: Mapping[int, int],
    standing: Iterable[Place],
) -> frozenset[Place]:
    """Return which partitions with a committed offset that stands still had a cell sent meanwhile.

    No offset is committed before the cells that count it were sent, and large cells share a part of
    the time. This watches while any cells are sent, since those of the partition may come later.

    Args:
        source: The log.
        tallies: Catalogue name of the topic of cells.
        since: Where to begin, by partition of that topic: its ends some seconds ago.
        standing: Catalogue name and partition of each.

    Raises:
        LogError, DependencyError: the log cannot be read.
    """
    asked, found = frozenset(standing), frozenset[Place]()
    positions = dict(since)
    for look in range(LOOKS if asked else 0):
        if look:
            await asyncio.sleep(LOOK_S)
        places = await asyncio.to_thread(_sent, source, tallies, positions)
        found |= asked & places
        if not places or found == asked:
            break
    return found


def _sent(source: LogSource, tallies: str, positions: dict[int, int]) -> frozenset[Place]:
    """Return the source partitions of the cells since these positions, and move these on."""
    keys = (
        record.key
        for _, records in records_since(source, tallies, positions)
        for record in records
        if record.value is not None
    )
    return frozenset(place for key in keys if (place := _place(key)) is not None)


def _place(key: bytes | None) -> Place | None:
    """Return the source partition of a cell by its key: `{experiment}/{source}/{partition}`."""
    match (key or b"").decode(errors="replace").split("/"):
        case [_, source, number] if number.isascii() and number.isdigit():
            return source, int(number)
    return None
