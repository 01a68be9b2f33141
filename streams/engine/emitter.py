"""Sends cells on to the second stage, the newest of each and not more often than asked."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator
from itertools import chain

import faust

from schemas.codec import Codec
from streams.domain.ids import experiment_id
from streams.engine.outbox import Outgoing, deliver
from streams.engine.pacing import follow
from streams.tallies.cell import Cell
from streams.wire.cells import encode_cell

logger = logging.getLogger(__name__)

Place = tuple[int, str, int]


class CellEmitter:
    """Holds the cells that the second stage does not have yet.

    Args:
        topic: The topic `tallies`.
        codec: How records are framed.
        partition_of: Partition of `tallies` for an experiment id.
        interval_s: Shortest time between two emissions of a cell.
        timeout_s: Longest wait for the broker.
    """

    def __init__(
        self,
        topic: faust.TopicT,
        codec: Codec,
        partition_of: Callable[[bytes], int],
        *,
        interval_s: float,
        timeout_s: float,
    ) -> None:
        self._topic = topic
        self._codec = codec
        self._partition_of = partition_of
        self._interval = interval_s
        self._timeout = timeout_s
        self._unsent: dict[Place, Cell] = {}
        self._removed: dict[Place, None] = {}
        self._changed = asyncio.Event()

    def remove(self, experiment: int, source: str, partition: int) -> None:
        """Have a cell removed whose experiment has ended, durably."""
        place = experiment, source, partition
        self._unsent.pop(place, None)
        self._removed[place] = None
        self._changed.set()

    def offer(self, cell: Cell) -> None:
        """Have a durable cell sent, instead of older ones of its place."""
        self._unsent[cell.experiment, cell.source, cell.partition] = cell
        self._changed.set()

    def forget(self, source: str, partition: int) -> None:
        """Leave the cells of a source partition to the worker that has it now."""
        for place in [place for place in self._unsent if place[1:] == (source, partition)]:
            del self._unsent[place]
        for place in [place for place in self._removed if place[1:] == (source, partition)]:
            del self._removed[place]

    async def run(self) -> None:
        """Send what is offered, for ever."""
        await follow(self._changed, self._send, interval_s=self._interval)

    async def _send(self) -> None:
        cells, self._unsent = self._unsent, {}
        removed, self._removed = self._removed, {}
        records = chain(self._records(cells.values()), map(self._tombstone, removed))
        try:
            await deliver(self._topic, records, self._timeout)
        except BaseException:
            self._unsent = cells | self._unsent
            self._removed = removed | self._removed
            raise

    def _tombstone(self, place: Place) -> Outgoing:
        number, source, partition = place
        name = experiment_id(number)
        return Outgoing(
            key=f"{name}/{source}/{partition}".encode(),
            value=None,
            partition=self._partition_of(name.encode()),
        )

    def _records(self, cells: Iterable[Cell]) -> Iterator[Outgoing]:
        """Yield the records of cells; one that cannot be written is logged, and the others go."""
        for cell in cells:
            try:
                yield self._record(cell)
            except Exception:
                logger.exception("a cell of %s cannot be written", experiment_id(cell.experiment))

    def _record(self, cell: Cell) -> Outgoing:
        name = experiment_id(cell.experiment)
        return Outgoing(
            # Compaction keeps the newest cell of every place.
            key=f"{name}/{cell.source}/{cell.partition}".encode(),
            value=encode_cell(cell, self._codec),
            partition=self._partition_of(name.encode()),
        )
