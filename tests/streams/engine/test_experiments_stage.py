"""Commands that are read again after a crash are decided as they were the first time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from streams.domain.events import Command, CommandKind
from streams.domain.ids import experiment_id
from streams.engine.experiments_stage import ExperimentsStage
from streams.engine.tables import DurableTable
from streams.wire.commands import encode_command

TOPIC = "commands"
PARTITION = 1
EXPERIMENT = 7
DEFINITION = {
    "config": {"name": "test", "type": "ucb", "primaryMetric": "click"},
    "variants": [{"name": "a", "isControl": True}, {"name": "b"}],
}


@dataclass(frozen=True)
class Record:
    """What a stage reads of aiokafka's record."""

    offset: int
    value: bytes
    topic: str = TOPIC
    partition: int = PARTITION
    timestamp: int = 0
    key: bytes | None = None


@dataclass
class Entries:
    """A table of one partition."""

    values: dict[bytes, tuple[int, bytes]] = field(default_factory=dict)

    def entries(self, partition: int) -> Mapping[bytes, object]:
        return self.values

    def get_entry(self, partition: int, key: bytes) -> tuple[int, bytes] | None:
        return self.values.get(key)


def records(*kinds: str) -> list[Any]:
    commands = [
        Command(
            f"{n:032x}", EXPERIMENT, CommandKind(kind), n, DEFINITION if kind == "create" else {}
        )
        for n, kind in enumerate(kinds)
    ]
    return [Record(n, encode_command(command)) for n, command in enumerate(commands)]


def decided_twice(batch: list[Any]) -> tuple[list[Any], list[Any]]:
    """Fold a batch, lose everything but its table entries, and fold it again."""
    stage = ExperimentsStage(TOPIC)
    first = stage.fold(TOPIC, PARTITION, batch)
    again = ExperimentsStage(TOPIC)
    again.restore(PARTITION, cast(DurableTable, Entries(dict(first.entries))))
    return first.decisions, again.fold(TOPIC, PARTITION, batch).decisions


@pytest.mark.parametrize(
    "kinds",
    [
        ("create", "start"),
        ("create", "start", "resume", "pause", "update"),
        ("start", "archive", "create", "start", "create"),
    ],
)
def test_decisions_made_again_after_a_crash_are_the_same(kinds):
    first, again = decided_twice(records(*kinds))

    assert [decision.evidence["command"] for decision in first] == list(kinds)
    assert again == first


def test_answers_are_given_when_the_batch_is_durable_and_not_again():
    stage = ExperimentsStage(TOPIC)
    outcome = stage.fold(TOPIC, PARTITION, records("create", "start"))
    assert not stage.answers

    stage.settle(TOPIC, PARTITION, outcome.answers)

    assert [answer.accepted for answer in stage.answers] == [True, True]
    assert stage.dirty == {(PARTITION, EXPERIMENT): None}


def test_what_others_have_told_is_folded_and_not_told():
    stage = ExperimentsStage(TOPIC)
    outcome = stage.fold(TOPIC, PARTITION, [*records("create", "start"), Record(2, b"noise")])

    outcome.keep_to_itself()

    assert not outcome.decisions
    assert not outcome.answers
    assert not outcome.dead_letters
    assert outcome.entries.keys() == {f"e/{experiment_id(EXPERIMENT)}".encode()}
    assert [known.number for _, known in stage.all_known()] == [EXPERIMENT]
