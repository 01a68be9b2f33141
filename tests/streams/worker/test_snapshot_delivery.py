"""Delivery of snapshots and decisions beside the evaluations."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from streams.experiments.lifecycle import Status
from streams.experiments.snapshot import Snapshot
from streams.experiments.statistics.recommendation import RecommendedAction
from streams.fold.basis import Basis
from streams.fold.decisions import number_of
from streams.model.events import CommandKind, Decision
from streams.wire.decisions import encode_decision
from streams.wire.snapshots import encode_snapshot
from streams.worker import outlets as module
from streams.worker.outbox import Outgoing
from streams.worker.snapshot_delivery import Evaluated
from tests.patience import until_true
from tests.streams.worker.publishing import (
    CONCLUDE,
    CONTINUE,
    EXPERIMENT,
    PARTITION,
    World,
    command,
    snapshots,
)


class Broker:
    """A broker that acknowledges when it is let."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked = 0
        self.goes_on = asyncio.Event()
        self._deliver: Callable[..., Any] = vars(module)["deliver"]
        monkeypatch.setattr(module, "deliver", self.deliver)

    async def deliver(self, *args: Any) -> None:
        self.asked += 1
        await self.goes_on.wait()
        await self._deliver(*args)


async def test_evaluations_go_on_during_a_delivery_and_the_newest_follows_it(world, monkeypatch):
    broker = Broker(monkeypatch)
    delivery = asyncio.create_task(world.publisher.delivery.run())
    world.stage.touch_all()
    await world.publisher._step()
    await until_true(lambda: broker.asked)

    for offset, kind in enumerate((CommandKind.PAUSE, CommandKind.RESUME, CommandKind.PAUSE), 10):
        command(world, offset, kind, {})
        await world.publisher._step()
    assert len([each for each in world.projected.given if each.startswith("answer")]) == 3
    assert snapshots(world) == []

    broker.goes_on.set()
    await until_true(lambda: len(snapshots(world)) == 2)
    delivery.cancel()
    statuses = [each.experiment.status for each in snapshots(world)]
    assert statuses == [Status.RUNNING, Status.PAUSED]
    assert world.decided() == [("conclude_winner", 2)]


async def test_what_could_not_be_delivered_is_delivered_later_unless_it_was_replaced(
    world, monkeypatch
):
    async def away(*_: Any) -> None:
        raise TimeoutError

    world.stage.touch_all()
    await world.publisher._step()
    with monkeypatch.context() as patched:
        patched.setattr(module, "deliver", away)
        with pytest.raises(TimeoutError):
            await world.publisher.delivery.flush()
    await world.publisher.delivery.flush()
    assert len(snapshots(world)) == 1

    command(world, 10, CommandKind.PAUSE, {})
    await world.publisher._step()
    with monkeypatch.context() as patched:
        patched.setattr(module, "deliver", away)
        with pytest.raises(TimeoutError):
            await world.publisher.delivery.flush()
    command(world, 11, CommandKind.RESUME, {})
    await world.publish()

    statuses = [each.experiment.status for each in snapshots(world)]
    assert statuses == [Status.RUNNING, Status.RUNNING]
    assert world.decided() == [("conclude_winner", 2)]


@pytest.mark.parametrize("is_during", [False, True])
async def test_what_another_worker_has_meanwhile_is_not_decided_here(world, monkeypatch, is_during):
    broker = Broker(monkeypatch)
    world.stage.touch_all()
    await world.publisher._step()
    if not is_during:
        world.stage.release(PARTITION)
    flushed = asyncio.create_task(world.publisher.delivery.flush())
    await until_true(lambda: bool(broker.asked or flushed.done()))
    if is_during:
        world.stage.release(PARTITION)
    broker.goes_on.set()
    await flushed

    assert len(snapshots(world)) == is_during
    assert world.decided() == []


async def test_what_waits_at_a_take_over_is_decided_by_what_was_logged(world):
    world.stage.touch_all()
    await world.publisher._step()
    decision = Decision(EXPERIMENT, CONCLUDE.value, 1, 2)
    world.log.append("decisions", 0, encode_decision(decision))

    await world.take_over()

    assert len(snapshots(world)) == 1
    assert world.decided() == []


@pytest.mark.parametrize(
    ("commands", "version", "cells", "decided"),
    [
        (2, 2, None, 1),  # on the same state, by another release
        (2, 2, "0" * 16, 0),  # on other cells with as many records
        (2, 3, "0" * 16, 0),
        (3, 2, "0" * 16, 0),
        (2, 1, "0" * 16, 1),
        (1, 9, "0" * 16, 1),  # before the last command
    ],
)
async def test_a_worker_decides_once_its_cells_are_no_fewer_than_those_of_the_last_decision(
    world, commands, version, cells, decided
):
    """It has the version 2, of two commands and no cell; another worker has logged `continue`."""
    own = Basis.of(own_snapshot(world), world.follower.generation)
    assert (own.commands, own.version) == (2, 2)
    basis = {"commands": commands, "cells": cells or own.cells}
    evidence = {"generation": world.follower.generation, "basis": basis}
    other = RecommendedAction.CONCLUDE_NO_DIFFERENCE
    world.log.append(
        "decisions", 0, encode_decision(Decision(EXPERIMENT, other, 1, version, evidence))
    )

    await world.take_over()

    assert len(world.decided()) == decided
    assert world.known().action is (CONCLUDE if decided else other)


async def test_nothing_is_decided_between_a_restoration_and_the_reading_of_the_log(world):
    await world.step()
    [logged] = world.sent["decisions"]
    world.known().action = CONTINUE  # as restored by a worker of which the note was not durable
    world.log.append("decisions", 0, logged)
    world.stage.restorations += 1

    await world.step()
    assert (len(snapshots(world)), len(world.decisions())) == (2, 1)
    await world.take_over()

    assert len(world.decisions()) == 1
    assert world.known().logged.n_logged == 1


async def test_a_change_has_the_number_that_follows_those_that_were_logged(world):
    action = RecommendedAction.CONCLUDE_NO_DIFFERENCE
    for each in (action, action, CONTINUE):
        world.log.append("decisions", 0, encode_decision(Decision(EXPERIMENT, each, 1, 1)))

    await world.take_over()

    [decision] = world.decisions()
    assert number_of(decision) == 3  # a repetition is no change


def own_snapshot(world: World) -> Snapshot:
    snapshot = world.known().snapshot()
    assert snapshot is not None
    return snapshot


def evaluated(world: World) -> Evaluated:
    snapshot = own_snapshot(world)
    single = encode_snapshot(snapshot)
    record = Outgoing(snapshot.experiment.id.encode(), single)
    return Evaluated(PARTITION, world.known(), snapshot, single, record)
