"""What the workers know of experiments: commands applied, newest cells, and what follows.

The half of the agent over `commands` and `tallies` that knows no Faust. Both topics are keyed by
experiment, so one partition number has an experiment's commands and its cells, and one table
partition its state:

| table key | true up to | value |
|---|---|---|
| `e/{experiment id}` | its last command's offset | `StoredExperiment` as JSON |
| `t/{experiment id}/{source}/{partition}` | the cell's own `hw` | the record of `tallies` |
| `d/{experiment id}` | the number of changes | the recommended action last published |
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from aiokafka.structs import ConsumerRecord

from schemas.codec import Codec
from streams.domain.errors import EngineError, EventError
from streams.domain.events import Answer, Command, Decision
from streams.domain.ids import experiment_id, experiment_number
from streams.engine.dead_letters import dead_letter
from streams.engine.journal import Outcome
from streams.engine.stored import StoredExperiment, decode_stored, encode_stored
from streams.engine.tables import DurableTable
from streams.experiments.lifecycle import Experiment, apply_command
from streams.experiments.report import evaluate
from streams.experiments.snapshot import CellPlace, RecommendedAction, Snapshot
from streams.tallies.cell import Cell, Source, merge
from streams.wire.cells import decode_cell, encode_cell
from streams.wire.commands import decode_command
from streams.wire.records import SINGLE_OBJECT

REMEMBERED_ANSWERS = 64
"""Answers kept per experiment: how many commands later a repeated one is still recognised."""

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Known:
    """All that is known of one experiment, or of the cells of one not created yet.

    Attributes:
        number: The experiment as a 64-bit number.
        hw: Offset of the last command applied.
        experiment: As the commands have left it; None before it was created.
        answers: The last answers by command id, oldest first.
        cells: Newest cell of every source partition.
        action: The recommended action last published, and how often it has changed.
    """

    number: int
    hw: int = -1
    experiment: Experiment | None = None
    answers: dict[str, Answer] = field(default_factory=dict)
    cells: dict[tuple[Source, int], Cell] = field(default_factory=dict)
    action: RecommendedAction = RecommendedAction.CONTINUE
    n_actions: int = 0

    def snapshot(self) -> Snapshot | None:
        """Return what is to be published; None before the experiment was created."""
        if self.experiment is None:
            return None
        tally = merge(self.cells.values())
        places = [CellPlace(cell.source, cell.partition, cell.hw) for cell in tally.cells]
        return evaluate(self.experiment, tally, places)


class ExperimentsStage:
    """The stage of the agent over `commands` and `tallies`.

    Args:
        commands: Name of the topic of commands; every other record is a cell.
        codec: How records are framed. Table entries are always single objects.

    Attributes:
        changed: Set when there is something in `dirty` or `answers`.
        dirty: Experiments to evaluate, by (partition, number), in order of their first change.
        answers: Answers whose commands are durable, to be published.
    """

    def __init__(self, commands: str, codec: Codec = SINGLE_OBJECT) -> None:
        self._commands = commands
        self._codec = codec
        self._known: dict[int, dict[int, Known]] = {}
        self._touched: dict[int, set[int]] = {}
        self._answered: dict[int, list[Answer]] = {}
        self._actions: dict[int, dict[bytes, tuple[int, bytes]]] = {}
        self.changed = asyncio.Event()
        self.dirty: dict[tuple[int, int], None] = {}
        self.answers: list[Answer] = []

    def known(self, partition: int, number: int) -> Known | None:
        """Return what is known of an experiment, None if its partition is somebody else's."""
        return self._known.get(partition, {}).get(number)

    def restore(self, partition: int, table: DurableTable) -> None:
        """Build the state of `partition` from its table entries; all of it is to be published."""
        known: dict[int, Known] = {}
        for key in table.entries(partition):
            entry = table.get_entry(partition, key)
            kind, _, name = key.decode().partition("/")
            if entry is None or kind not in {"e", "t", "d"}:
                continue
            _restore_entry(known, kind, name, *entry)
        self._known[partition] = known
        self._touched[partition] = set(known)

    def release(self, partition: int) -> None:
        """Forget a partition that is somebody else's now."""
        numbers = self._known.pop(partition, {})
        self._touched.pop(partition, None)
        self._answered.pop(partition, None)
        self._actions.pop(partition, None)
        for number in numbers:
            self.dirty.pop((partition, number), None)

    def fold(self, topic: str, partition: int, records: Sequence[ConsumerRecord]) -> Outcome:
        """Apply commands or take cells, and return what must become durable."""
        outcome = Outcome(events=len(records))
        outcome.entries.update(self._actions.pop(partition, {}))
        apply = self._apply_command if topic == self._commands else self._take_cell
        for record in records:
            try:
                apply(partition, record, outcome)
            except EventError as error:
                outcome.dead_letters.append(dead_letter(record, error))
        return outcome

    def settle(self, topic: str, partition: int) -> None:
        """Mark what the last batch touched for evaluation, and release its answers."""
        del topic
        for number in sorted(self._touched.pop(partition, ())):
            self.dirty[partition, number] = None
        self.answers += self._answered.pop(partition, [])
        if self.dirty or self.answers:
            self.changed.set()

    def note_action(self, partition: int, known: Known, action: RecommendedAction) -> None:
        """Remember that `action` was published; durable with the next batch of the partition."""
        known.action = action
        known.n_actions += 1
        key = f"d/{experiment_id(known.number)}".encode()
        self._actions.setdefault(partition, {})[key] = (known.n_actions, action.encode())

    def _apply_command(self, partition: int, record: ConsumerRecord, outcome: Outcome) -> None:
        command = decode_command(record.value, self._codec)
        experiments = self._known.setdefault(partition, {})
        known = experiments.get(command.experiment) or Known(command.experiment)
        answer = known.answers.get(command.command_id)
        if record.offset <= known.hw:
            # Applied before a crash that came before the batch's progress.
            if answer is not None:
                outcome.decisions.append(_decision(command, answer))
        elif answer is None:
            answer = _apply(known, command)
            outcome.decisions.append(_decision(command, answer))
            self._remember(partition, known, record.offset, answer, outcome)
        if answer is not None:
            self._answered.setdefault(partition, []).append(answer)

    def _remember(
        self, partition: int, known: Known, offset: int, answer: Answer, outcome: Outcome
    ) -> None:
        if known.experiment is None:
            return  # refused, and there is nothing to be refused otherwise another time
        known.hw = offset
        known.answers[answer.command_id] = answer
        while len(known.answers) > REMEMBERED_ANSWERS:
            del known.answers[next(iter(known.answers))]
        self._known[partition][known.number] = known
        stored = StoredExperiment(known.experiment, tuple(known.answers.values()))
        outcome.entries[f"e/{known.experiment.id}".encode()] = (offset, encode_stored(stored))
        self._touched.setdefault(partition, set()).add(known.number)

    def _take_cell(self, partition: int, record: ConsumerRecord, outcome: Outcome) -> None:
        cell = decode_cell(record.value, self._codec)
        experiments = self._known.setdefault(partition, {})
        known = experiments.setdefault(cell.experiment, Known(cell.experiment))
        place = cell.source, cell.partition
        before = known.cells.get(place)
        if before is not None and before.hw >= cell.hw:
            return
        known.cells[place] = cell
        key = f"t/{experiment_id(cell.experiment)}/{cell.source}/{cell.partition}".encode()
        # Cells are encoded canonically, so the bytes that came are those that would be written.
        is_stored_so = self._codec is SINGLE_OBJECT
        outcome.entries[key] = (cell.hw, record.value if is_stored_so else encode_cell(cell))
        self._touched.setdefault(partition, set()).add(cell.experiment)


