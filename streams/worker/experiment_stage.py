"""The second stage: commands and cells become the state of experiments.

The topics `commands` and `tallies` are keyed by experiment, so one partition number has all
commands and cells of an experiment; a record in another partition is a dead letter
(`streams.wire.homes`). One table partition has the state of an experiment:

| table key | valid up to | value |
|---|---|---|
| `e/{experiment id}` | its last command's offset | `StoredExperiment` as JSON |
| `t/{experiment id}/{source}/{partition}` | the cell's `last_offset` | the record of `tallies` |
| `d/{experiment id}` | the number of changes | the recommended action last published |
| `n/{experiment id}/{source}/{partition}` | the offset of its record | a cell of a newer release, \
kept until a worker can read it |
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from aiokafka.structs import ConsumerRecord

from schemas.codec import Codec
from streams.experiments.lifecycle import Status
from streams.experiments.statistics.recommendation import RecommendedAction
from streams.fold.experiment_state import ExperimentState, check_place
from streams.fold.records import never
from streams.fold.refusals import refusal
from streams.fold.stored import decode_stored
from streams.fold.writable import check_entry
from streams.model.errors import EventError, InputError, NewerEntryError, quoted
from streams.model.events import Answer
from streams.model.ids import experiment_id, experiment_number
from streams.model.partitioning import Partition
from streams.tallies.cell import Cell, Source
from streams.wire.cells import decode_cell, encode_cell
from streams.wire.commands import decode_command
from streams.wire.homes import check_home
from streams.wire.records import SINGLE_OBJECT
from streams.worker import metrics
from streams.worker.dead_letters import dead_letter, log_failure
from streams.worker.entries import UNKNOWN_SCHEMA, readable_entry
from streams.worker.partition_processor import BatchOutcome, FoldPausedError
from streams.worker.tables import DurableTable

_TAKEN = b"t/"
_WAITING = b"n/"
_PLACE = re.compile(rb"(exp_[^/]{1,64})/([a-z]{1,16})/([0-9]{1,7})")

logger = logging.getLogger(__name__)


class ExperimentsStage:
    """The stage of the agent over `commands` and `tallies`.

    Args:
        commands: Name of the topic of commands; records of any other topic are cells.
        partitions: Number of partitions of either topic.
        codec: Decodes records. Table entries are always single objects.

    Attributes:
        changed: Set when `dirty`, `answers` or `ended` has items.
        dirty: Experiments to evaluate, by (partition, number), in order of their first change.
        answers: Answers to durable commands, to be published.
        ended: Experiments that have ended, whose snapshots are to be removed.
        on_release: Called with the experiments of a released partition.
        restorations: Number of partitions restored so far.
    """

    def __init__(self, commands: str, partitions: int, codec: Codec = SINGLE_OBJECT) -> None:
        self._commands = commands
        self._partitions = partitions
        self._codec = codec
        self._known: dict[int, dict[int, ExperimentState]] = {}
        self._touched: dict[int, set[int]] = {}
        self._actions: dict[int, dict[bytes, tuple[int, bytes]]] = {}
        self._obsolete: dict[int, list[bytes]] = {}
        self._waiting: dict[int, set[bytes]] = {}
        self._begun: dict[tuple[str, int], tuple[BatchOutcome, int]] = {}
        self._newly_ended: dict[int, list[str]] = {}
        self.changed = asyncio.Event()
        self.dirty: dict[tuple[int, int], None] = {}
        self.answers: list[Answer] = []
        self.ended: list[str] = []
        self.restorations = 0
        self.on_release: Callable[[Iterable[str]], None] = _nothing

    def known(self, partition: int, number: int) -> ExperimentState | None:
        """Return the state of an experiment; None if it is not in a partition of this worker."""
        return self._known.get(partition, {}).get(number)

    def take_early(self, cell: Cell) -> bool:
        """Evaluate with a durable cell of this process, before it has come by its topic.

        Returns:
            Whether this worker has the experiment. Else the cell is evaluated where its record is
            read.
        """
        for partition, experiments in self._known.items():
            known = experiments.get(cell.experiment)
            if known is None:
                continue
            if known.take_early(cell):
                self.dirty[partition, cell.experiment] = None
                self.changed.set()
            return True
        return False

    def restore(self, partition: int, table: DurableTable) -> None:
        """Build the state of `partition` from its table entries, and mark all of it as changed."""
        known: dict[int, ExperimentState] = {}
        newer: list[bytes] = []
        for key in tuple(table.entries(partition)):
            entry = table.get_entry(partition, key)
            kind, _, name = key.decode().partition("/")
            if entry is None or kind not in {"e", "t", "d", "n"}:
                continue
            if kind == "n":
                newer.append(key)
                continue
            with readable_entry(key):
                is_of_use = _restore_entry(known, kind, name, *entry)
            if not is_of_use:
                # At once: with its offset it would be preferred to the cell that replaces it.
                table.forget(partition, key)
        self._known[partition] = known
        self._restore_waiting(partition, table, newer)
        self._touched[partition] = {n for n, each in known.items() if not each.is_ended}
        for each in known.values():
            if each.is_ended:
                self._drop(partition, each)
        self.restorations += 1

    def _restore_waiting(self, partition: int, table: DurableTable, keys: Sequence[bytes]) -> None:
        """Apply the waiting cells that this release can read; keep the others."""
        self._waiting[partition] = set()
        for key in keys:
            entry = table.get_entry(partition, key)
            if entry is None:
                continue
            try:
                cell = decode_cell(entry[1], self._codec)
            except EventError:
                self._waiting[partition].add(key)
                continue
            if not _has_place(cell):
                table.forget(partition, key)
                continue
            known = self._known[partition].setdefault(
                cell.experiment, ExperimentState(cell.experiment)
            )
            if known.take_cell(cell):
                own = _TAKEN + key.removeprefix(_WAITING)
                self._actions.setdefault(partition, {})[own] = (cell.last_offset, encode_cell(cell))
            self._obsolete.setdefault(partition, []).append(key)
        self._count_waiting()

    def _keep_waiting(self, partition: int, record: ConsumerRecord, outcome: BatchOutcome) -> bool:
        """Keep a cell of a newer release; return False if its key does not say where it belongs."""
        place = _place_of(record.key)
        if place is None or record.value is None:
            return False
        check_home(_number_of(place), self._partition(partition))
        key = _WAITING + place
        outcome.entries[key] = (record.offset, record.value)
        self._waiting.setdefault(partition, set()).add(key)
        self._count_waiting()
        return True

    def _count_waiting(self) -> None:
        metrics.CELLS_WAITING.set(sum(map(len, self._waiting.values())))

    def release(self, partition: int) -> None:
        """Drop the state of a partition that is assigned to another worker now."""
        self._obsolete.pop(partition, None)
        self._waiting.pop(partition, None)
        numbers = self._known.pop(partition, {})
        self._touched.pop(partition, None)
        self._actions.pop(partition, None)
        for place in [place for place in self._begun if place[1] == partition]:
            del self._begun[place]
        self._newly_ended.pop(partition, None)
        for number in numbers:
            self.dirty.pop((partition, number), None)
        self.on_release([experiment_id(number) for number in numbers])

    def fold(
        self,
        topic: str,
        partition: int,
        records: Sequence[ConsumerRecord],
        is_due: Callable[[], bool] = never,
    ) -> BatchOutcome:
        """Apply commands or cells, as `Stage.fold` says."""
        outcome, begin = self._begun.pop((topic, partition), (None, 0))
        if outcome is None:
            outcome = BatchOutcome(events=len(records))
            outcome.entries.update(self._actions.pop(partition, {}))
            outcome.forgotten += self._obsolete.pop(partition, [])
        apply = self._apply_command if topic == self._commands else self._take_cell
        for record in records:
            if record.offset < begin:
                continue
            try:
                apply(partition, record, outcome)
            except Exception as error:  # noqa: BLE001 - one record must not end a process
                refused = refusal(0, error).error
                log_failure(record, refused)
                outcome.dead_letters.append(dead_letter(record, refused))
            if is_due() and record is not records[-1]:
                self._begun[topic, partition] = outcome, record.offset + 1
                raise FoldPausedError
        return outcome

    def on_durable(self, topic: str, partition: int, answers: Sequence[Answer] = ()) -> None:
        """Mark the experiments of the last batch for evaluation, and release its answers."""
        del topic
        for number in sorted(self._touched.pop(partition, ())):
            self.dirty[partition, number] = None
        self.answers += answers
        self.ended += self._newly_ended.pop(partition, [])
        if self.dirty or self.answers or self.ended:
            self.changed.set()

    def all_known(self) -> Iterator[tuple[int, ExperimentState]]:
        """Yield (partition, state) of every experiment."""
        for partition, numbers in self._known.items():
            for known in numbers.values():
                yield partition, known

    def archived(self) -> list[str]:
        """Return the ids of the archived experiments of this worker's partitions."""
        return [
            known.experiment.id
            for _, known in self.all_known()
            if known.experiment is not None and known.experiment.status is Status.ARCHIVED
        ]

    def lowered(self) -> list[str]:
        """Return the ids of running experiments whose earlier receipts may be in the log alone."""
        return [
            known.experiment.id
            for _, known in self.all_known()
            if known.experiment is not None
            and (known.experiment.lowered_version > 0 or known.experiment.has_changed)
            and known.experiment.status in {Status.RUNNING, Status.PAUSED}
        ]

    def has_holdouts(self) -> bool:
        """Return whether one of this worker's experiments is a holdout that is not archived."""
        return any(
            known.experiment is not None
            and known.experiment.definition.config.holdout is not None
            and known.experiment.status is not Status.ARCHIVED
            for _, known in self.all_known()
        )

    def touch_all(self) -> None:
        """Mark all experiments for evaluation."""
        for partition, known in self.all_known():
            if not known.is_ended:
                self.dirty[partition, known.number] = None
        if self.dirty:
            self.changed.set()

    def note_action(
        self, partition: int, known: ExperimentState, action: RecommendedAction
    ) -> None:
        """Note that `action` was published; durable with the next batch of the partition."""
        known.action = action
        known.n_actions += 1
        key = f"d/{experiment_id(known.number)}".encode()
        self._actions.setdefault(partition, {})[key] = (known.n_actions, action.encode())

    def _apply_command(self, partition: int, record: ConsumerRecord, outcome: BatchOutcome) -> None:
        command = decode_command(record.value, self._partition(partition), self._codec)
        experiments = self._known.setdefault(partition, {})
        known = experiments.get(command.experiment) or ExperimentState(command.experiment)
        taken = known.take_command(record.offset, command, self._codec)
        if taken.decision is not None:
            outcome.decisions.append(taken.decision)
        if taken.answer is not None:
            outcome.answers.append(taken.answer)
        if taken.entry is not None:
            experiments[known.number] = known
            key = f"e/{experiment_id(known.number)}".encode()
            outcome.entries[key] = (record.offset, taken.entry)
            if not known.is_ended:
                self._touched.setdefault(partition, set()).add(known.number)
        if taken.failure is not None:
            raise taken.failure

    def _partition(self, number: int) -> Partition:
        return Partition(number, self._partitions)

    def _store(self, known: ExperimentState, outcome: BatchOutcome) -> None:
        outcome.entries[f"e/{experiment_id(known.number)}".encode()] = (
            known.last_offset,
            known.entry(),
        )

    def _end(self, partition: int, place: bytes, outcome: BatchOutcome) -> None:
        """End an archived experiment, since the first stage has removed one of its cells."""
        number = _number_of(place)
        known = self._known.get(partition, {}).get(number)
        if known is None or known.archived_at_ms is None or known.is_ended:
            return
        cells = [f"{source}/{number}" for source, number in known.cells]
        known.end()
        self._store(known, outcome)
        name = experiment_id(number)
        outcome.forgotten += [f"t/{name}/{cell}".encode() for cell in cells]
        outcome.forgotten.append(f"d/{name}".encode())
        self._touched.get(partition, set()).discard(number)
        self.dirty.pop((partition, number), None)
        self._newly_ended.setdefault(partition, []).append(name)

    def _drop(self, partition: int, known: ExperimentState) -> None:
        """Remove what is left of an ended experiment after a crash."""
        name = experiment_id(known.number)
        obsolete = self._obsolete.setdefault(partition, [])
        obsolete += [f"t/{name}/{source}/{number}".encode() for source, number in known.cells]
        known.cells.clear()
        self._newly_ended.setdefault(partition, []).append(name)

    def _take_cell(self, partition: int, record: ConsumerRecord, outcome: BatchOutcome) -> None:
        if record.value is None and (place := _place_of(record.key)) is not None:
            self._end(partition, place, outcome)
            return
        try:
            cell = decode_cell(record.value, self._codec)
        except EventError as error:
            if error.code == UNKNOWN_SCHEMA and self._keep_waiting(partition, record, outcome):
                return
            raise
        check_home(cell.experiment, self._partition(partition))
        check_place(cell)
        experiments = self._known.setdefault(partition, {})
        known = experiments.get(cell.experiment) or ExperimentState(cell.experiment)
        # Cells have a canonical encoding, so the bytes received are those that would be written.
        body = record.value if self._codec is SINGLE_OBJECT else encode_cell(cell)
        check_entry(body)
        is_news = not known.has_cell(cell)
        if not known.take_cell(cell):
            return
        experiments[cell.experiment] = known
        key = f"t/{experiment_id(cell.experiment)}/{cell.source}/{cell.partition}".encode()
        outcome.entries[key] = (cell.last_offset, body)
        if is_news:
            self._touched.setdefault(partition, set()).add(cell.experiment)


