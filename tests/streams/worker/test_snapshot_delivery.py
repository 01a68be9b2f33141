"""Delivery of snapshots and decisions beside the evaluations."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from streams.experiments.lifecycle import Status
from streams.model.events import CommandKind, Decision
from streams.wire.decisions import encode_decision
from streams.worker import outlets as module
from tests.patience import until_true
from tests.streams.worker.publishing import CONCLUDE, EXPERIMENT, PARTITION, command, snapshots


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
    await until_true(lambda: broker.asked)
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
    world.publisher._is_taking_over = True

    await world.publish()

    assert len(snapshots(world)) == 1
    assert world.decided() == []
