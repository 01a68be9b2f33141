"""Decisions of the active generation, on its state and on what was logged before it."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from streams.experiments.history import entries_of
from streams.fold.action_history import NOTHING_LOGGED
from streams.model.errors import DependencyError
from streams.model.events import CommandKind, Decision
from streams.model.partitioning import SOLE_PARTITION
from streams.wire.commands import decode_command
from streams.wire.decisions import encode_decision
from streams.worker import take_over as module
from tests.patience import until_true
from tests.streams.worker.publishing import CONCLUDE, CONTINUE, EXPERIMENT, snapshots


async def test_a_history_has_the_logged_actions_also_after_a_take_over(world):
    await world.step()
    known = world.known()
    kinds = [entry.kind for entry in known.history()]
    assert kinds == ["create", "start", "recommendation"]
    assert known.history()[-1].author == "evaluation"
    (record,) = world.projected.histories.values()
    assert entries_of(record.payload) == known.history()
    assert record.version == (known.last_offset, 1)

    known.logged = NOTHING_LOGGED  # as of a worker that has just got the partition
    await world.take_over()
    assert entries_of(world.projected.histories[record.experiment_id].payload)[:3] == entries_of(
        record.payload
    )


async def test_an_inactive_generation_publishes_and_decides_nothing(world):
    world.follower.is_active = False

    await world.step()

    assert len(world.sent["posteriors"]) == 1
    assert world.sent.keys() == {"posteriors"}
    assert world.known().action is CONCLUDE  # as if it had


async def test_the_active_generation_decides_once_and_says_which_it_is(world):
    await world.step()
    await world.step()

    assert world.decided() == [("conclude_winner", 2)]
    [sent] = world.sent["commands"]
    promotion = decode_command(sent, SOLE_PARTITION)
    assert promotion.kind is CommandKind.CONCLUDE
    assert world.log.readings["decisions"] == 0


async def test_without_the_right_to_write_commands_all_but_the_promotion_goes_on(world):
    may = [False]
    delivery = world.publisher.delivery
    delivery._outlets = replace(delivery._outlets, may_command=lambda: may[0])

    await world.step()
    assert world.decided() == [("conclude_winner", 2)]
    assert "commands" not in world.sent

    may[0] = True
    await world.step()
    assert len(world.sent["commands"]) == 1


@pytest.mark.parametrize(("was_logged", "decided"), [(False, [("conclude_winner", 2)]), (True, [])])
async def test_what_is_due_at_a_take_over_is_logged_and_no_more(world, was_logged, decided):
    world.follower.is_active = False
    await world.step()
    world.follower.is_active = True
    if was_logged:  # by the generation that was active before
        decision = Decision(EXPERIMENT, CONCLUDE.value, 1, 2)
        world.log.append("decisions", 0, encode_decision(decision))

    await world.take_over()
    await world.step()

    assert world.decided() == decided
    assert len(world.sent["commands"]) == 1  # a second one is recognized by its id


async def test_a_worker_that_gets_a_partition_looks_what_was_logged_before(world, monkeypatch):
    monkeypatch.setattr(module, "READS_S", (0.0,))
    await world.step()
    assert world.decided() == [("conclude_winner", 2)]
    world.known().action = CONTINUE  # the note of it was lost
    world.stage.restorations += 1

    taking_over = asyncio.create_task(world.publisher.take_over.run())
    await until_true(lambda: world.publisher.take_over.is_note_due)
    await world.step()
    await world.step()
    taking_over.cancel()

    assert world.decided() == [("conclude_winner", 2)]


async def test_a_take_over_that_cannot_read_the_log_is_not_over(world):
    await world.publisher.take_over.read_ahead()
    world.log.failures.append(DependencyError("kafka", "away"))
    with pytest.raises(DependencyError):
        await world.step()

    assert world.publisher.take_over.is_note_due
    assert world.stage.dirty


async def test_a_log_that_cannot_be_read_is_read_again_and_delays_no_snapshot(
    world, monkeypatch, caplog
):
    for pause in ("RETRY_S", "LOOK_S"):
        monkeypatch.setattr(module, pause, 0.001)
    monkeypatch.setattr(module, "READS_S", (0.0,))
    world.stage.restorations += 1
    world.log.failures += [DependencyError("kafka", "away")] * 3
    await world.step()
    assert (len(snapshots(world)), world.decided()) == (1, [])

    taking_over = asyncio.create_task(world.publisher.take_over.run())
    await until_true(lambda: world.publisher.take_over.is_note_due)
    await world.publish()
    taking_over.cancel()

    assert world.decided() == [("conclude_winner", 2)]
    assert len(caplog.messages) == 3


async def test_a_partition_that_comes_during_a_take_over_begins_another(world, monkeypatch):
    """Two readings after each, the second far away; hand-counted."""
    monkeypatch.setattr(module, "LOOK_S", 0.001)
    monkeypatch.setattr(module, "READS_S", (0.0, 3_600.0))
    taking_over = asyncio.create_task(world.publisher.take_over.run())
    for _ in range(2):
        world.stage.restorations += 1
        await until_true(lambda: world.publisher.take_over.is_note_due)
        await world.publish()
        assert world.publisher.take_over.is_informed
    taking_over.cancel()