def _nothing(_: Iterable[str]) -> None:
    """Do nothing."""


def _place_of(key: bytes | None) -> bytes | None:
    """Return the key of a record of `tallies` if it is a valid place of a cell."""
    found = None if key is None else _PLACE.fullmatch(key)
    if found is None or found[2].decode() not in set(Source):
        return None
    try:
        _number_of(found[0])
    except InputError:
        return None
    return found[0]


def _number_of(place: bytes) -> int:
    """Return the experiment in the key of a record of `tallies`.

    Raises:
        InputError: its id is invalid.
    """
    return experiment_number(place.partition(b"/")[0].decode())


def _restore_entry(
    known: dict[int, ExperimentState], kind: str, name: str, offset: int, body: bytes
) -> bool:
    """Restore an entry, and return whether it is of use; otherwise it is to be removed."""
    number = experiment_number(name.partition("/")[0])
    entry = known.setdefault(number, ExperimentState(number))
    match kind:
        case "e":
            stored = decode_stored(body)
            entry.last_offset = offset
            entry.experiment = stored.experiment
            entry.answers = {answer.command_id: answer for answer in stored.answers}
            entry.archived_at_ms = stored.archived_at_ms
            entry.is_ended = stored.is_ended
            entry.entries = stored.entries
        case "t":
            cell = decode_cell(body)
            if not _has_place(cell):
                return False
            entry.cells[cell.source, cell.partition] = cell
        case _:
            try:
                entry.action = RecommendedAction(body.decode())
            except ValueError as error:
                raise NewerEntryError(f"the action {quoted(body)}") from error
            entry.n_actions = offset
    return True


def _has_place(cell: Cell) -> bool:
    """Return whether a cell of an earlier release, which took any, would be taken now."""
    try:
        check_place(cell)
    except EventError as error:
        logger.warning("a cell of %s is left out: %s", experiment_id(cell.experiment), error)
        return False
    return True
