"""Commands that are read again after a crash are decided as they were the first time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest

from streams.fold.experiment_state import OFFSET_LIMIT, encoded_snapshot
from streams.model.errors import NewerEntryError
from streams.model.events import Command, CommandKind
from streams.model.ids import experiment_id
from streams.tallies.cell import Cell, Source
from streams.wire.cells import encode_cell
from streams.wire.commands import encode_command
from streams.wire.snapshots import decode_snapshot
from streams.worker.experiment_stage import ExperimentsStage
from streams.worker.tables import DurableTable
from tests.streams.worker.tables import put_all, table_of

TOPIC = "commands"
PARTITION, PARTITIONS = 1, 2
EXPERIMENT = 7
DEFINITION: dict[str, Any] = {
    "config": {"name": "test", "type": "ucb", "primaryMetric": "click"},
    "variants": [{"name": "a", "isControl": True}, {"name": "b"}],
}


@dataclass(frozen=True)
class Record:
    """Fields that a stage reads of aiokafka's record."""

    offset: int
    value: bytes
    topic: str = TOPIC
    partition: int = PARTITION
    timestamp: int = 0
    key: bytes | None = None


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
    stage = ExperimentsStage(TOPIC, PARTITIONS)
    first = stage.fold(TOPIC, PARTITION, batch)
    again = ExperimentsStage(TOPIC, PARTITIONS)
    again.restore(PARTITION, table_of(PARTITION, first.entries))
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
    stage = ExperimentsStage(TOPIC, PARTITIONS)
    outcome = stage.fold(TOPIC, PARTITION, records("create", "start"))
    assert not stage.answers

    stage.on_durable(TOPIC, PARTITION, outcome.answers)

    assert [answer.accepted for answer in stage.answers] == [True, True]
    assert stage.dirty == {(PARTITION, EXPERIMENT): None}


def test_records_that_are_already_published_are_folded_without_side_effects():
    stage = ExperimentsStage(TOPIC, PARTITIONS)
    outcome = stage.fold(TOPIC, PARTITION, [*records("create", "start"), Record(2, b"noise")])

    outcome.drop_side_effects()

    assert not outcome.decisions
    assert not outcome.answers
    assert not outcome.dead_letters
    assert outcome.entries.keys() == {f"e/{experiment_id(EXPERIMENT)}".encode()}
    assert [known.number for _, known in stage.all_known()] == [EXPERIMENT]


def newer_cell(offset: int) -> Any:
    """A cell in an unknown schema version."""
    value = b"\xc3\x01" + b"\x07" * 8 + b"a newer cell"
    key = f"{experiment_id(EXPERIMENT)}/impressions/3".encode()
    return Record(offset, value, topic="tallies", key=key)


def test_a_cell_of_a_newer_release_waits_in_the_table_and_is_no_dead_letter():
    stage = ExperimentsStage(TOPIC, PARTITIONS)

    outcome = stage.fold("tallies", PARTITION, [newer_cell(5)])

    key = f"n/{experiment_id(EXPERIMENT)}/impressions/3".encode()
    assert not outcome.dead_letters
    assert outcome.entries == {key: (5, newer_cell(5).value)}


def test_a_waiting_cell_is_taken_by_a_worker_that_can_read_it():
    cell = Cell(EXPERIMENT, Source.IMPRESSIONS, 3, 9, 1, 2, 0, {})
    place = f"{experiment_id(EXPERIMENT)}/impressions/3"
    table = table_of(PARTITION, {f"n/{place}".encode(): (5, encode_cell(cell))})
    stage = ExperimentsStage(TOPIC, PARTITIONS)

    stage.restore(PARTITION, table)
    outcome = stage.fold(TOPIC, PARTITION, [])

    known = stage.known(PARTITION, EXPERIMENT)
    assert known is not None
    assert list(known.cells.values()) == [cell]
    assert outcome.entries == {f"t/{place}".encode(): (9, encode_cell(cell))}
    assert outcome.forgotten == [f"n/{place}".encode()]


