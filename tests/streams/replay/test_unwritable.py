"""Records that workers could not write are refused by a replay as well."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest

from streams.experiments.lifecycle import Status
from streams.experiments.snapshot import Snapshot
from streams.experiments.statistics.recommendation import RecommendedAction
from streams.fold import experiment_state as state_module
from streams.fold.decisions import recommended
from streams.fold.experiment_state import encoded_snapshot
from streams.fold.failed_evaluations import failed_snapshot
from streams.fold.impressions import ImpressionFolding
from streams.fold.stored import encode_stored
from streams.fold.writable import MAX_ENTRY_BYTES
from streams.kafka.records import StoredRecord
from streams.model.errors import EventError
from streams.model.events import Command, CommandKind, ImpressionBatch, ImpressionGroup
from streams.model.quantities import PROPENSITY_ONE
from streams.replay.verify import verify
from streams.tallies.cell import Cell
from streams.tallies.plan import plain
from streams.wire.batch_tags import sealer
from streams.wire.cells import decode_cell, encode_cell
from streams.wire.commands import encode_command
from streams.wire.decisions import encode_decision
from streams.wire.impressions import encode_impression_batch
from streams.wire.records import SINGLE_OBJECT
from streams.wire.snapshots import encode_snapshot
from streams.worker.emitter import CellEmitter, WrittenCell
from streams.worker.experiment_stage import ExperimentsStage
from streams.worker.partition_processor import BatchOutcome, progress_key
from streams.worker.tally_stage import TallyStage
from tests.streams.replay.memory import DEFINITION, INPUTS, KEYRING, LIMIT, NOW_MS
from tests.streams.worker.tables import put_all, table_of
from tests.streams.worker.test_experiment_stage import Record
from tests.twins.log import MemoryLog

NUMBER = 7


class Commands:
    """Commands that a worker applies, and what it logs."""

    def __init__(self) -> None:
        self.log = MemoryLog()
        self.stage = ExperimentsStage("commands", 1)

    def send(self, kind: str) -> BatchOutcome:
        payload = DEFINITION if kind == "create" else {}
        n = len(self.log.topics["commands", 0])
        value = encode_command(Command(f"{n:032x}", NUMBER, CommandKind(kind), NOW_MS, payload))
        offset = self.log.append("commands", 0, value)
        outcome = self.stage.fold("commands", 0, cast(Any, [Record(offset, value)]))
        for decision in outcome.decisions:
            self.log.append("decisions", 0, encode_decision(decision))
        return outcome

    def publish(self, snapshot: Snapshot | None = None) -> None:
        if snapshot is None:
            known = self.stage.known(0, NUMBER)
            assert known is not None
            snapshot = known.snapshot()
        assert snapshot is not None
        self.log.append("posteriors", 1, encode_snapshot(snapshot))
        if snapshot.recommended_action is not RecommendedAction.CONTINUE:
            self.log.append("decisions", 0, encode_decision(recommended(snapshot)))


def too_large(_: object) -> bytes:
    return bytes(MAX_ENTRY_BYTES + 1)


def not_at_all(_: object) -> bytes:
    raise RecursionError("maximum recursion depth exceeded")


@pytest.mark.parametrize(
    ("broken", "code"), [(too_large, "ENTRY_TOO_LARGE"), (not_at_all, "ENCODING_FAILED")]
)
def test_a_command_after_which_nothing_could_be_written_is_ignored_by_a_replay(
    monkeypatch: pytest.MonkeyPatch, broken: Callable[[object], bytes], code: str
) -> None:
    def encode(stored: Any) -> bytes:
        is_paused = stored.experiment.status is Status.PAUSED
        return broken(stored) if is_paused else encode_stored(stored)

    monkeypatch.setattr(state_module, "encode_stored", encode)
    made = Commands()
    outcomes = {kind: made.send(kind) for kind in ("create", "start", "pause", "conclude")}
    made.publish()

    report = verify(made.log, None, INPUTS)

    assert [answer.code for answer in outcomes["pause"].answers] == [code]
    assert [letter.code for letter in outcomes["pause"].dead_letters] == [code]
    assert outcomes["conclude"].answers[0].accepted
    assert report.difference is None
    assert report.commands == 3  # of four, one has no decision


def test_a_snapshot_that_is_too_large_is_a_failed_evaluation_for_a_replay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = Commands()
    made.send("create")
    made.send("start")
    known = made.stage.known(0, NUMBER)
    assert known is not None
    assert known.experiment is not None

    def refuse(_: bytes) -> None:
        raise EventError("ENTRY_TOO_LARGE", "the state would have too many bytes")

    monkeypatch.setattr(state_module, "check_entry", refuse)
    with pytest.raises(EventError) as caught:
        encoded_snapshot(cast(Snapshot, known.snapshot()))
    made.publish(failed_snapshot(known.experiment, (), caught.value, None))

    report = verify(made.log, None, INPUTS)

    assert report.difference is None
    assert report.snapshots == 1


class Emitted:
    """The emitter of a worker: its cells go to the log."""

    def __init__(self, log: MemoryLog) -> None:
        self.log = log
        self.last = -1

    def offer(self, written: WrittenCell, begin: int) -> None:
        if written.cell.last_offset > self.last:  # others are there already
            self.log.append("tallies", 1, written.body)
        self.last = max(self.last, written.cell.last_offset)

    def forget(self, *_: object) -> None:
        """A partition that goes to another worker."""


class Tallies:
    """A worker that folds impressions, and is killed."""

    def __init__(self, log: MemoryLog) -> None:
        self.table = table_of(0)
        self.emitted = Emitted(log)
        self.log = log
        self._forgotten: list[bytes] = []
        self.restart()

    def restart(self) -> None:
        folding = ImpressionFolding(SINGLE_OBJECT, KEYRING, LIMIT, plain)
        self.stage = TallyStage("impressions", folding, cast(CellEmitter, self.emitted))
        self.stage.restore(0, self.table)
        self.stage.on_durable("impressions", 0)
        self._forgotten = []

    def fold(self, *, dies_before_its_progress: bool = False) -> list[str]:
        """Append a batch of two units, fold what is new, and return the codes of dead letters."""
        n = len(self.log.topics["impressions", 0])
        columns = [PROPENSITY_ONE // 2] * 2, [2] * 2, [NOW_MS] * 2
        group = ImpressionGroup(NUMBER, False, [0, 1], *columns, [2 * n + 1, 2 * n + 2], (), ())
        batch = encode_impression_batch(ImpressionBatch(5, 0, n, [group]))
        self.log.append("impressions", 0, sealer(KEYRING)("impressions", 0, batch))
        key = progress_key("impressions", 0)
        done, _ = self.table.get_entry(0, key) or (-1, b"")
        records = self.log.topics["impressions", 0][done + 1 :]
        outcome = self.stage.fold("impressions", 0, cast(Any, [_record(each) for each in records]))
        for forgotten in self._forgotten:
            self.table.forget(0, forgotten)
        put_all(self.table, 0, outcome.entries)
        self._forgotten = outcome.forgotten
        if not dies_before_its_progress:
            self.table.put(0, key, records[-1].offset, outcome.progress)
            self.stage.on_durable("impressions", 0)
        return [letter.code for letter in outcome.dead_letters]


def _record(record: StoredRecord) -> Record:
    return Record(record.offset, cast(bytes, record.value), "impressions", 0, record.timestamp)


class Faulty:
    """An encoder of cells that fails on those after the first record while it is switched on."""

    is_broken = False

    def __call__(self, cell: Cell) -> bytes:
        if self.is_broken and cell.last_offset > 0:
            raise OverflowError("too large for a long")
        return encode_cell(cell)


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> Faulty:
    made = Faulty()
    monkeypatch.setattr("streams.worker.tally_stage.encode_cell", made)
    return made


def made(faulty: Faulty) -> Tallies:
    """Return a worker that could write the first cell and not the second."""
    worker = Tallies(MemoryLog())
    assert worker.fold() == []
    faulty.is_broken = True
    assert worker.fold() == ["ENCODING_FAILED"]
    return worker


def counted(worker: Tallies) -> int:
    """Return the units in the newest cell that was emitted, which a replay finds equal."""
    report = verify(worker.log, None, INPUTS)
    assert report.difference is None
    assert report.cells == 1
    cell = decode_cell(worker.log.topics["tallies", 1][-1].value)
    return sum(variant.units for variant in cell.variants.values())


def test_a_cell_that_can_be_written_again_has_all_of_it(faulty: Faulty) -> None:
    worker = made(faulty)
    faulty.is_broken = False

    assert worker.fold() == []

    assert counted(worker) == 6
    assert worker.fold() == []
    worker.restart()
    assert worker.fold() == []
    assert counted(worker) == 10


def test_a_cell_whose_state_was_lost_with_its_process_stands_for_good(faulty: Faulty) -> None:
    """Counting on from the one before would leave out what was folded in between."""
    worker = made(faulty)
    worker.restart()
    faulty.is_broken = False

    for _ in range(2):
        assert worker.fold() == ["ENCODING_FAILED"]
        worker.restart()

    assert counted(worker) == 2


def test_what_could_not_be_written_and_is_folded_again_is_not_lost(faulty: Faulty) -> None:
    worker = Tallies(MemoryLog())
    assert worker.fold() == []
    faulty.is_broken = True
    worker.fold(dies_before_its_progress=True)
    faulty.is_broken = False
    worker.restart()

    assert worker.fold() == []

    assert counted(worker) == 6
