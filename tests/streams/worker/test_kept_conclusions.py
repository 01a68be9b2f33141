"""Statistics of a conclusion: the first ones are kept, once."""

from __future__ import annotations

from dataclasses import replace

from streams.experiments.lifecycle import Status
from streams.fold.decisions import conclusion
from streams.fold.experiment_state import ExperimentState
from streams.model.events import CONCLUSION, CommandKind
from streams.model.ids import experiment_id
from streams.wire.decisions import encode_decision
from streams.wire.snapshots import decode_snapshot
from streams.worker import publisher as module
from tests.streams.worker.publishing import EXPERIMENT, command, evaluated_by_itself


async def test_the_first_statistics_after_a_conclusion_are_kept_before_it_is_answered(
    world, monkeypatch
):
    monkeypatch.setattr(module, "_evaluated", evaluated_by_itself)
    await world.take_over()
    command(world, 2, CommandKind.CONCLUDE, {})

    await world.publish()
    await world.step()

    name = experiment_id(EXPERIMENT)
    [kept] = [each for each in world.decisions() if each.kind == CONCLUSION]
    concluded = decode_snapshot(kept.snapshot)
    assert concluded.experiment.status is Status.CONCLUDED
    assert (kept.version, kept.at_ms) == (concluded.version, concluded.as_of_ms)
    assert world.projected.conclusions == {name: kept.snapshot}
    given = world.projected.given
    assert given.index(f"conclusion of {name}") < given.index(f"answer to {name}")


async def test_a_worker_that_takes_over_keeps_what_was_kept_first(world, monkeypatch):
    monkeypatch.setattr(module, "_evaluated", evaluated_by_itself)
    first = conclusion(world.known().snapshot(), b"first")
    for each in (first, replace(first, snapshot=b"second")):
        world.log.append("decisions", 1, encode_decision(each))
    world.stage.restorations += 1
    command(world, 2, CommandKind.CONCLUDE, {})

    await world.publisher._step()  # before it knows the log
    await world.take_over()

    assert [each.kind for each in world.decisions()].count(CONCLUSION) == 0
    assert world.projected.conclusions == {experiment_id(EXPERIMENT): b"first"}


async def test_neither_an_inactive_generation_nor_a_failed_evaluation_is_kept(world, monkeypatch):
    monkeypatch.setattr(module, "_evaluated", evaluated_by_itself)
    snapshot = ExperimentState.snapshot
    await world.take_over()
    world.follower.is_active = False
    command(world, 2, CommandKind.CONCLUDE, {})
    await world.step()
    world.follower.is_active = True
    monkeypatch.setattr(ExperimentState, "snapshot", lambda _: 1 / 0)
    await world.step()
    assert world.projected.conclusions == {}

    monkeypatch.setattr(ExperimentState, "snapshot", snapshot)
    await world.step()

    assert len(world.projected.conclusions) == 1
