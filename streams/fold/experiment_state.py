"""State of an experiment from the records of `commands` and `tallies`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from schemas.codec import Codec
from streams.analysis.evaluate import evaluate
from streams.experiments.exposure import WINDOWS_BY_EXPOSURE, Exposure
from streams.experiments.history import HistoryEntry, command_entry, with_entry
from streams.experiments.lifecycle import Experiment, ended
from streams.experiments.snapshot import CellPlace, Snapshot
from streams.experiments.statistics.recommendation import RecommendedAction
from streams.experiments.transitions import apply_command
from streams.fold.action_history import NOTHING_LOGGED, ActionHistory
from streams.fold.decisions import answered
from streams.fold.stored import StoredExperiment, encode_stored
from streams.fold.writable import check_entry, encoding_failed, entry_of
from streams.model.command_ids import reuses_key
from streams.model.errors import EngineError, EventError, InputError, quoted
from streams.model.events import Answer, Command, CommandKind, Decision
from streams.tallies.cell import Cell, Source
from streams.tallies.merging import merge
from streams.wire.decisions import encode_decision
from streams.wire.records import INT_LIMIT, SINGLE_OBJECT, check_range
from streams.wire.snapshots import encode_snapshot

REMEMBERED_ANSWERS = 64
"""Answers kept per experiment: a repeated command is recognised among this many. The answer to the
creation is always kept."""

OFFSET_LIMIT = 1 << 44
"""Offsets of a partition are below it, 1.8e13 records. The version of a snapshot is a sum of them,
and with the cells of a dozen partitions still one that impressions can have."""

IDEMPOTENCY_KEY_REUSED = "IDEMPOTENCY_KEY_REUSED"

COMMAND_FAILED = "COMMAND_FAILED"
"""Code of a command that failed because of an internal error, not because of its sender."""


@dataclass(slots=True)
class ExperimentState:
    """State of one experiment, or the cells of one that has not been created yet.

    Attributes:
        number: The experiment as a 64-bit number.
        last_offset: Offset of the last command applied.
        experiment: State after its commands; None before the creation.
        answers: The last answers by command id, oldest first.
        cells: Newest cell of every source partition, of those that have come by `tallies`.
        early: Newer ones that were counted in this process, and are still on their way.
        action: The last published recommended action, and its number of changes.
        archived_at_ms: When it was archived; None before.
        is_ended: Whether its end was logged; then only commands are refused and all else is
            dropped.
        entries: History of its commands but for ticks, oldest first, within its bounds.
        logged: Its recommended actions in `decisions`.
    """

    number: int
    last_offset: int = -1
    experiment: Experiment | None = None
    answers: dict[str, Answer] = field(default_factory=dict)
    cells: dict[tuple[Source, int], Cell] = field(default_factory=dict)
    early: dict[tuple[Source, int], Cell] = field(default_factory=dict)
    action: RecommendedAction = RecommendedAction.CONTINUE
    n_actions: int = 0
    archived_at_ms: int | None = None
    is_ended: bool = False
    entries: tuple[HistoryEntry, ...] = ()
    logged: ActionHistory = NOTHING_LOGGED

    def snapshot(self) -> Snapshot | None:
        """Return the snapshot to publish; None before its creation and after its end."""
        if self.experiment is None or self.is_ended:
            return None
        return snapshot_of(self.experiment, self.newest_cells())

    def newest_cells(self) -> Iterable[Cell]:
        """Return the newest cell of every source partition."""
        return (self.cells | self.early).values()

    def has_cell(self, cell: Cell) -> bool:
        """Return whether the newest cell of its place includes a cell."""
        place = cell.source, cell.partition
        newest = self.early.get(place) or self.cells.get(place)
        return newest is not None and newest.last_offset >= cell.last_offset

    def take_early(self, cell: Cell) -> bool:
        """Use a cell that is durable where it was counted; return whether it is the newest."""
        if self.is_ended or self.has_cell(cell):
            return False
        self.early[cell.source, cell.partition] = cell
        return True

    def take_cell(self, cell: Cell) -> bool:
        """Keep a cell if it is newer than the current one of its place; return whether it is."""
        if self.is_ended:
            return False
        place = cell.source, cell.partition
        before = self.cells.get(place)
        if before is not None and before.last_offset >= cell.last_offset:
            return False
        self.cells[place] = cell
        early = self.early.get(place)
        if early is not None and early.last_offset <= cell.last_offset:
            del self.early[place]
        return True

    def due_at_ms(self, keep_ms: int) -> int | None:
        """Return when an archived experiment may end; None if it may not, or has ended.

        Args:
            keep_ms: Retention time after its last attribution window has ended.
        """
        if self.archived_at_ms is None or self.experiment is None or self.is_ended:
            return None
        config = self.experiment.definition.config
        windows = WINDOWS_BY_EXPOSURE if config.exposure is Exposure.EVENT else 1
        window_s = windows * config.attribution_window
        return self.archived_at_ms + window_s * 1000 + keep_ms

    def matures_at_ms(self) -> int | None:
        """Return when the conversion windows of all counted units are over; None if they are.

        At that time all units mature that are immature by the newest event and tick.
        """
        if self.experiment is None or self.is_ended:
            return None
        events_ms = (cell.last_at_ms for cell in self.cells.values())
        now_ms = max(self.experiment.clock_ms, *events_ms, 0)
        ends_ms = (cohort.over_at_ms for cell in self.cells.values() for cohort in cell.cohorts)
        latest_ms = max(ends_ms, default=0)
        return latest_ms if latest_ms > now_ms else None

    def end(self) -> None:
        """Drop all state except what is needed to refuse further commands."""
        assert self.experiment is not None  # noqa: S101 - only an archived one ends
        found = self.experiment
        self.experiment = ended(found.number, found.status, found.version, found.created_at_ms)
        self.is_ended = True
        self.cells.clear()
        self.early.clear()
        self.answers.clear()
        self.entries, self.logged = (), NOTHING_LOGGED

    def copy(self) -> ExperimentState:
        """Return a copy that commands do not change."""
        return replace(
            self, answers=dict(self.answers), cells=dict(self.cells), early=dict(self.early)
        )

    def history(self) -> tuple[HistoryEntry, ...]:
        """Return its commands and recommended actions, oldest first."""
        return tuple(sorted((*self.entries, *self.logged.entries), key=lambda each: each.at_ms))

    def entry(self) -> bytes:
        """Return the table entry of a created experiment.

        Raises:
            EventError: it cannot be written, see `streams.fold.writable`.
        """
        assert self.experiment is not None  # noqa: S101 - of others there is no entry
        stored = StoredExperiment(
            self.experiment,
            tuple(self.answers.values()),
            self.archived_at_ms,
            self.is_ended,
            self.entries,
        )
        return entry_of(encode_stored, stored)

    def _adopt(self, after: ExperimentState) -> None:
        """Adopt the state of a copy to which a command was applied."""
        self.last_offset, self.experiment, self.answers = (
            after.last_offset,
            after.experiment,
            after.answers,
        )
        self.archived_at_ms, self.is_ended = after.archived_at_ms, after.is_ended
        self.entries = after.entries

    def _refuse(self, command: Command, error: EventError) -> Answer:
        """Return the answer to a command without effect."""
        return Answer(
            command_id=command.command_id,
            experiment=command.experiment,
            accepted=False,
            version=self.experiment.version if self.experiment else 0,
            status=self.experiment.status.value if self.experiment else None,
            code=error.code,
            message=error.message,
            path=error.path,
        )

    def take_command(
        self, offset: int, command: Command, codec: Codec = SINGLE_OBJECT
    ) -> CommandResult:
        """Apply the command at `offset`, unless that was done before.

        A command that fails because of an internal error, or whose result cannot be written,
        changes nothing and is refused: see `CommandResult.failure`.

        Args:
            offset: Its place in its partition.
            command: The command.
            codec: Framing of its decision.
        """
        after = self.copy()
        try:
            answer, decision, is_changed = after._take(offset, command)  # noqa: SLF001 - same class
            if decision is not None:
                encode_decision(decision, codec)
            entry = after.entry() if is_changed else None
        except Exception as error:  # noqa: BLE001 - one command must not stop a partition forever
            failure = error if isinstance(error, EventError) else encoding_failed(error)
            return CommandResult(self._refuse(command, failure), None, None, failure)
        if entry is not None:
            self._adopt(after)
        return CommandResult(answer, decision, entry)

    def _take(self, offset: int, command: Command) -> tuple[Answer | None, Decision | None, bool]:
        """Apply a command; return its answer, its decision, and whether anything has changed."""
        answer = self.answers.get(command.command_id)
        if offset <= self.last_offset:
            # Applied before a crash that came before the batch's progress.
            if answer is None and len(self.answers) < REMEMBERED_ANSWERS:
                # Answers are never dropped, so this command preceded the creation, in the same
                # batch.
                answer = ExperimentState(self.number)._apply(command)  # noqa: SLF001 - same class
            decision = None if answer is None else answered(command, answer)
            return answer, decision, False
        if answer is not None:
            return answer, None, False
        before = self.experiment
        answer = self._apply(command)
        # Before the creation, the refusal does not depend on state, so no answer is kept.
        is_changed = self.experiment is not None
        if is_changed and not self.is_ended and command.kind is not CommandKind.TICK:
            entry = command_entry(command, answer, before, self.experiment)
            self.entries = with_entry(self.entries, entry)
        if is_changed:
            self.last_offset = offset
            self.answers[answer.command_id] = answer
            if len(self.answers) > REMEMBERED_ANSWERS:
                del self.answers[_oldest_to_forget(self.answers)]
        return answer, answered(command, answer), is_changed

    def _apply(self, command: Command) -> Answer:
        refusal: dict[str, str] = {}
        try:
            self._check_key(command)
            self.experiment = apply_command(self.experiment, command)
        except EngineError as error:
            refusal = {"code": error.code, "message": error.message, "path": error.path}
        except Exception as error:
            # No command may block its partition, whatever is wrong with it.
            raise failed(error) from error
        else:
            if command.kind is CommandKind.ARCHIVE:
                self.archived_at_ms = command.issued_at_ms
        return Answer(
            command_id=command.command_id,
            experiment=command.experiment,
            accepted=not refusal,
            version=self.experiment.version if self.experiment else 0,
            status=self.experiment.status.value if self.experiment else None,
            **refusal,
        )

    def _check_key(self, command: Command) -> None:
        earlier = (
            name for name, answer in self.answers.items() if answer.code != IDEMPOTENCY_KEY_REUSED
        )
        if reuses_key(command.command_id, earlier):
            raise InputError(
                IDEMPOTENCY_KEY_REUSED,
                "this key was sent before with another body; a new request needs a new key",
                "Idempotency-Key",
            )


def _oldest_to_forget(answers: Mapping[str, Answer]) -> str:
    """Return the oldest answer except that of the creation, the only one of version 1."""
    return next(name for name, answer in answers.items() if answer.version != 1 or answer.code)


def failed(error: Exception) -> EventError:
    """Return the error of a command that failed because of an internal error."""
    return EventError(COMMAND_FAILED, f"{type(error).__name__}: {quoted(str(error))}")


@dataclass(frozen=True, slots=True)
class CommandResult:
    """Result of a command.

    Attributes:
        answer: The answer to its sender; None if it is no longer kept.
        decision: Record for the log of decisions; None if it is already logged.
        entry: Table entry of the experiment; None without changes.
        failure: Fault of the engine, not of the sender; None without one.
            `COMMAND_FAILED` (with its cause), or as in `streams.fold.writable`.
    """

    answer: Answer | None
    decision: Decision | None
    entry: bytes | None
    failure: EventError | None = None


def check_place(cell: Cell) -> None:
    """Refuse a cell at a place that no snapshot can have.

    With it, the snapshot of its experiment could not be encoded or not be read, whatever else is in
    it, and no command to the experiment would be answered.

    Raises:
        EventError: its partition or offset is out of bounds (`OUT_OF_RANGE`).
    """
    check_range(cell.partition, 0, INT_LIMIT, "partition")
    check_range(cell.last_offset, 0, OFFSET_LIMIT, "last_offset")


def snapshot_of(experiment: Experiment, cells: Iterable[Cell]) -> Snapshot:
    """Return the snapshot of an experiment with the newest of these cells."""
    tally = merge(cells, experiment.clock_ms)
    places = [CellPlace(cell.source, cell.partition, cell.last_offset) for cell in tally.cells]
    return evaluate(experiment, tally, places)


def encoded_snapshot(snapshot: Snapshot) -> bytes:
    """Return the bytes of a snapshot.

    Raises:
        EventError: it is larger than its topic allows (`ENTRY_TOO_LARGE`).
        Exception: it cannot be encoded.
    """
    body = encode_snapshot(snapshot)
    check_entry(body)
    return body
