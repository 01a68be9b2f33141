"""Large experiments, which are evaluated beside all others."""

from __future__ import annotations

import threading
from typing import Any, cast

from streams.experiments.snapshot import Snapshot
from streams.fold.experiment_state import ExperimentState
from streams.model.errors import DependencyError
from streams.model.events import Answer, Command, CommandKind
from streams.model.ids import experiment_id
from streams.wire.commands import encode_command
from streams.worker import publisher as module
from streams.worker.pacing import TimeBudget
from tests.patience import PATIENCE_S
from tests.streams.worker.publishing import EXPERIMENT, PARTITION, snapshots
from tests.streams.worker.test_experiment_stage import DEFINITION, Record


async def test_a_large_experiment_is_evaluated_rarely_and_delays_no_small_one(world, monkeypatch):
    """One evaluation takes a second; at a tenth of the time it comes every ten seconds."""
    stage = world.stage
    create = Record(11, encode_command(Command(f"{1:032x}", 1, CommandKind.CREATE, 1, DEFINITION)))
    stage.fold("commands", PARTITION, cast(Any, [create]))
    now_s = [0.0]
    evaluated = module._evaluated

    def slow(known: ExperimentState) -> Snapshot | None:
        now_s[0] += 1.0 if known.number == EXPERIMENT else 0.001
        return evaluated(known)

    monkeypatch.setattr(module, "_evaluated", slow)
    monkeypatch.setattr(module, "LARGE_EVALUATION_S", 0.25)
    world.publisher._scheduler.share = TimeBudget(0.25, 0.1, lambda: now_s[0])
    world.publisher._scheduler.idle_share = TimeBudget(0.1, 0.05, lambda: now_s[0])
    world.publisher._scheduler.large_share = TimeBudget(0.1, 0.1, lambda: now_s[0])

    for _ in range(200):
        now_s[0] += 0.1
        stage.touch_all()
        await world.publisher._step()
        if world.publisher._large_task is not None:  # its time is not that of the small one
            await world.publisher._large_task

    given = [each for each in world.projected.given if not each.startswith("answer")]
    assert given.count(experiment_id(1)) == 200
    assert 2 <= given.count(experiment_id(EXPERIMENT)) <= 4


async def test_small_ones_are_published_while_a_large_one_is_evaluated(world, monkeypatch):
    """Its command is answered after its own snapshot, and theirs do not wait for that."""
    stage, evaluated = world.stage, module._evaluated
    create = Record(11, encode_command(Command(f"{1:032x}", 1, CommandKind.CREATE, 1, DEFINITION)))
    stage.fold("commands", PARTITION, cast(Any, [create]))
    going_on = threading.Event()

    def slow(known: ExperimentState) -> Snapshot | None:
        assert known.number != EXPERIMENT or going_on.wait(PATIENCE_S)
        return evaluated(known)

    monkeypatch.setattr(module, "_evaluated", slow)
    world.publisher._large.add(EXPERIMENT)
    large, small = (experiment_id(number) for number in (EXPERIMENT, 1))
    stage.answers = [
        Answer(f"{number:032x}", number, accepted=True, version=1) for number in (EXPERIMENT, 1)
    ]

    for _ in range(3):
        await world.step()
    assert world.projected.given == [small, f"answer to {small}", small, small]
    assert (PARTITION, EXPERIMENT) in stage.dirty  # it has changed since, and comes again

    going_on.set()
    await world.publisher._large_task
    assert world.projected.given[4:] == [large, f"answer to {large}"]
    assert stage.changed.is_set()


async def test_a_large_one_whose_partition_is_lost_meanwhile_is_not_published(world, monkeypatch):
    world.publisher._large.add(EXPERIMENT)

    await world.step()
    world.stage.release(PARTITION)
    await world.publisher._large_task

    assert world.projected.given == []
    assert "posteriors" not in {topic for topic, values in world.sent.items() if values}


async def test_a_large_one_that_ends_meanwhile_is_not_published_and_its_answers_are(
    world, monkeypatch
):
    """They belong to commands that are durable, so their sender must not wait for nothing."""
    world.publisher._large.add(EXPERIMENT)
    await world.step()
    assert world.publisher._large_task is not None
    world.stage.answers = []
    world.known().archived_at_ms = 1
    world.known().end()
    await world.publisher._large_task

    assert snapshots(world) == []
    answer = Answer(f"{1:032x}", EXPERIMENT, accepted=True, version=2)
    await world.publisher._publish_large(PARTITION, world.known(), [answer])
    assert world.stage.answers == [answer]


async def test_a_large_one_that_was_cheap_is_a_small_one_again(world):
    world.publisher._large.add(EXPERIMENT)
    await world.step()
    await world.publisher._large_task

    assert EXPERIMENT not in world.publisher._large


async def test_a_large_one_is_evaluated_again_when_its_last_snapshot_cannot_be_read(
    world, monkeypatch
):
    monkeypatch.setattr(module, "_evaluated", lambda _: 1 / 0)
    world.log.failures.append(DependencyError("kafka", "away"))
    world.publisher._large.add(EXPERIMENT)
    await world.step()
    await world.publisher._large_task

    assert (PARTITION, EXPERIMENT) in world.stage.dirty
    assert world.stage.changed.is_set()