def test_a_cell_that_still_cannot_be_read_goes_on_waiting():
    key = f"n/{experiment_id(EXPERIMENT)}/impressions/3".encode()
    stage = ExperimentsStage(TOPIC, PARTITIONS)

    stage.restore(PARTITION, table_of(PARTITION, {key: (5, newer_cell(5).value)}))

    assert stage.fold(TOPIC, PARTITION, []).forgotten == []


@pytest.mark.parametrize(
    "key", [None, b"", b"exp_0000000000007", b"exp_0000000000007/clicks/1", b"x/impressions/1"]
)
def test_an_unknown_schema_without_a_place_is_a_dead_letter(key):
    record = replace(newer_cell(5), key=key)

    outcome = ExperimentsStage(TOPIC, PARTITIONS).fold("tallies", PARTITION, [record])

    assert [letter.code for letter in outcome.dead_letters] == ["UNKNOWN_SCHEMA"]
    assert not outcome.entries


@pytest.mark.parametrize(
    ("key", "body"),
    [
        ("e/exp_0000000000007", b'{"format": 99}'),
        ("t/exp_0000000000007/impressions/3", newer_cell(5).value),
        ("d/exp_0000000000007", b"an_action_of_tomorrow"),
    ],
)
def test_entries_of_a_newer_release_are_refused_and_not_written_over(key, body):
    stage = ExperimentsStage(TOPIC, PARTITIONS)

    with pytest.raises(NewerEntryError, match="newer release"):
        stage.restore(PARTITION, table_of(PARTITION, {key.encode(): (1, body)}))


def tombstone(offset: int) -> Any:
    return replace(newer_cell(offset), value=None)


def archived_stage() -> tuple[ExperimentsStage, DurableTable]:
    """An archived experiment with a cell, and the table of its partition."""
    stage = ExperimentsStage(TOPIC, PARTITIONS)
    cell = Cell(EXPERIMENT, Source.IMPRESSIONS, 3, 9, 1, 2, 0, {})
    key = f"{experiment_id(EXPERIMENT)}/impressions/3".encode()
    table = table_of(PARTITION)
    for topic, batch in (
        (TOPIC, records("create", "archive")),
        ("tallies", [Record(0, encode_cell(cell), topic="tallies", key=key)]),
    ):
        put_all(table, PARTITION, stage.fold(topic, PARTITION, batch).entries)
        stage.on_durable(topic, PARTITION)
    return stage, table


def test_what_has_ended_is_forgotten_but_for_the_refusal_of_commands():
    stage, table = archived_stage()
    name = experiment_id(EXPERIMENT)
    before = table.get_entry(PARTITION, f"e/{name}".encode())
    assert before is not None

    outcome = stage.fold("tallies", PARTITION, [tombstone(1)])
    stage.on_durable("tallies", PARTITION)

    assert outcome.forgotten == [f"t/{name}/impressions/3".encode(), f"d/{name}".encode()]
    assert len(outcome.entries[f"e/{name}".encode()][1]) < len(before[1]) / 4
    assert stage.ended == [name]
    assert not stage.dirty
    known = stage.known(PARTITION, EXPERIMENT)
    assert known is not None
    assert known.snapshot() is None
    command = Command(f"{9:032x}", EXPERIMENT, CommandKind.START, 9, {})
    again = stage.fold(TOPIC, PARTITION, [Record(9, encode_command(command))])
    assert [answer.code for answer in again.answers] == ["INVALID_TRANSITION"]


def test_an_experiment_that_is_not_archived_is_not_ended_by_a_tombstone():
    stage = ExperimentsStage(TOPIC, PARTITIONS)
    stage.fold(TOPIC, PARTITION, records("create", "start"))

    outcome = stage.fold("tallies", PARTITION, [tombstone(1)])

    assert (outcome.entries, outcome.forgotten, stage.ended) == ({}, [], [])


