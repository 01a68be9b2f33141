"""Cells on their way to the second stage: a large one does not delay the others."""

from __future__ import annotations

from typing import Any

import pytest

from streams.model.ids import experiment_id
from streams.process.cadence import Cadence
from streams.tallies.cell import Cell, Source
from streams.wire.cells import decode_cell, encode_cell
from streams.wire.records import SINGLE_OBJECT
from streams.worker import emitter as module
from streams.worker.emitter import CellEmitter, WrittenCell
from streams.worker.pacing import TimeBudget

LARGE, SMALL = 7, 1


def cell(experiment: int, last_offset: int, partition: int = 0) -> WrittenCell:
    voids = {f"reason-{index}": 1 for index in range(50)} if experiment == LARGE else {}
    made = Cell(experiment, Source.OBSERVATIONS, partition, last_offset, 1, 2, 0, {}, voids=voids)
    return WrittenCell(made, encode_cell(made))


@pytest.fixture
def sent(monkeypatch) -> list[Cell]:
    found: list[Cell] = []

    async def deliver(_topic: Any, records: Any, _timeout: float) -> None:
        found.extend(decode_cell(each.value) for each in records)

    monkeypatch.setattr(module, "deliver", deliver)
    return found


@pytest.fixture
def emitter(monkeypatch) -> CellEmitter:
    """An emitter for which a large cell costs a second."""
    now_s = [0.0]
    size = len(cell(LARGE, 0).body)
    monkeypatch.setattr(module, "LARGE_CELL_BYTES", size)
    monkeypatch.setattr(module, "COST_S_PER_BYTE", 1.0 / size)
    topic: Any = "tallies"
    early: list[Cell] = []
    own: set[int] = set()

    def take_early(cell: Cell) -> bool:
        early.append(cell)
        return cell.experiment in own

    made = CellEmitter(topic, SINGLE_OBJECT, lambda _: 0, take_early, interval_s=0.1, timeout_s=1.0)
    made.early, made.own = early, own  # type: ignore[attr-defined]
    made._share = TimeBudget(0.2, 0.1, lambda: now_s[0])
    made._cadence = Cadence(0.1, lambda: now_s[0])
    made._own_cadence = Cadence(0.5, lambda: now_s[0])
    made.now_s = now_s  # type: ignore[attr-defined]
    return made


async def test_a_large_cell_is_sent_rarely_and_the_others_as_often_as_they_change(emitter, sent):
    for last_offset in range(100):
        emitter.offer(cell(LARGE, last_offset))
        emitter.offer(cell(SMALL, last_offset))
        await emitter._send()
        emitter.now_s[0] += 0.1

    assert [each.last_offset for each in sent if each.experiment == SMALL] == list(range(100))
    large = [each.last_offset for each in sent if each.experiment == LARGE]
    assert 2 <= len(large) <= 5  # a second of work every five, in 10 to 13 s
    assert large == sorted(large)


async def test_large_cells_take_turns_and_the_newest_of_each_is_sent(emitter, sent):
    for last_offset in range(400):
        for partition in range(4):
            emitter.offer(cell(LARGE, last_offset, partition))
        await emitter._send()
        emitter.now_s[0] += 0.1

    assert len(sent) >= 8
    assert [each.partition for each in sent] == [index % 4 for index in range(len(sent))]
    emitter.now_s[0] += 1_000.0
    while emitter._unsent:
        await emitter._send()
        emitter.now_s[0] += 10.0
    assert {each.partition: each.last_offset for each in sent} == dict.fromkeys(range(4), 399)


async def test_a_waiting_cell_goes_with_its_partition(emitter, sent):
    emitter.offer(cell(LARGE, 1))
    await emitter._send()
    emitter.offer(cell(LARGE, 2))
    await emitter._send()
    assert emitter._unsent

    emitter.forget(Source.OBSERVATIONS, 0)

    assert not emitter._unsent


async def test_no_step_is_due_before_a_large_cell_has_its_share(emitter, sent):
    for partition in range(2):
        emitter.offer(cell(LARGE, 1, partition))
    await emitter._send()
    assert len(sent) == 1

    # A second of work, of which 0.1 s was left, at a share of 0.2.
    assert emitter._wait_s() == pytest.approx(4.5)
    emitter.offer(cell(SMALL, 1))
    assert emitter._wait_s() == 0.0
    await emitter._send()
    assert emitter._wait_s() == pytest.approx(4.5)
    emitter.now_s[0] += 4.5 + 1e-9
    assert emitter._wait_s() == 0.0
    await emitter._send()

    assert [(each.experiment, each.partition) for each in sent] == [
        (LARGE, 0),
        (SMALL, 0),
        (LARGE, 1),
    ]
    assert emitter._wait_s() is None


async def test_an_idle_cell_is_sent_at_once_and_a_busy_one_when_its_interval_is_over(emitter, sent):
    emitter.offer(cell(SMALL, 1, partition=0))
    await emitter._send()
    emitter.now_s[0] += 0.05
    emitter.offer(cell(SMALL, 2, partition=0))
    emitter.offer(cell(SMALL, 1, partition=1))
    assert emitter._wait_s() == 0.0
    await emitter._send()

    assert [(each.partition, each.last_offset) for each in sent] == [(0, 1), (1, 1)]
    emitter.offer(cell(SMALL, 3, partition=0))
    wait_s = emitter._wait_s()
    assert wait_s == pytest.approx(0.05)
    emitter.now_s[0] += wait_s + 1e-9
    await emitter._send()
    assert [(each.partition, each.last_offset) for each in sent][2:] == [(0, 3)]
    assert emitter._wait_s() is None


