"""Experiments that cannot be evaluated or published, and commands that take effect all the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from streams.experiments.lifecycle import Status
from streams.experiments.snapshot import Snapshot
from streams.experiments.statistics.feature_use import FeatureUse
from streams.experiments.statistics.recommendation import RecommendedAction
from streams.fold.experiment_state import ExperimentState
from streams.fold.writable import MAX_ENTRY_BYTES
from streams.model.errors import DependencyError
from streams.model.events import CONCLUSION, Answer, CommandKind
from streams.model.ids import experiment_id
from streams.process.cadence import Cadence
from streams.worker import metrics, outlets
from streams.worker import publisher as module
from tests.streams.worker.publishing import (
    EXPERIMENT,
    PARTITION,
    command,
    evaluated_by_itself,
    snapshots,
)


async def test_one_that_cannot_be_evaluated_says_so_and_stops_no_other(world, monkeypatch, caplog):
    failures = metrics.EVALUATION_FAILURES._value.get()
    monkeypatch.setattr(module, "_evaluated", evaluated_by_itself)
    monkeypatch.setattr(ExperimentState, "snapshot", lambda _: 1 / 0)

    await world.step()
    await world.step()

    first, second = snapshots(world)
    assert first.failure is not None
    assert (first.failure.code, first.failure.error) == ("EVALUATION_FAILED", "ZeroDivisionError")
    assert first.failure.statistics_version == 0
    assert first == second
    assert sum(first.allocation.weights) == 65_536
    assert first.recommended_action is RecommendedAction.INVESTIGATE
    assert world.decided() == [("investigate", 2)]
    assert world.log.readings["posteriors"] == 1
    assert metrics.EVALUATION_FAILURES._value.get() == failures + 2
    assert metrics.EVALUATIONS_FAILING._value.get() == 1
    assert caplog.text.count(f"{experiment_id(EXPERIMENT)} cannot be evaluated") == 1


async def test_commands_take_visible_effect_whatever_the_statistics_do(world, monkeypatch):
    """Pause, resume, conclude with a winner and archive, with the weights that were published."""
    await world.step()
    (good,) = snapshots(world)
    monkeypatch.setattr(module, "_evaluated", evaluated_by_itself)
    monkeypatch.setattr(ExperimentState, "snapshot", lambda _: 1 / 0)
    winner = good.experiment.variant_id(1)
    steps = [
        (CommandKind.PAUSE, {}, Status.PAUSED),
        (CommandKind.RESUME, {}, Status.RUNNING),
        (CommandKind.CONCLUDE, {"winnerVariantId": winner, "controlShare": 0.05}, Status.CONCLUDED),
        (CommandKind.ARCHIVE, {}, Status.ARCHIVED),
    ]

    for offset, (kind, payload, status) in enumerate(steps, 10):
        command(world, offset, kind, payload)
        await world.publish()

        newest = snapshots(world)[-1]
        assert newest.experiment.status is status
        assert newest.failure is not None
        assert newest.failure.statistics_version == good.version
        assert newest.variants == good.variants
        if status in {Status.PAUSED, Status.RUNNING}:
            assert newest.allocation == good.allocation
            assert newest.recommended_action is RecommendedAction.INVESTIGATE
        assert world.projected.given[-1] == f"answer to {experiment_id(EXPERIMENT)}"
    assert newest.winner == 1
    assert newest.allocation.weights[0] == 3_277  # the share that the control keeps
    assert "investigate" in [kind for kind, _ in world.decided()]


async def test_one_that_can_be_evaluated_again_is_no_longer_failing(world, monkeypatch):
    evaluated = module._evaluated
    monkeypatch.setattr(module, "_evaluated", lambda _: 1 / 0)
    await world.step()
    monkeypatch.setattr(module, "_evaluated", evaluated)

    await world.step()

    assert snapshots(world)[-1].failure is None
    assert metrics.EVALUATIONS_FAILING._value.get() == 0


async def test_one_that_is_another_workers_now_is_no_longer_failing_here(world, monkeypatch):
    """Its statistics of before are not kept: the other worker may publish newer ones."""
    monkeypatch.setattr(module, "_evaluated", lambda _: 1 / 0)
    await world.step()
    assert metrics.EVALUATIONS_FAILING._value.get() == 1

    world.stage.release(PARTITION)
    await world.step()

    assert metrics.EVALUATIONS_FAILING._value.get() == 0
    assert not world.publisher._failing


async def test_a_snapshot_that_does_not_fit_its_topic_is_a_failure_with_its_own_code(
    world, monkeypatch
):
    evaluated = module._evaluated

    def large(known: ExperimentState) -> Snapshot:
        snapshot = evaluated(known)
        assert snapshot is not None
        return replace(snapshot, features=(FeatureUse("x" * (2 * MAX_ENTRY_BYTES), 0, 0),))

    monkeypatch.setattr(module, "_evaluated", large)

    await world.step()

    (found,) = snapshots(world)
    assert found.failure is not None
    assert found.failure.code == "SNAPSHOT_TOO_LARGE"


async def test_weights_are_not_replaced_while_the_last_ones_cannot_be_read(world, monkeypatch):
    monkeypatch.setattr(module, "_evaluated", lambda _: 1 / 0)
    world.log.failures.append(DependencyError("kafka", "away"))
    world.stage.answers = [Answer(f"{1:032x}", EXPERIMENT, accepted=True, version=2)]

    with pytest.raises(DependencyError):
        await world.step()

    assert world.sent.get("posteriors", []) == []
    assert world.stage.dirty
    assert len(world.stage.answers) == 1


async def test_a_conclusion_that_could_not_be_kept_is_evaluated_again_before_its_interval_is_over(
    world, monkeypatch
):
    async def away(*_: Any) -> None:
        raise TimeoutError

    monkeypatch.setattr(module, "_evaluated", evaluated_by_itself)
    await world.take_over()
    world.publisher._scheduler.cadence = Cadence(3_600.0)
    command(world, 10, CommandKind.CONCLUDE, {})
    with monkeypatch.context() as patched:
        patched.setattr(outlets, "deliver", away)
        with pytest.raises(TimeoutError):
            await world.publisher._step()
    assert world.publisher._wait_s() == 0.0

    await world.publish()

    assert snapshots(world)[-1].experiment.status is Status.CONCLUDED
    assert [each.kind for each in world.decisions()].count(CONCLUSION) == 1