def test_the_end_of_an_experiment_survives_a_crash_with_cells_that_were_not_removed():
    stage, table = archived_stage()
    put_all(table, PARTITION, stage.fold("tallies", PARTITION, [tombstone(1)]).entries)
    again = ExperimentsStage(TOPIC, PARTITIONS)

    again.restore(PARTITION, table)
    outcome = again.fold(TOPIC, PARTITION, [])
    again.on_durable(TOPIC, PARTITION)

    name = experiment_id(EXPERIMENT)
    assert outcome.forgotten == [f"t/{name}/impressions/3".encode()]
    assert again.ended == [name]
    known = again.known(PARTITION, EXPERIMENT)
    assert known is not None
    assert known.is_ended
    assert not again.dirty


def test_a_released_partition_is_left_to_its_present_worker():
    stage, _ = archived_stage()
    left: list[str] = []
    stage.on_release = left.extend

    stage.release(PARTITION)

    assert left == [experiment_id(EXPERIMENT)]


def cell_at(last_offset: int) -> Cell:
    return Cell(EXPERIMENT, Source.OBSERVATIONS, 3, last_offset, 1, 2, 0, {})


def by_topic(stage: ExperimentsStage, offset: int, last_offset: int) -> dict[bytes, Any]:
    """Have a cell come by its topic, and return the entries that are written."""
    record: Any = Record(offset, encode_cell(cell_at(last_offset)), topic="tallies")
    outcome = stage.fold("tallies", PARTITION, [record])
    stage.on_durable("tallies", PARTITION)
    return outcome.entries


def running_stage() -> ExperimentsStage:
    stage = ExperimentsStage(TOPIC, PARTITIONS)
    stage.fold(TOPIC, PARTITION, records("create", "start"))
    stage.on_durable(TOPIC, PARTITION)
    stage.dirty.clear()
    stage.changed.clear()
    return stage


def offset_of_snapshot(stage: ExperimentsStage) -> list[int]:
    known = stage.known(PARTITION, EXPERIMENT)
    assert known is not None
    snapshot = known.snapshot()
    assert snapshot is not None
    return [place.last_offset for place in snapshot.cells]


def test_an_early_cell_is_evaluated_once_and_written_when_it_comes_by_its_topic():
    stage = running_stage()
    assert stage.take_early(cell_at(5))
    assert stage.dirty == {(PARTITION, EXPERIMENT): None}
    assert stage.changed.is_set()
    assert offset_of_snapshot(stage) == [5]
    stage.dirty.clear()

    key = f"t/{experiment_id(EXPERIMENT)}/observations/3".encode()
    assert by_topic(stage, 0, 5) == {key: (5, encode_cell(cell_at(5)))}
    assert not stage.dirty
    assert by_topic(stage, 1, 6) == {key: (6, encode_cell(cell_at(6)))}
    assert stage.dirty == {(PARTITION, EXPERIMENT): None}
    assert offset_of_snapshot(stage) == [6]


def test_of_early_cells_and_those_of_the_topic_the_newest_is_evaluated_in_any_order():
    stage = running_stage()
    stage.take_early(cell_at(5))
    stage.take_early(cell_at(4))
    by_topic(stage, 0, 3)
    assert offset_of_snapshot(stage) == [5]

    by_topic(stage, 1, 7)
    stage.dirty.clear()
    stage.take_early(cell_at(6))
    assert offset_of_snapshot(stage) == [7]
    assert not stage.dirty


def test_an_early_cell_of_an_experiment_that_is_not_here_or_has_ended_changes_nothing():
    stage, table = archived_stage()
    assert not stage.take_early(replace(cell_at(5), experiment=EXPERIMENT + 1))
    stage.release(PARTITION)
    assert not stage.take_early(cell_at(5))
    stage.restore(PARTITION, table)
    stage.fold("tallies", PARTITION, [tombstone(1)])
    stage.dirty.clear()
    stage.take_early(cell_at(5))

    assert not stage.dirty
    known = stage.known(PARTITION, EXPERIMENT)
    assert known is not None
    assert not known.early


