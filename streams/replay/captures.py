"""One partition folded from its beginning, with its cells as they were at given offsets.

Where changes are taken does not alter what is counted, so the cells are those that a worker had,
however its batches were cut.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from streams.fold.partition import PartitionFold
from streams.fold.records import Folding
from streams.kafka.records import StoredRecord
from streams.tallies.cell import Cell

Advance = Callable[[int, int], None]
"""Callback with the number of offsets passed, and of events in their records."""


@dataclass(slots=True)
class CellsAtOffsets:
    """State of a partition's cells at the requested offsets.

    Attributes:
        cells: Newest cell by (experiment, offset); absent where the experiment had none yet.
        last: Newest cell of every experiment once all was folded.
    """

    cells: dict[tuple[int, int], Cell] = field(default_factory=dict)
    last: dict[int, Cell] = field(default_factory=dict)


def capture(
    folding: Folding[PartitionFold],
    partition: int,
    batches: Iterable[Sequence[StoredRecord]],
    wanted: Mapping[int, Collection[int]],
    advance: Advance,
) -> CellsAtOffsets:
    """Fold a partition and return its cells at the wanted offsets.

    Args:
        folding: How its records are folded.
        partition: The partition.
        batches: All its records from the first on, in batches of any size.
        wanted: Experiments by the offset at which their cells are wanted.
        advance: Called for every batch.
    """
    fold = folding.new_fold(partition)
    captured = CellsAtOffsets()
    stops = deque(sorted(wanted))
    passed = 0
    for records in batches:
        start = events = 0
        while stops and records and stops[0] <= records[-1].offset:
            stop = stops.popleft()
            end = bisect_right(records, stop, key=lambda record: record.offset)
            events += folding.fold(fold, records[start:end]).events
            start = end
            _take(fold, captured)
            for experiment in wanted[stop]:
                if experiment in captured.last:
                    captured.cells[experiment, stop] = captured.last[experiment]
        events += folding.fold(fold, records[start:]).events
        fold.discard_window_changes()
        if records:
            advance(records[-1].offset + 1 - passed, events)
            passed = records[-1].offset + 1
    _take(fold, captured)
    return captured


def _take(fold: PartitionFold, captured: CellsAtOffsets) -> None:
    captured.last.update((cell.experiment, cell) for cell in fold.take_cells())
