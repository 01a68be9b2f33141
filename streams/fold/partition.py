"""State of one source partition, and its recovery.

The state is the cells, the windows and the sequences up to one offset. `take_changes` returns the
changes, to be written in any order, and the progress, to be written last and alone. A process that
dies in between leaves cells and segments ahead of the progress. On `restore`, segments ahead are
ignored, so that windows and sequences are exactly those of the progress; cells ahead are kept, and
records up to their offsets advance windows and sequences again without being added again. Counting
depends only on windows and sequences, so the result is the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar

from streams.fold.batch_sequences import SequenceGuard
from streams.fold.deduplication import DeduplicationWindow
from streams.fold.measuring import Measurement
from streams.fold.segments import Piece, WindowSegment
from streams.model.errors import EventError
from streams.model.ids import experiment_id
from streams.tallies.builder import CellBuilder
from streams.tallies.cell import Cell, Source
from streams.tallies.plan import Plan, PlanMissingError, PlanOf, plain

DEFAULT_LIMIT = 1_000_000
"""Entries that a window of one experiment and partition keeps at most, by default."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Offset up to which a partition has been folded. All changes up to it are durable before it.

    Attributes:
        last_offset: Last offset folded; -1 for none.
        sequences: Sequences of the senders, encoded.
    """

    last_offset: int
    sequences: bytes


@dataclass(frozen=True, slots=True)
class Changes:
    """Changes that must become durable before the progress does.

    Attributes:
        progress: To be written last, alone, once the rest is durable.
        cells: Cells that changed, in order of their experiments.
        segments: New segments of windows.
        forgotten: Keys of segments no longer needed; to be removed only when `progress` is durable.
        ended: Experiments that have ended, with the offset where they did. Their cells are not
            needed any more, and to be removed only when `progress` is durable.
    """

    progress: Progress
    cells: tuple[Cell, ...]
    segments: tuple[WindowSegment, ...]
    forgotten: tuple[str, ...]
    ended: tuple[tuple[int, int], ...] = ()


def archived(experiment: int) -> EventError:
    """Return the error of an event of an ended experiment."""
    return EventError(
        "EXPERIMENT_ARCHIVED",
        f"{experiment_id(experiment)} was archived, and its time for late events has passed",
        "experimentId",
    )


class Ledger:
    """State that a partition keeps of one experiment."""

    __slots__ = ("builder", "measurement", "metric_hashes", "openers", "plan", "window")

    def __init__(self, builder: CellBuilder, window: DeduplicationWindow) -> None:
        self.builder = builder
        self.window = window
        self.plan: Plan | None = None
        """Measurement plan of it; None before the first use."""
        self.measurement: Measurement | None = None
        """Counts by the plan; None where that is plain."""
        self.metric_hashes: dict[str, int] = {}
        """Hash of every metric that is declared or has been counted, by name."""
        self.openers: dict[str, int] = {}
        """Assignment that introduced each undeclared metric, by name."""


class PartitionFold:
    """State of one source partition; subclasses define how a record is folded into it.

    Args:
        partition: The partition.
        limit: Entries that the window of one experiment keeps at most.
        plan_of: Returns the measurement plan of an experiment; sums alone by default.

    Attributes:
        last_offset: Last offset folded; -1 for none.
        duplicate_batches: Batches passed by since this fold was made, as their sequences were seen.
    """

    source: ClassVar[Source]

    def __init__(
        self, partition: int, *, limit: int = DEFAULT_LIMIT, plan_of: PlanOf = plain
    ) -> None:
        self.last_offset = -1
        self.duplicate_batches = 0
        self._partition = partition
        self._limit = limit
        self._plan_of = plan_of
        self._guard = SequenceGuard()
        self._ledgers: dict[int, Ledger] = {}
        self._touched: dict[int, Ledger] = {}
        self._restored: dict[int, Ledger] = {}
        self._obsolete: list[str] = []
        self._ended: dict[int, int] = {}
        self._newly_ended: dict[int, int] = {}

    def restore(
        self,
        progress: Progress | None,
        cells: Iterable[Cell],
        segments: Iterable[WindowSegment],
        ended: Iterable[tuple[int, int]] = (),
    ) -> None:
        """Go on where `progress` was written; the fold must be new.

        Args:
            progress: The progress record; None before the first.
            cells: All cells kept of this partition, also those ahead of the progress.
            segments: All segments kept of this partition, also those ahead of the progress.
            ended: All experiments that have ended, also those that did so ahead of the progress.
        """
        if progress is not None:
            self.last_offset = progress.last_offset
            self._guard = SequenceGuard.decode(progress.sequences)
        ends = {experiment: offset for experiment, offset in ended if offset <= self.last_offset}
        self._ended.update(ends)
        for cell in cells:
            if cell.experiment in ends:  # it was not removed yet
                self._newly_ended[cell.experiment] = ends[cell.experiment]
                continue
            self._ledgers[cell.experiment] = self._new_ledger(cell.experiment, cell)
        read: dict[int, list[tuple[WindowSegment, Piece]]] = {}
        for segment in segments:
            if segment.last_offset > self.last_offset:
                self._obsolete.append(segment.key)
                continue
            piece = Piece.unpack(segment.body)
            if piece.experiment in ends:
                self._obsolete.append(segment.key)
                continue
            read.setdefault(piece.experiment, []).append((segment, piece))
        for experiment, pieces in read.items():
            ledger = self._ledgers.get(experiment) or self._new_ledger(experiment)
            ledger.window.restore(pieces)
            self._ledgers[experiment] = self._restored[experiment] = ledger
        for ledger in self._ledgers.values():
            self._recall(ledger)

    def _recall(self, ledger: Ledger) -> None:
        """Complete the ledger of an experiment once its cell and window are restored."""

    @property
    def partition(self) -> int:
        """The partition."""
        return self._partition

    @property
    def cells(self) -> Iterator[Cell]:
        """The newest cell of every experiment, as of the last `take_changes`."""
        for ledger in self._ledgers.values():
            if ledger.builder.cell is not None:
                yield ledger.builder.cell

    def skip(self, offset: int) -> None:
        """Skip the record at `offset`, which holds nothing to fold."""
        self.last_offset = max(self.last_offset, offset)

    def end(self, offset: int, experiment: int) -> None:
        """End an experiment at the record at `offset`: drop its state, and refuse later events.

        So state does not grow with the number of past experiments. Refusals depend on the log only,
        since the end is a record of the partition.
        """
        if offset <= self.last_offset:
            return
        self.last_offset = offset
        # If an end is logged again, the first one holds: an entry with the second offset would be
        # ignored as ahead of an earlier progress.
        self._newly_ended[experiment] = self._ended.setdefault(experiment, offset)
        self._touched.pop(experiment, None)
        self._restored.pop(experiment, None)
        ledger = self._ledgers.pop(experiment, None)
        if ledger is not None:
            self._obsolete += ledger.window.segment_keys

    def has_ended(self, experiment: int) -> bool:
        """Return whether an experiment has ended in this partition."""
        return experiment in self._ended

    def _check_going_on(self, experiment: int) -> None:
        """Refuse events of an experiment that has ended.

        Raises:
            EventError: it has (`EXPERIMENT_ARCHIVED`).
        """
        if experiment in self._ended:
            raise archived(experiment)

    def take_changes(self) -> Changes:
        """Return what changed since the last call; a second call returns no cells or segments."""
        cells: list[Cell] = []
        segments: list[WindowSegment] = []
        obsolete, self._obsolete = self._obsolete, []
        for _, ledger in sorted((self._restored | self._touched).items()):
            cell = ledger.builder.freeze()
            if cell is not None:
                cells.append(cell)
            written, unneeded = ledger.window.take(self.last_offset)
            segments += written
            obsolete += unneeded
        self._restored.clear()
        self._touched.clear()
        ended, self._newly_ended = self._newly_ended, {}
        # Segments ignored at the restore may have been rewritten since.
        live = {segment.key for segment in segments}
        return Changes(
            Progress(self.last_offset, self._guard.encode()),
            tuple(cells),
            tuple(segments),
            tuple(key for key in obsolete if key not in live),
            tuple(sorted(ended.items())),
        )

    def take_cells(self) -> list[Cell]:
        """Return the cells that changed since the last call, of a fold that is never restored."""
        self.discard_window_changes()
        touched, self._touched = self._touched, {}
        return [cell for _, ledger in sorted(touched.items()) if (cell := ledger.builder.freeze())]

    def discard_window_changes(self) -> None:
        """Discard changes of windows, which then cannot be restored.

        Folds that are never restored limit the memory of changes to that of a batch.
        """
        for ledger in self._touched.values():
            ledger.window.discard_changes()

    def _ledger(self, experiment: int) -> Ledger:
        """Return the ledger of an experiment for modification.

        Raises:
            PlanMissingError: its plan is unknown.
        """
        ledger = self._ledgers.get(experiment)
        if ledger is None or ledger.plan is None:
            plan = self._plan_of(experiment)
            if plan is None:
                raise PlanMissingError(experiment)
            if ledger is None:
                ledger = self._ledgers[experiment] = self._new_ledger(experiment)
            self._follow(ledger, plan)
        self._touched[experiment] = ledger
        return ledger

    def _follow(self, ledger: Ledger, plan: Plan) -> None:
        """Count an experiment by its plan from now on."""
        ledger.plan = ledger.builder.plan = plan

    def _new_ledger(self, experiment: int, cell: Cell | None = None) -> Ledger:
        return Ledger(
            CellBuilder(experiment, self.source, self._partition, cell),
            DeduplicationWindow(experiment, self._limit),
        )