AWAY = 1 - PARTITION


def test_commands_in_a_foreign_partition_are_dead_letters_and_make_no_twin():
    stage = running_stage()

    outcome = stage.fold(TOPIC, AWAY, records("create", "start", "conclude"))
    stage.on_durable(TOPIC, AWAY, outcome.answers)

    assert [each.code for each in outcome.dead_letters] == ["MISPLACED"] * 3
    assert (outcome.entries, outcome.decisions, outcome.answers) == ({}, [], [])
    assert [partition for partition, _ in stage.all_known()] == [PARTITION]
    assert (stage.dirty, stage.answers, stage.ended) == ({}, [], [])


@pytest.mark.parametrize("is_newer", [False, True])
def test_a_cell_in_a_foreign_partition_is_a_dead_letter_and_hides_no_experiment(is_newer):
    cell = newer_cell(5) if is_newer else Record(5, encode_cell(cell_at(5)), topic="tallies")
    stage = ExperimentsStage(TOPIC, PARTITIONS)

    outcome = stage.fold("tallies", AWAY, [cell])
    stage.fold(TOPIC, PARTITION, records("create", "start"))

    assert [each.code for each in outcome.dead_letters] == ["MISPLACED"]
    assert not outcome.entries
    assert stage.take_early(cell_at(6))
    assert (PARTITION, EXPERIMENT) in stage.dirty
    assert offset_of_snapshot(stage) == [6]


BAD_PLACES = [
    (0, OFFSET_LIMIT, "last_offset"),
    (0, 2**63 - 1, "last_offset"),
    (0, -1, "last_offset"),
    (-1, 5, "partition"),
    (-(2**31), 5, "partition"),
]
"""Partition and offset of cells that no snapshot can have, and which of them is at fault."""


@pytest.mark.parametrize(("partition", "offset", "path"), BAD_PLACES)
def test_a_cell_at_a_place_that_no_snapshot_can_have_is_a_dead_letter(partition, offset, path):
    stage = running_stage()
    cell = replace(cell_at(offset), partition=partition)
    record: Any = Record(0, encode_cell(cell), topic="tallies")

    outcome = stage.fold("tallies", PARTITION, [record])

    assert [(letter.code, letter.path) for letter in outcome.dead_letters] == [
        ("OUT_OF_RANGE", path)
    ]
    assert not outcome.entries
    assert offset_of_snapshot(stage) == []


@pytest.mark.parametrize("kind", ["t", "n"])
@pytest.mark.parametrize(("partition", "offset", "path"), BAD_PLACES)
def test_such_a_cell_of_an_earlier_release_is_removed_and_others_take_its_place(
    kind, partition, offset, path
):
    del path
    stage = ExperimentsStage(TOPIC, PARTITIONS)
    entries = dict(stage.fold(TOPIC, PARTITION, records("create", "start")).entries)
    cell = replace(cell_at(offset), partition=partition)
    key = f"{kind}/{experiment_id(EXPERIMENT)}/observations/{partition}".encode()
    table = table_of(PARTITION, {**entries, key: (offset, encode_cell(cell))})
    restored = ExperimentsStage(TOPIC, PARTITIONS)

    restored.restore(PARTITION, table)

    assert table.get_entry(PARTITION, key) is None
    assert offset_of_snapshot(restored) == []
    by_topic(restored, 1, 7)
    assert offset_of_snapshot(restored) == [7]


def test_the_snapshot_of_cells_at_their_last_places_can_be_written():
    stage = running_stage()
    for partition in range(12):
        cell = replace(cell_at(OFFSET_LIMIT - 1), partition=partition)
        record: Any = Record(partition, encode_cell(cell), topic="tallies")
        assert not stage.fold("tallies", PARTITION, [record]).dead_letters
    known = stage.known(PARTITION, EXPERIMENT)
    assert known is not None
    snapshot = known.snapshot()
    assert snapshot is not None

    assert decode_snapshot(encoded_snapshot(snapshot)).version == snapshot.version < 2**48
