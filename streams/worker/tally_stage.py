"""The first stage: records of one source become one cell per experiment and partition.

| table key | valid up to | value |
|---|---|---|
| `c/{experiment id}` | the cell's `last_offset` | the cell, Avro |
| `w/{segment}` | the segment's `last_offset` | a packed piece of a window |
| `x/{experiment id}` | the offset of a cell that could not be written | the code of why: when it \
is read again, the cell before it stands permanently |
| `r/{experiment id}` | the offset of its end | nothing: its events are refused from there on |
| `p/{topic}/{partition}` | the last offset folded | sequences of the senders |
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Generic

from aiokafka.structs import ConsumerRecord

from streams.fold.dead_letters import dead_letters
from streams.fold.partition import Progress
from streams.fold.records import Folding, FoldT, never
from streams.fold.segments import WindowSegment
from streams.fold.writable import entry_of
from streams.model.errors import EventError
from streams.model.events import Answer
from streams.model.ids import experiment_id, experiment_number
from streams.tallies.cell import Cell
from streams.tallies.plan import PlanMissingError
from streams.wire.cells import decode_cell, encode_cell
from streams.worker import metrics
from streams.worker.dead_letters import dead_letter, log_failure
from streams.worker.emitter import CellEmitter, WrittenCell
from streams.worker.entries import readable_entry
from streams.worker.partition_processor import BatchOutcome, FoldPausedError, progress_key
from streams.worker.tables import DurableTable

_ADVICE = "with a release that can write it, `experiment replay rebuild start` counts it anew"
"""Instruction for the operator when a cell of an experiment could not be written."""

_CELL = b"c/"
_SEGMENT = b"w/"
_ENDED = b"r/"
_UNWRITTEN = b"x/"


logger = logging.getLogger(__name__)


class TallyStage(Generic[FoldT]):
    """The stage of an agent over one source topic.

    Args:
        topic: Name of the source topic.
        folding: Folds its records.
        emitter: Publishes durable cells.
    """

    def __init__(self, topic: str, folding: Folding[FoldT], emitter: CellEmitter) -> None:
        self._topic = topic
        self._folding = folding
        self._emitter = emitter
        self._folds: dict[int, FoldT] = {}
        self._unpublished: dict[int, dict[int, WrittenCell]] = {}
        self._offered_until: dict[int, int] = {}
        self._duplicates: dict[tuple[int, int], int] = {}
        self._begun: dict[int, BatchOutcome] = {}
        self._removed: dict[int, list[int]] = {}
        # For each partition, the experiments with an entry under `x/`, and whether it is in force.
        self._unwritten: dict[int, dict[int, bool]] = {}
        # Those whose state was lost with another process, with the code.
        self._outdated: dict[int, dict[int, str]] = {}

    def restore(self, partition: int, table: DurableTable) -> None:
        """Build the state of `partition` from its table entries.

        Every cell is emitted again: the process that wrote it may have exited before emitting it.
        """
        fold = self._folding.new_fold(partition)
        progress = table.get_entry(partition, progress_key(self._topic, partition))
        written: list[WrittenCell] = []
        segments: list[WindowSegment] = []
        ended: list[tuple[int, int]] = []
        unwritten: dict[int, tuple[int, str]] = {}
        for key in table.entries(partition):
            entry = table.get_entry(partition, key)
            if entry is None:
                continue
            offset, body = entry
            if key.startswith(_CELL):
                with readable_entry(key):
                    written.append(WrittenCell(decode_cell(body), body))
            elif key.startswith(_SEGMENT):
                segments.append(WindowSegment(key.removeprefix(_SEGMENT).decode(), offset, body))
            elif key.startswith(_ENDED):
                name = key.removeprefix(_ENDED).decode()
                ended.append((experiment_number(name), offset))
            elif key.startswith(_UNWRITTEN):
                name = key.removeprefix(_UNWRITTEN).decode()
                unwritten[experiment_number(name)] = offset, body.decode()
        cells = [each.cell for each in written]
        fold.restore(None if progress is None else Progress(*progress), cells, segments, ended)
        self._folds[partition] = fold
        self._offered_until.pop(partition, None)
        self._restore_unwritten(
            partition, unwritten, {cell.experiment: cell.last_offset for cell in cells}
        )
        # Tombstones of ended experiments whose cells still exist may not have been sent.
        self._removed[partition] = [
            cell.experiment for cell in cells if fold.has_ended(cell.experiment)
        ]
        self._unpublished[partition] = {
            each.cell.experiment: each
            for each in written
            if not fold.has_ended(each.cell.experiment)
        }
        for number, each in self._unpublished[partition].items():
            self._duplicates[partition, number] = each.cell.duplicates

    def _restore_unwritten(
        self,
        partition: int,
        unwritten: Mapping[int, tuple[int, str]],
        written: Mapping[int, int],
    ) -> None:
        """Stop the cells whose state was lost with the process that could not write it.

        Nothing was lost if the cell was written later, or if the unwritten state is behind the
        progress, and so is folded again.
        """
        last_offset = self._folds[partition].last_offset
        outdated = self._outdated[partition] = {
            number: code
            for number, (offset, code) in unwritten.items()
            if written.get(number, -1) < offset <= last_offset
        }
        self._unwritten[partition] = {number: number in outdated for number in unwritten}
        for number in outdated:
            name = experiment_id(number)
            logger.error("%s counts no more in partition %d: %s", name, partition, _ADVICE)

    def release(self, partition: int) -> None:
        """Drop the state of a partition that is assigned to another worker now."""
        fold = self._folds.pop(partition, None)
        self._unpublished.pop(partition, None)
        self._offered_until.pop(partition, None)
        self._begun.pop(partition, None)
        self._removed.pop(partition, None)
        self._unwritten.pop(partition, None)
        self._outdated.pop(partition, None)
        if fold is not None:
            self._emitter.forget(fold.source, partition)
            for cell in fold.cells:
                self._duplicates.pop((partition, cell.experiment), None)

    def fold(
        self,
        topic: str,
        partition: int,
        records: Sequence[ConsumerRecord],
        is_due: Callable[[], bool] = never,
    ) -> BatchOutcome:
        """Fold consecutive records, as `Stage.fold` says."""
        fold = self._folds[partition]
        outcome = self._begun.pop(partition, None)
        if outcome is None:
            outcome = BatchOutcome()
        else:
            records = [record for record in records if record.offset > fold.last_offset]
        duplicate_batches = fold.duplicate_batches
        folded = self._folding.fold(fold, records, is_due)
        metrics.DUPLICATE_BATCHES.labels(topic).inc(fold.duplicate_batches - duplicate_batches)
        outcome.events += folded.events
        outcome.misplaced += folded.misplaced
        for index, refusals in folded.refused:
            outcome.dead_letters += dead_letters(records[index], refusals)
            for refusal in refusals:
                log_failure(records[index], refusal.error)
        if folded.awaits is not None:
            self._begun[partition] = outcome
            raise PlanMissingError(folded.awaits)
        if folded.is_paused:
            self._begun[partition] = outcome
            raise FoldPausedError
        changes = fold.take_changes()
        outcome.progress = changes.progress.sequences
        outcome.forgotten = [_SEGMENT + key.encode() for key in changes.forgotten]
        for segment in changes.segments:
            outcome.entries[_SEGMENT + segment.key.encode()] = (segment.last_offset, segment.body)
        unpublished = self._unpublished.setdefault(partition, {})
        for cell in changes.cells:
            body = self._write(partition, cell, records, outcome)
            if body is None:
                continue  # the last written cell remains in force; the log has all events
            unpublished[cell.experiment] = WrittenCell(cell, body)
            self._count_duplicates(topic, cell)
        for experiment, offset in changes.ended:
            name = experiment_id(experiment).encode()
            outcome.entries[_ENDED + name] = (offset, b"")
            outcome.forgotten += [_CELL + name, _UNWRITTEN + name]
            self._outdated.get(partition, {}).pop(experiment, None)
            unpublished.pop(experiment, None)
            self._duplicates.pop((partition, experiment), None)
            self._removed.setdefault(partition, []).append(experiment)
        return outcome

    def _write(
        self, partition: int, cell: Cell, records: Sequence[ConsumerRecord], outcome: BatchOutcome
    ) -> bytes | None:
        """Add the entry of a cell to `outcome`, and return it; None if it cannot be written."""
        number, name = cell.experiment, experiment_id(cell.experiment).encode()
        unwritten = self._unwritten.setdefault(partition, {})
        try:
            body = self._entry(partition, cell)
        except EventError as failure:
            record = _record_at(records, cell.last_offset)
            log_failure(record, failure)
            outcome.dead_letters.append(dead_letter(record, failure))
            if not unwritten.get(number, False):
                unwritten[number] = True
                outcome.entries[_UNWRITTEN + name] = (cell.last_offset, failure.code.encode())
            return None
        outcome.entries[_CELL + name] = (cell.last_offset, body)
        if unwritten.pop(number, None) is not None:
            outcome.forgotten.append(_UNWRITTEN + name)
        return body

    def _entry(self, partition: int, cell: Cell) -> bytes:
        code = self._outdated.get(partition, {}).get(cell.experiment)
        if code is not None:
            raise EventError(code, f"a state that could not be written was lost; {_ADVICE}")
        return entry_of(encode_cell, cell)

    def on_durable(self, topic: str, partition: int, answers: Sequence[Answer] = ()) -> None:
        """Emit the cells of the batches folded so far; events have no answers."""
        del topic, answers
        begin = self._offered_until.get(partition, 0)
        for written in self._unpublished.pop(partition, {}).values():
            self._emitter.offer(written, begin)
        self._offered_until[partition] = self._folds[partition].last_offset + 1
        removed = self._removed.pop(partition, ())
        for experiment in removed:
            self._emitter.remove(experiment, self._folds[partition].source, partition)

    def _count_duplicates(self, topic: str, cell: Cell) -> None:
        place = cell.partition, cell.experiment
        metrics.DUPLICATES.labels(topic).inc(cell.duplicates - self._duplicates.get(place, 0))
        self._duplicates[place] = cell.duplicates


def _record_at(records: Sequence[ConsumerRecord], offset: int) -> ConsumerRecord:
    """Return the record at an offset, or the last record if that one was folded before."""
    return next((record for record in records if record.offset == offset), records[-1])
