"""Publishing of cells to the second stage: the newest of each, an idle one at once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import NamedTuple

import faust

from schemas.codec import Codec
from streams.model.ids import experiment_id
from streams.process.cadence import Cadence
from streams.tallies.cell import Cell
from streams.wire.cells import encode_cell
from streams.wire.records import SINGLE_OBJECT
from streams.worker.outbox import Outgoing, deliver
from streams.worker.pacing import GRID_S, TimeBudget, follow

LARGE_CELL_BYTES = 80_000
"""Size from which on a cell has a time budget: some 1,000 variants times metrics, 10 ms to encode.
By size, since a clock would be read twice for each of hundreds of small cells a second: that of the
processor time costs a system call, and any other one counts the wait for a busy processor."""

COST_S_PER_BYTE = 2.5e-7
"""Time that is charged for a large cell: until it is encoded where it is counted, and decoded again
where it is taken."""

LARGE_CELL_SHARE = 0.2
"""Share of the time for all large cells. One of 256 variants times 16 metrics, with 400 kB, is sent
every half second."""

LARGE_CELL_BURST_S = 0.1

STEPS_AT_MOST = 0.8
"""Share of the time for steps, most of which is waiting for the broker."""

logger = logging.getLogger(__name__)

Place = tuple[int, str, int]


class WrittenCell(NamedTuple):
    """A durable cell, and the bytes of its entry: a single object."""

    cell: Cell
    body: bytes


class CellEmitter:
    """The cells that the second stage does not have yet.

    Args:
        topic: The topic `tallies`.
        codec: Encodes records.
        partition_of: Returns the partition of `tallies` of an experiment id.
        interval_s: Shortest time between two emissions of a cell, in seconds.
        timeout_s: Longest wait for the broker, in seconds.
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
        self._cadence: Cadence[Place] = Cadence(interval_s, grid_s=GRID_S)
        self._timeout = timeout_s
        self._unsent: dict[Place, WrittenCell] = {}
        self._removed: dict[Place, None] = {}
        self._changed = asyncio.Event()
        self._share = TimeBudget(LARGE_CELL_SHARE, LARGE_CELL_BURST_S)

    def remove(self, experiment: int, source: str, partition: int) -> None:
        """Queue a tombstone for a cell whose experiment has ended durably."""
        place = experiment, source, partition
        self._unsent.pop(place, None)
        self._removed[place] = None
        self._changed.set()

    def offer(self, written: WrittenCell) -> None:
        """Queue a durable cell; it replaces older ones of its place."""
        cell = written.cell
        self._unsent[cell.experiment, cell.source, cell.partition] = written
        self._changed.set()

    def forget(self, source: str, partition: int) -> None:
        """Drop the cells of a source partition that another worker has now."""
        for place in [place for place in self._unsent if place[1:] == (source, partition)]:
            del self._unsent[place]
        for place in [place for place in self._removed if place[1:] == (source, partition)]:
            del self._removed[place]

    async def run(self) -> None:
        """Send what is queued, indefinitely."""
        await follow(self._changed, self._send, at_most=STEPS_AT_MOST, wait_s=self._wait_s)

    def _wait_s(self) -> float | None:
        return 0.0 if self._removed else self._cadence.wait_s(self._unsent)

    async def _send(self) -> None:
        cells = {place: self._unsent.pop(place) for place in self._cadence.due(self._unsent)}
        removed, self._removed = self._removed, {}
        records = chain(self._records(cells), map(self._tombstone, removed))
        try:
            await deliver(self._topic, records, self._timeout)
        except BaseException:
            self._unsent = cells | self._unsent
            self._cadence.failed(cells)
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

    def _records(self, cells: Mapping[Place, WrittenCell]) -> Iterator[Outgoing]:
        """Yield the records of cells; log a cell that cannot be encoded, and skip it.

        A large cell waits while the time budget of large cells is used up. It is then sent before
        the large cells sent meanwhile, as the newest cell of its place.
        """
        for place, written in cells.items():
            size = len(written.body)
            if size >= LARGE_CELL_BYTES:
                if not self._share.is_left:
                    self._unsent.setdefault(place, written)
                    continue
                self._share.charge(size * COST_S_PER_BYTE)
            self._cadence.handled(place)
            try:
                record = self._record(written)
            except Exception:
                name = experiment_id(written.cell.experiment)
                logger.exception("a cell of %s cannot be written", name)
                continue
            yield record

    def _record(self, written: WrittenCell) -> Outgoing:
        cell, body = written
        name = experiment_id(cell.experiment)
        return Outgoing(
            # Compaction keeps the newest cell of every place.
            key=f"{name}/{cell.source}/{cell.partition}".encode(),
            value=body if self._codec is SINGLE_OBJECT else encode_cell(cell, self._codec),
            partition=self._partition_of(name.encode()),
        )
