"""The commands applied again: every state of every experiment, and every decision."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from schemas import catalogue
from streams.experiments.lifecycle import Experiment
from streams.experiments.measurement_plan import plan_of
from streams.fold.experiment_state import ExperimentState
from streams.kafka.records import LogSource, StoredRecord, records_since
from streams.model.errors import EventError, ExperimentNotFoundError
from streams.model.events import Decision
from streams.model.ids import experiment_id
from streams.model.partitioning import Partition
from streams.replay.partitions import FoldInputs, LogReading
from streams.tallies.plan import Plan
from streams.wire.commands import decode_command


@dataclass(frozen=True, slots=True)
class PastState:
    """An experiment after a command.

    Attributes:
        experiment: As the command has left it.
        partition, offset: Where the command is in `commands`.
    """

    experiment: Experiment
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class CommandDecision:
    """The decision about a command.

    Attributes:
        decision: The decision.
        partition, offset: Where the command is in `commands`.
    """

    decision: Decision
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class History:
    """Experiments as the commands have left them.

    Attributes:
        states: By experiment and version: a published snapshot may be older than the last command.
        decisions: By command id. A command that is sent again after its experiment was created may
            be decided otherwise than before, so one id may have several.
    """

    states: Mapping[int, Mapping[int, PastState]]
    decisions: Mapping[str, tuple[CommandDecision, ...]]

    @property
    def plans(self) -> dict[int, Plan]:
        """Measurement plan of every experiment created, by its number: that of its start."""
        newest = {number: states[max(states)].experiment for number, states in self.states.items()}
        return {
            number: plan_of(experiment.definition, experiment.n_started)
            for number, experiment in newest.items()
        }


def history_of(reading: LogReading) -> History:
    """Return the effects of the commands in a log.

    Raises:
        LogError: the log no longer begins at its beginning.
        DependencyError: Kafka or the schema registry does not answer.
    """
    known: dict[int, ExperimentState] = {}
    states: defaultdict[int, dict[int, PastState]] = defaultdict(dict)
    decisions: defaultdict[str, tuple[CommandDecision, ...]] = defaultdict(tuple)
    for partition, record in _commands(reading):
        try:
            command = decode_command(record.value, partition, reading.codec)
        except EventError:
            continue  # a dead letter
        experiment = known.setdefault(command.experiment, ExperimentState(command.experiment))
        taken = experiment.take_command(record.offset, command)
        if taken.decision is not None:
            decisions[command.command_id] += (
                CommandDecision(taken.decision, partition.number, record.offset),
            )
        if experiment.experiment is not None:
            after = experiment.experiment
            state = PastState(after, partition.number, record.offset)
            states[after.number].setdefault(after.version, state)
    return History(dict(states), dict(decisions))


def _commands(reading: LogReading) -> Iterator[tuple[Partition, StoredRecord]]:
    for partition, records in records_since(reading, catalogue.COMMANDS.name, {}):
        for record in records:
            yield partition, record


def experiment_of(source: LogSource, inputs: FoldInputs, number: int) -> Experiment:
    """Return an experiment as the commands of the log have left it.

    Raises:
        ExperimentNotFoundError: it had not been created by then.
        LogError: the log no longer begins at its beginning.
        DependencyError: Kafka or the schema registry does not answer.
    """
    with inputs.reading(source) as reading:
        history = history_of(reading)
    states = history.states.get(number)
    if not states:
        raise ExperimentNotFoundError(experiment_id(number))
    return states[max(states)].experiment
