"""Tally stage: folding of records, and refusal of unusable ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

from streams.fold.observations import ObservationFold, ObservationFolding
from streams.model.events import Observation
from streams.model.receipts import Keyring, Receipt
from streams.tallies.cell import Cell
from streams.tallies.plan import PLAIN, Plan, PlanMissingError, PlanOf, plain
from streams.wire.cells import decode_cell
from streams.wire.observations import encode_observation
from streams.wire.records import SINGLE_OBJECT
from streams.worker.emitter import CellEmitter, WrittenCell
from streams.worker.partition_processor import BatchOutcome
from streams.worker.tally_stage import TallyStage
from tests.streams.worker.tables import table_of

NOW_MS = 1_700_000_000_000
PARTITION = 3
TOPIC = "observations"
KEYRING = Keyring({1: bytes(range(32))})
PLANS = {
    1: PLAIN,
    2: Plan({"click": 2_000_000}),
    3: Plan({"order": 5_000_000}, (("click", "order"),)),
}


@dataclass(frozen=True)
class Record:
    """Fields that a stage reads of aiokafka's record."""

    offset: int
    value: bytes
    topic: str = TOPIC
    partition: int = PARTITION
    timestamp: int = NOW_MS
    key: bytes | None = None


@dataclass
class Emitted:
    """The newest cell of every experiment, as the second stage would have it."""

    cells: dict[int, Cell] = field(default_factory=dict)

    def offer(self, written: WrittenCell, begin: int) -> None:
        cell, body = written
        assert decode_cell(body) == cell
        before = self.cells.get(cell.experiment)
        assert before is None or before.last_offset <= cell.last_offset
        self.cells[cell.experiment] = cell

    def forget(self, source: str, partition: int) -> None:
        raise AssertionError


def stage(emitted: Emitted, plan_of: PlanOf) -> TallyStage[ObservationFold]:
    folding = ObservationFolding(SINGLE_OBJECT, KEYRING, 1_000, plan_of)
    return TallyStage(TOPIC, folding, cast(CellEmitter, emitted))


def record(offset: int, experiment: int, unit: int, event: int) -> Record:
    if event == 0:
        return Record(offset, b"poison")
    receipt = KEYRING.sign(Receipt(experiment, unit % 2, 1 << 31, 1, NOW_MS, unit, 60))
    metric = "click" if event % 2 else "order"
    observation = Observation(receipt, metric, 1_000_000 * event, f"e{event}", NOW_MS + 1)
    return Record(offset, encode_observation(observation))


def learning(
    running: TallyStage[ObservationFold], batch: list[Record], plans: dict[int, Plan]
) -> BatchOutcome:
    """Fold a batch whose plans are learned when they are missing."""
    while True:
        try:
            return running.fold(TOPIC, PARTITION, batch)
        except PlanMissingError as error:
            plans[error.experiment] = PLANS[error.experiment]


def test_what_cannot_be_used_is_a_dead_letter_with_its_bytes_once():
    running = stage(Emitted(), plain)
    running.restore(PARTITION, table_of(PARTITION))

    outcome = running.fold(
        TOPIC,
        PARTITION,
        [
            Record(0, b"poison"),
            Record(1, b'[{"assignmentId":"x","metric":"click","value":1},{"metric":"click"}]'),
        ],
    )

    assert [
        (letter.offset, letter.index, letter.value is None) for letter in outcome.dead_letters
    ] == [
        (0, 0, False),
        (1, 0, False),
        (1, 1, True),
    ]
    assert outcome.entries == {}


def test_records_refused_before_a_plan_was_missing_are_reported_once():
    plans: dict[int, Plan] = {1: PLAIN}
    running = stage(Emitted(), plans.get)
    running.restore(PARTITION, table_of(PARTITION))
    batch = [record(0, 1, 1, 0), record(1, 1, 1, 1), record(2, 2, 1, 1), record(3, 1, 1, 0)]

    outcome = learning(running, batch, plans)

    assert [letter.offset for letter in outcome.dead_letters] == [0, 3]
    assert outcome.events == 4
    assert plans.keys() == {1, 2}