async def test_cells_that_were_not_sent_are_sent_later_the_newest_of_each(
    emitter, sent, monkeypatch
):
    async def away(*_: Any) -> None:
        raise TimeoutError

    with monkeypatch.context() as patched:
        patched.setattr(module, "deliver", away)
        emitter.offer(cell(SMALL, 1, partition=0))
        emitter.offer(cell(SMALL, 1, partition=1))
        with pytest.raises(TimeoutError):
            await emitter._send()
    emitter.offer(cell(SMALL, 2, partition=0))
    assert emitter._wait_s() == 0.0
    await emitter._send()

    assert sorted((each.partition, each.last_offset) for each in sent) == [(0, 2), (1, 1)]


@pytest.mark.parametrize("experiment", [SMALL, LARGE])
async def test_what_moves_or_ends_during_a_delivery_that_fails_is_not_sent_again(
    emitter, monkeypatch, experiment
):
    """Another worker may have written newer cells of the place, or the end of the experiment."""
    delivered: list[tuple[bytes, bool]] = []

    async def fails(_topic: Any, records: Any, _timeout: float) -> None:
        next(records)
        emitter.forget(Source.OBSERVATIONS, 0)
        emitter.remove(experiment, Source.OBSERVATIONS, 1)
        list(records)
        raise TimeoutError

    async def succeeds(_topic: Any, records: Any, _timeout: float) -> None:
        delivered.extend((each.key, each.value is None) for each in records)

    emitter.remove(2, Source.OBSERVATIONS, 0)
    for partition in range(3):
        emitter.offer(cell(experiment, 1, partition))
    with monkeypatch.context() as patched:
        patched.setattr(module, "deliver", fails)
        with pytest.raises(TimeoutError):
            await emitter._send()
    monkeypatch.setattr(module, "deliver", succeeds)
    emitter.now_s[0] += 1_000.0
    await emitter._send()

    name = experiment_id(experiment)
    assert delivered == [
        (f"{name}/observations/2".encode(), False),
        (f"{name}/observations/1".encode(), True),
    ]
    assert emitter._wait_s() is None


async def test_a_partition_was_sent_up_to_what_its_unsent_cells_lack(emitter, sent, monkeypatch):
    """Worked by hand: each cell waits from the first offset that its place was not sent with."""
    until = [Source.OBSERVATIONS, 0]
    emitter.offer(cell(SMALL, 5), begin=0)
    assert emitter.sent_until(*until) == 0
    await emitter._send()
    assert emitter.sent_until(*until) is None

    emitter.offer(cell(SMALL, 9), begin=6)
    emitter.offer(cell(2, 12), begin=10)
    emitter.offer(cell(SMALL, 12), begin=10)
    emitter.offer(cell(SMALL, 3, partition=1), begin=2)
    assert (emitter.sent_until(*until), emitter.sent_until(Source.OBSERVATIONS, 1)) == (6, 2)
    emitter.remove(SMALL, Source.OBSERVATIONS, 0)
    assert emitter.sent_until(*until) == 10
    emitter.forget(*until)
    assert (emitter.sent_until(*until), emitter.sent_until(Source.OBSERVATIONS, 1)) == (None, 2)
    assert emitter.sent_until(Source.IMPRESSIONS, 0) is None


async def test_a_cell_that_is_replaced_while_it_is_sent_waits_behind_what_was_sent(
    emitter, monkeypatch
):
    async def replaced(_topic: Any, records: Any, _timeout: float) -> None:
        list(records)
        emitter.offer(cell(SMALL, 8), begin=6)

    monkeypatch.setattr(module, "deliver", replaced)
    emitter.offer(cell(SMALL, 5), begin=3)

    await emitter._send()

    assert emitter.sent_until(Source.OBSERVATIONS, 0) == 6
    assert emitter._unsent[SMALL, Source.OBSERVATIONS, 0].cell.last_offset == 8


async def test_a_large_cell_that_waits_for_its_share_was_not_sent(emitter, sent):
    emitter.offer(cell(LARGE, 1), begin=1)
    await emitter._send()
    emitter.offer(cell(LARGE, 2), begin=2)
    emitter.now_s[0] += 1.0
    await emitter._send()

    assert emitter.sent_until(Source.OBSERVATIONS, 0) == 2


async def test_every_cell_is_taken_early_also_those_that_a_newer_one_replaces(emitter):
    for last_offset in (1, 2):
        emitter.offer(cell(SMALL, last_offset))

    assert [each.last_offset for each in emitter.early] == [1, 2]


async def test_a_cell_that_is_evaluated_here_is_sent_at_once_and_then_less_often(emitter, sent):
    emitter.own.add(SMALL)
    for last_offset in range(20):
        emitter.offer(cell(SMALL, last_offset))
        emitter.offer(cell(SMALL + 1, last_offset))
        await emitter._send()
        emitter.now_s[0] += 0.1

    assert [each.last_offset for each in sent if each.experiment == SMALL + 1] == list(range(20))
    own = [each.last_offset for each in sent if each.experiment == SMALL]
    assert own[:2] == [0, 5]
    assert len(own) == 4
    emitter.now_s[0] += 1.0
    assert emitter._wait_s() == 0.0
    await emitter._send()
    assert sent[-1].last_offset == 19


async def test_a_cell_whose_experiment_moves_to_another_worker_is_sent_as_often_as_others(
    emitter, sent
):
    emitter.own.add(SMALL)
    emitter.offer(cell(SMALL, 1))
    await emitter._send()
    emitter.now_s[0] += 0.1
    emitter.own.clear()
    emitter.offer(cell(SMALL, 2))
    await emitter._send()

    assert [each.last_offset for each in sent] == [1, 2]


async def test_the_bytes_of_the_entry_are_sent_and_no_cell_is_encoded_again(emitter, sent):
    written = cell(SMALL, 5)
    record = emitter._record(written)

    assert record.value is written.body
