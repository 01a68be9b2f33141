"""Commands outside the partition of their experiment change nothing, in any reader of commands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.experiments.holdouts import HoldoutSpec, variants_of
from streams.experiments.lifecycle import Experiment
from streams.fold.holdout_copies import Coverage
from streams.fold.measurement_plans import StartedPlans
from streams.kafka.records import StoredRecord, records_since
from streams.model.events import Command, CommandKind
from streams.model.partitioning import Partition
from streams.model.receipts import Keyring
from streams.replay.history import history_of
from streams.warehouse.experiments import Experiments
from streams.webhooks.experiments import ExperimentDirectory
from streams.wire.commands import encode_command
from streams.wire.homes import home_of
from streams.wire.records import SINGLE_OBJECT
from streams.worker.experiment_stage import ExperimentsStage
from tests.streams.replay.memory import DEFINITION, INPUTS, MEASURED_DEFINITION, NOW_MS
from tests.streams.worker.test_experiment_stage import Record
from tests.twins.log import MemoryLog

TOTAL = 3
SPEC = HoldoutSpec(key="all", share=0.5)
HOLDOUT = {
    "config": DEFINITION["config"]
    | {
        "type": "bayesian_ab",
        "unit": "user",
        "attributionWindow": 0,
        "holdout": SPEC.model_dump(by_alias=True, mode="json"),
    },
    "variants": variants_of(SPEC.share),
}
DEFINITIONS = {7: DEFINITION, 8: MEASURED_DEFINITION, SPEC.number: HOLDOUT}
KINDS = [
    CommandKind.CREATE,
    CommandKind.START,
    CommandKind.PAUSE,
    CommandKind.CONCLUDE,
    CommandKind.ARCHIVE,
]


@dataclass(frozen=True)
class Sent:
    """A command, and how far from its home partition it is written."""

    number: int
    kind: CommandKind
    offset_from_home: int


Log = list[Sent]


def log_of(commands: Log, *, foreign: bool) -> MemoryLog:
    """Return a log of commands; without the foreign ones their offsets are left out."""
    log = MemoryLog()
    for partition in range(TOTAL):
        for topic in ("commands", "posteriors", "decisions"):
            assert not log.topics[topic, partition]
    for n, sent in enumerate(commands):
        partition = (home_of(sent.number, TOTAL) + sent.offset_from_home) % TOTAL
        payload = DEFINITIONS[sent.number] if sent.kind is CommandKind.CREATE else {}
        if sent.offset_from_home and not foreign:
            log.skip("commands", partition, 1)
            continue
        command = Command(f"{n:032x}", sent.number, sent.kind, NOW_MS, payload)
        log.append("commands", partition, encode_command(command), None, NOW_MS + n)
    return log


def pieces(log: MemoryLog) -> list[tuple[Partition, list[StoredRecord]]]:
    return [(partition, list(found)) for partition, found in records_since(log, "commands", {})]


def known_to_the_worker(log: MemoryLog) -> Any:
    stage = ExperimentsStage("commands", TOTAL)
    entries: dict[tuple[int, bytes], tuple[int, bytes]] = {}
    decisions: list[Any] = []
    answers: list[Any] = []
    for partition, records in pieces(log):
        batch: list[Any] = [
            Record(each.offset, each.value or b"", partition=partition.number) for each in records
        ]
        outcome = stage.fold("commands", partition.number, batch)
        entries |= {(partition.number, key): entry for key, entry in outcome.entries.items()}
        decisions += outcome.decisions
        answers += outcome.answers
    return (
        entries,
        decisions,
        answers,
        {(partition, each.number) for partition, each in stage.all_known()},
    )


def known_to_the_replay(log: MemoryLog) -> Any:
    with INPUTS.reading(log) as reading:
        return history_of(reading)


def known_to_the_copier(log: MemoryLog) -> Any:
    coverage, keyring = Coverage(), Keyring.parse(INPUTS.receipt_keys)
    for partition, records in pieces(log):
        coverage.take(partition, records, SINGLE_OBJECT, keyring)
    return coverage.since_ms, coverage.observing()


def known_to_the_fold(log: MemoryLog) -> Any:
    plans = StartedPlans()
    for partition, records in pieces(log):
        plans.take(partition, records, SINGLE_OBJECT)
    return [plans.get(number) for number in DEFINITIONS]


def known_to_the_export(log: MemoryLog) -> Any:
    with INPUTS.reading(log) as reading:
        experiments = Experiments(reading, lambda: 1)
        experiments.read_commands()
        return [experiments.plan_of(number) for number in DEFINITIONS], [
            (table.name, found.rows.to_pylist())
            for table, found in experiments.take_changes().items()
        ]


def known_to_the_webhooks(log: MemoryLog) -> Any:
    directory = ExperimentDirectory()
    for partition, records in pieces(log):
        directory.take(partition, records, SINGLE_OBJECT)
    found: list[Experiment | None] = [directory.get(number) for number in DEFINITIONS]
    return found, [directory.conclusion(f"{n:032x}") for n in range(64)]


READERS: list[Callable[[MemoryLog], Any]] = [
    known_to_the_worker,
    known_to_the_replay,
    known_to_the_copier,
    known_to_the_fold,
    known_to_the_export,
    known_to_the_webhooks,
]
COMMANDS = st.builds(
    Sent, st.sampled_from([*DEFINITIONS]), st.sampled_from(KINDS), st.sampled_from([0, 0, 1, 2])
)
HOMES = [Sent(number, kind, 0) for number in DEFINITIONS for kind in KINDS[:2]]
TWINS = [Sent(number, kind, away) for number in DEFINITIONS for kind in KINDS for away in (1, 2)]


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("commands", [[*HOMES, *TWINS], [*TWINS, *HOMES], TWINS])
def test_twins_change_nothing(reader, commands):
    assert reader(log_of(commands, foreign=True)) == reader(log_of(commands, foreign=False))


@settings(max_examples=25)  # an example folds two logs by six readers
@given(commands=st.lists(COMMANDS, max_size=24))
def test_no_command_in_a_foreign_partition_changes_anything_anywhere(commands):
    alone, beside = (log_of(commands, foreign=foreign) for foreign in (False, True))

    for reader in READERS:
        assert reader(beside) == reader(alone), reader


@pytest.mark.parametrize("reader", READERS)
def test_each_reader_sees_what_is_at_home(reader):
    assert reader(log_of(HOMES, foreign=True)) != reader(log_of([], foreign=True))
