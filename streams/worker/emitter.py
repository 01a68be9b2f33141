"""Publishing of cells to the second stage: the newest of each, an idle one at once."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
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
from streams.worker.pending import Pending

OWN_INTERVAL_S = 0.5
"""Shortest time between two emissions of a cell of which this worker has the experiment. Its record
is for the worker that will have it: until then the cell is evaluated here. Fewer records leave the
processor to what is waited for."""

OWN_GRID_S = 0.1
"""As `GRID_S`, for these cells."""

LARGE_CELL_BYTES = 80_000
"""Size from which on a cell has a time budget: about 1,000 variants times metrics, 10 ms to encode.
By size, since a clock would be read twice for each of hundreds of small cells a second: the
processor clock costs a system call, and any other clock includes the wait for a busy processor."""

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

    Each is sent to the log, from which the worker that has its experiment takes it. If that is this
    one, it evaluates with the cell meanwhile.

    Args:
        topic: The topic `tallies`.
        codec: Encodes records.
        partition_of: Returns the partition of `tallies` of an experiment id.
        take_early: Takes a cell in this process; returns whether it has the experiment.
        interval_s: Shortest time between two emissions of a cell, in seconds.
        timeout_s: Longest wait for the broker, in seconds.
    """

    def __init__(
        self,
        topic: faust.TopicT,
        codec: Codec,
        partition_of: Callable[[bytes], int],
        take_early: Callable[[Cell], bool],
        *,
        interval_s: float,
        timeout_s: float,
    ) -> None:
        self._topic = topic
        self._codec = codec
        self._partition_of = partition_of
        self._take_early = take_early
        self._cadence: Cadence[Place] = Cadence(interval_s, grid_s=GRID_S)
        self._own_cadence: Cadence[Place] = Cadence(
            max(interval_s, OWN_INTERVAL_S), grid_s=OWN_GRID_S
        )
        self._own: set[Place] = set()
        self._timeout = timeout_s
        self._unsent: Pending[Place, WrittenCell] = Pending()
        # By source partition, for each unsent cell: offset before which it lacks nothing that was
        # not sent.
        self._begins: defaultdict[tuple[str, int], dict[Place, int]] = defaultdict(dict)
        self._held: set[Place] = set()  # large cells that wait for the time budget
        self._removed: Pending[Place, None] = Pending()
        self._changed = asyncio.Event()
        self._share = TimeBudget(LARGE_CELL_SHARE, LARGE_CELL_BURST_S)

    def remove(self, experiment: int, source: str, partition: int) -> None:
        """Queue a tombstone for a cell whose experiment has ended durably."""
        place = experiment, source, partition
        self._unsent.pop(place, None)
        self._begins[source, partition].pop(place, None)
        self._own.discard(place)
        self._removed[place] = None
        self._changed.set()

    def offer(self, written: WrittenCell, begin: int = 0) -> None:
        """Queue a durable cell; it replaces older ones of its place.

        Args:
            written: The cell.
            begin: Offset before which nothing is new in it; 0 if it may lack all.
        """
        cell = written.cell
        place = cell.experiment, cell.source, cell.partition
        self._unsent[place] = written
        self._begins[cell.source, cell.partition].setdefault(place, begin)
        if self._take_early(cell):
            self._own.add(place)
        else:
            self._own.discard(place)
        self._changed.set()

    def sent_until(self, source: str, partition: int) -> int | None:
        """Return the offset of a source partition before which all that is counted was sent.

        None if nothing waits: then all that is durable was sent.
        """
        return min(self._begins[source, partition].values(), default=None)

    def forget(self, source: str, partition: int) -> None:
        """Drop the cells of a source partition that another worker has now."""
        self._begins.pop((source, partition), None)
        for place in [place for place in self._unsent if place[1:] == (source, partition)]:
            del self._unsent[place]
        self._own = {place for place in self._own if place[1:] != (source, partition)}
        for place in [place for place in self._removed if place[1:] == (source, partition)]:
            del self._removed[place]

    async def run(self) -> None:
        """Send what is queued, indefinitely."""
        await follow(self._changed, self._send, at_most=STEPS_AT_MOST, wait_s=self._wait_s)

    def _wait_s(self) -> float | None:
        if self._removed:
            return 0.0
        # As sets, which keep the hashes of places: lists of thousands take several times as long.
        unsent = self._unsent.keys() - self._held
        others = unsent - self._own
        waits_s = [self._cadence.wait_s(others), self._own_cadence.wait_s(unsent - others)]
        if self._held:
            waits_s.append(self._share.wait_s)
        return min((wait_s for wait_s in waits_s if wait_s is not None), default=None)

    def _paced(self) -> Iterator[tuple[Cadence[Place], list[Place]]]:
        """Yield what is unsent with its cadence."""
        yield self._cadence, [place for place in self._unsent if place not in self._own]
        yield self._own_cadence, [place for place in self._unsent if place in self._own]

    async def _send(self) -> None:
        due = chain.from_iterable(cadence.due(places) for cadence, places in self._paced())
        sent: dict[Place, WrittenCell] = {}
        removed = dict(self._removed)
        self._held.clear()
        left = (place for place in removed if place in self._removed)
        records = chain(self._records([*due], sent), map(self._tombstone, left))
        try:
            await deliver(self._topic, records, self._timeout)
        except BaseException:
            self._cadence.failed(sent)
            self._own_cadence.failed(sent)
            raise
        self._unsent.confirm(sent)
        for place, written in sent.items():
            begins = self._begins[place[1:]]
            if place in self._unsent:  # a newer one of a place that was sent up to this one
                begins[place] = written.cell.last_offset + 1
            else:
                begins.pop(place, None)
        self._removed.confirm(removed)

    def _tombstone(self, place: Place) -> Outgoing:
        number, source, partition = place
        name = experiment_id(number)
        return Outgoing(
            key=f"{name}/{source}/{partition}".encode(),
            value=None,
            partition=self._partition_of(name.encode()),
        )

    def _records(
        self, places: Iterable[Place], sent: dict[Place, WrittenCell]
    ) -> Iterator[Outgoing]:
        """Yield the records of the newest cells, and note them in `sent`.

        Cells that were dropped since the records before were sent are skipped. One that cannot be
        encoded is logged. A large cell waits while the time budget of large cells is used up; it is
        then sent before the large cells sent meanwhile.
        """
        for place in places:
            written = self._unsent.get(place)
            if written is None:
                continue
            size = len(written.body)
            if size >= LARGE_CELL_BYTES:
                if not self._share.is_left:
                    self._held.add(place)
                    continue
                self._share.charge(size * COST_S_PER_BYTE)
            (self._own_cadence if place in self._own else self._cadence).handled(place)
            sent[place] = written
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
