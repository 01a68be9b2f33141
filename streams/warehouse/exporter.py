"""From the log to a target: the folds of the engine, with a row for everything that they count.

A commit holds rows and the state of the folds that they follow from, so whatever is interrupted
continues behind the last commit, and each row is there once. The log is read again from there
alone.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from streams.fold.impressions import ImpressionFolding
from streams.fold.observations import ObservationFolding
from streams.fold.partition import PartitionFold, Progress
from streams.fold.records import Folding
from streams.fold.segments import WindowSegment
from streams.kafka.records import LogSource, OffsetRange, StoredRecord
from streams.model.receipts import Keyring
from streams.replay.partitions import FoldInputs, LogReading
from streams.tallies.cell import Source
from streams.warehouse.experiments import Experiments
from streams.warehouse.observer import ExportObserver
from streams.warehouse.rows import AssignmentRows, ObservationRows, Recorder
from streams.warehouse.tables import Table
from streams.warehouse.target import (
    OTHER_LOG,
    Commit,
    PartitionChanges,
    Place,
    StoredState,
    Warehouse,
    WarehouseError,
)
from streams.wire.cells import decode_cell, encode_cell

COMMIT_ROWS = 200_000
"""Rows after which a commit is made; at some 200 bytes each they are 40 MB."""

SLICE_BYTES = 4 << 20
"""Bytes of records that are folded before their rows are counted: what a record holds varies."""

_CELL, _SEGMENT, _END = "cell/", "segment/", "end/"
_OFFSET = struct.Struct(">q")


@dataclass(slots=True)
class _Part:
    """A partition that is being exported."""

    place: Place
    folding: Folding[Any]
    fold: PartitionFold
    recorder: Recorder
    last_record: str = ""
    is_changed: bool = False
    is_compared: bool = True


@dataclass(slots=True)
class _Pending:
    """Rows that no commit has yet."""

    tables: dict[Table, list[pa.Table]] = field(default_factory=dict)
    rows: int = 0


class Exporter:
    """Exports what the log has beyond the last commit of a target.

    Args:
        reading: The log.
        inputs: What is folded with.
        target: Where to.
        experiments: Experiments and their plans.
        accept_gap: Whether to continue behind records that the log has no more.
        watcher: Receives the progress.
        commit_rows: Rows after which a commit is made.

    Attributes:
        exported: Rows that were committed since the start.
    """

    def __init__(
        self,
        reading: LogReading,
        inputs: FoldInputs,
        target: Warehouse,
        experiments: Experiments,
        *,
        accept_gap: bool = False,
        watcher: ExportObserver | None = None,
        commit_rows: int = COMMIT_ROWS,
    ) -> None:
        self._reading = reading
        self._inputs = inputs
        self._target = target
        self._experiments = experiments
        self._accept_gap = accept_gap
        self._watcher = watcher or ExportObserver()
        self._commit_rows = commit_rows
        self._stored = dict(target.states())
        self._parts: dict[Place, _Part] = {}
        self._pending = _Pending()
        self.exported = 0

    def catch_up(self, is_stopped: Callable[[], bool] = bool) -> None:
        """Export all that is in the log now, and the experiments as they are then.

        Args:
            is_stopped: Asked between commits whether to end early; all that was counted is
                committed.

        Raises:
            LogError: the log lacks records (`LOG_TRUNCATED`, `LOG_INCOMPLETE`).
            WarehouseError: the target was filled from another log, or refuses rows.
            DependencyError: Kafka, the schema registry or the target does not answer.
        """
        spans = {source: self._reading.spans(source.value) for source in Source}
        self._experiments.read_commands()
        places = {(source, p): span for source, found in spans.items() for p, span in found.items()}
        begins = {place: self._begin(place, span) for place, span in sorted(places.items())}
        self._watcher.begin(sum(max(places[place].end - at, 0) for place, at in begins.items()))
        for place, begin in begins.items():
            part = self._parts[place]
            for read in self._records(place, begin, places[place].end):
                records = read if part.is_compared else _compared(part, read)
                if records:
                    self._take(part, records)
                if self._pending.rows >= self._commit_rows:
                    self._commit()
                if is_stopped():
                    self._commit()
                    return
        self._experiments.read_commands()
        self._experiments.read_snapshots()
        self._commit()

    def _records(self, place: Place, begin: int, end: int) -> Iterator[Sequence[StoredRecord]]:
        if begin < end:
            for records in self._reading.read(place[0].value, place[1], begin, end):
                yield from _slices(records)

    def _begin(self, place: Place, span: OffsetRange) -> int:
        """Return the offset to continue from; restore a partition that is new to this process."""
        if place not in self._parts:
            stored = self._stored.pop(place, None)
            self._parts[place] = self._new_part(place, stored)
        part = self._parts[place]
        last, begin = part.fold.last_offset, part.fold.last_offset + 1
        if span.end < begin:
            raise _other_log(part)
        if last < span.begin:
            part.is_compared = True  # retention has deleted the record
        if not part.is_compared and span.end > begin:
            return last  # read again beside what is new
        return max(begin, span.begin) if self._accept_gap else begin

    def _new_part(self, place: Place, stored: StoredState | None) -> _Part:
        source, partition = place
        keyring = Keyring.parse(self._inputs.receipt_keys)
        codec, limit = self._reading.codec, self._inputs.limit
        plan_of = self._experiments.plan_of
        folding: Folding[Any]
        recorder: Recorder
        if source is Source.IMPRESSIONS:
            recorder = assigned = AssignmentRows(partition, self._experiments.dimensions_of)
            folding = ImpressionFolding(codec, keyring, limit, plan_of, listener=assigned.record)
        else:
            recorder = observed = ObservationRows(partition)
            partitions = self._inputs.partitions
            folding = ObservationFolding(
                codec, keyring, limit, plan_of, partitions, listener=observed.record
            )
        fold = folding.new_fold(partition)
        if stored is None:
            return _Part(place, folding, fold, recorder)
        _restore(fold, stored)
        return _Part(place, folding, fold, recorder, stored.last_record, is_compared=False)

    def _take(self, part: _Part, records: Sequence[StoredRecord]) -> None:
        """Fold records, and keep the rows of what was counted."""
        before = part.fold.last_offset
        while (awaited := part.folding.fold(part.fold, records).awaits) is not None:
            self._experiments.learn(awaited)
        part.last_record = _digest(records[-1])
        part.is_changed = True
        rows = 0
        for table, found in part.recorder.take().items():
            if found.num_rows:
                self._pending.tables.setdefault(table, []).append(found)
                rows += found.num_rows
        self._pending.rows += rows
        self._watcher.advance(part.fold.last_offset - before)

    def _commit(self) -> None:
        """Give the target what it does not have."""
        pending, self._pending = self._pending, _Pending()
        parts = {place: _changes(part) for place, part in self._parts.items() if part.is_changed}
        replaced = self._experiments.take_changes()
        if not (parts or replaced):
            return
        added = {table: pa.concat_tables(found) for table, found in pending.tables.items()}
        self._target.commit(Commit(added, replaced, parts))
        for place in parts:
            self._parts[place].is_changed = False
        self.exported += pending.rows
        self._watcher.committed(pending.rows)


@contextmanager
def exporting(
    source: LogSource,
    inputs: FoldInputs,
    target: Warehouse,
    generation: Callable[[], int],
    *,
    accept_gap: bool = False,
    watcher: ExportObserver | None = None,
    commit_rows: int = COMMIT_ROWS,
) -> Iterator[Exporter]:
    """Open the log, and yield what exports it.

    Args:
        source: The log.
        inputs: What is folded with.
        target: Where to.
        generation: Gives the generation whose snapshots are exported.
        accept_gap, watcher, commit_rows: As in `Exporter`.

    Raises:
        DependencyError: Kafka or the schema registry does not answer.
    """
    if inputs.partitions is None:
        inputs = replace(inputs, partitions=max(source.spans(Source.OBSERVATIONS.value)) + 1)
    with inputs.reading(source) as reading:
        yield Exporter(
            reading,
            inputs,
            target,
            Experiments(reading, generation),
            accept_gap=accept_gap,
            watcher=watcher,
            commit_rows=commit_rows,
        )


def _compared(part: _Part, records: Sequence[StoredRecord]) -> Sequence[StoredRecord]:
    """Return the records behind the last one that was exported, which is the first of these.

    Raises:
        WarehouseError: it is another one (`WAREHOUSE_OTHER_LOG`).
    """
    if not records:
        return records
    first = records[0]
    if first.offset != part.fold.last_offset or _digest(first) != part.last_record:
        raise _other_log(part)
    part.is_compared = True
    return records[1:]


def _other_log(part: _Part) -> WarehouseError:
    """Return the error of a log whose record at the last offset exported is another, or missing."""
    place = f"{part.place[0].value}/{part.place[1]}"
    return WarehouseError(
        OTHER_LOG,
        f"{place} was exported up to offset {part.fold.last_offset}, and the log has another "
        "record there, or none: it was begun anew, or belongs to another installation",
        place,
    )


def _slices(records: Sequence[StoredRecord]) -> Iterator[Sequence[StoredRecord]]:
    start = size = 0
    for index, record in enumerate(records):
        size += len(record.value or b"")
        if size >= SLICE_BYTES:
            yield records[start : index + 1]
            start, size = index + 1, 0
    if start < len(records):
        yield records[start:]


def _digest(record: StoredRecord) -> str:
    value = b"" if record.value is None else record.value
    found = hashlib.blake2b(value, digest_size=16)
    found.update(_OFFSET.pack(record.timestamp))
    return found.hexdigest()


def _changes(part: _Part) -> PartitionChanges:
    changes = part.fold.take_changes()
    written = {f"{_CELL}{cell.experiment}": encode_cell(cell) for cell in changes.cells}
    for segment in changes.segments:
        written[_SEGMENT + segment.key] = _OFFSET.pack(segment.last_offset) + segment.body
    removed = [_SEGMENT + key for key in changes.forgotten]
    for experiment, offset in changes.ended:
        written[f"{_END}{experiment}"] = _OFFSET.pack(offset)
        removed.append(f"{_CELL}{experiment}")
    return PartitionChanges(changes, part.last_record, written, removed)


def _restore(fold: PartitionFold, stored: StoredState) -> None:
    cells, segments, ended = [], [], []
    entries: Mapping[str, bytes] = stored.entries
    for key, value in entries.items():
        if key.startswith(_CELL):
            cells.append(decode_cell(value))
        elif key.startswith(_SEGMENT):
            (offset,) = _OFFSET.unpack_from(value)
            body = value[_OFFSET.size :]
            segments.append(WindowSegment(key.removeprefix(_SEGMENT), offset, body))
        elif key.startswith(_END):
            ended.append((int(key.removeprefix(_END)), *_OFFSET.unpack(value)))
    fold.restore(Progress(stored.last_offset, stored.sequences), cells, segments, ended)