def _apply(known: Known, command: Command) -> Answer:
    """Apply `command` to what is known, and return its answer."""
    before = known.experiment
    refusal: dict[str, str] = {}
    try:
        known.experiment = apply_command(before, command)
    except EngineError as error:
        refusal = {"code": error.code, "message": error.message, "path": error.path}
    except Exception as error:
        # One command must not stop a partition for ever, whatever is wrong with it.
        logger.exception("command %s cannot be applied", command.command_id)
        raise EventError("COMMAND_FAILED", f"{type(error).__name__}: {error}") from error
    return Answer(
        command_id=command.command_id,
        experiment=command.experiment,
        accepted=not refusal,
        version=known.experiment.version if known.experiment else 0,
        status=known.experiment.status.value if known.experiment else None,
        **refusal,
    )


def _decision(command: Command, answer: Answer) -> Decision:
    return Decision(
        experiment=command.experiment,
        kind="command",
        at_ms=command.issued_at_ms,
        version=answer.version,
        evidence={
            "commandId": command.command_id,
            "command": command.kind.value,
            "accepted": answer.accepted,
            "code": answer.code,
            "status": answer.status,
        },
    )


def _restore_entry(known: dict[int, Known], kind: str, name: str, offset: int, body: bytes) -> None:
    number = experiment_number(name.partition("/")[0])
    entry = known.setdefault(number, Known(number))
    match kind:
        case "e":
            stored = decode_stored(body)
            entry.hw = offset
            entry.experiment = stored.experiment
            entry.answers = {answer.command_id: answer for answer in stored.answers}
        case "t":
            cell = decode_cell(body)
            entry.cells[cell.source, cell.partition] = cell
        case _:
            entry.action = RecommendedAction(body.decode())
            entry.n_actions = offset
