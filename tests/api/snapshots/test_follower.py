"""Every experiment in memory: the newest known, with Redis and without."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from api.snapshots import follower as module
from api.snapshots.cache import ExperimentCache
from api.snapshots.follower import SnapshotFollower
from streams.experiments.definition import parse_definition
from streams.experiments.lifecycle import Experiment, Status
from streams.experiments.snapshot import Snapshot
from streams.experiments.statistics.failure import Failure, FailureCode
from streams.model.errors import (
    DependencyError,
    EngineError,
    ExperimentNotFoundError,
    ExperimentNotRunningError,
)
from streams.model.generations import FIRST, Generations
from streams.model.ids import experiment_id
from streams.process.background import BackgroundTasks
from streams.process.cadence import Cadence
from streams.projection.reader import ProjectedSnapshots
from streams.projection.writer import SnapshotRecord
from streams.receipt_keys import ReceiptKeys
from streams.settings import Settings
from tests.api.memory import definition, snapshot_of
from tests.patience import patience
from tests.twins.projection import MemoryProjection


def snapshot(number: int = 1, version: int = 2, status: Status = Status.RUNNING) -> Snapshot:
    parsed = parse_definition(**definition())  # type: ignore[arg-type]
    return snapshot_of(Experiment(number, parsed, status, 2, number, 2, 2), version)


def switch(redis: MemoryProjection, *snapshots: Snapshot) -> None:
    """Have another generation served, which has these snapshots."""
    for each in snapshots:
        redis.put(each, generation=2)
    redis.point(Generations(active=2, epoch=3))


def test_an_older_snapshot_never_replaces_a_newer_one() -> None:
    experiments = ExperimentCache()
    newer = snapshot(version=5)

    assert experiments.put(newer)
    assert not experiments.put(snapshot(version=4))
    assert not experiments.put(snapshot(version=5, status=Status.PAUSED))

    assert experiments.snapshot(newer.experiment.id) is newer


@pytest.mark.parametrize("is_announced", [True, False])
async def test_a_command_is_seen_although_fewer_cells_are_behind_it(is_announced) -> None:
    redis = MemoryProjection()
    experiments = ExperimentCache()
    follower = SnapshotFollower(redis.reader(), experiments, 3_600.0)
    counted = snapshot(version=1403)
    paused = replace(
        snapshot(version=1004),
        experiment=replace(counted.experiment, status=Status.PAUSED, version=3),
    )
    redis.put(counted)
    await follower.sweep()

    if is_announced:
        following = BackgroundTasks(pytest.fail)
        follower.follow(following)
        await until(lambda: redis._subscribers)
        redis.put(paused)
        await until(lambda: experiments.snapshot(paused.experiment.id).version == 1004)
        await following.stop()
    else:
        redis.put(paused)
        await follower.sweep()

    redis.put(counted)  # late
    await follower.sweep()
    assert experiments.snapshot(paused.experiment.id) == paused


@pytest.mark.parametrize("is_announced", [True, False])
async def test_statistics_replace_a_failed_evaluation_of_the_same_version(is_announced) -> None:
    """As they are announced, or by the next sweep; and never the other way round."""
    mended = snapshot(version=5)
    name = mended.experiment.id
    failed = replace(mended, failure=Failure(FailureCode.EVALUATION_FAILED, "ZeroDivisionError", 0))
    redis = MemoryProjection()
    experiments = ExperimentCache()
    follower = SnapshotFollower(redis.reader(), experiments, 1.0)
    assert experiments.put(failed)

    if is_announced:
        following = BackgroundTasks(pytest.fail)
        follower.follow(following)
        await until(lambda: follower.age_s is not None)
        redis.put(mended)
        await until(lambda: experiments.snapshot(name).failure is None)
        await following.stop()
    else:
        redis.put(mended)
        await follower.sweep()

    assert experiments.snapshot(name).failure is None
    assert not experiments.put(failed)


async def test_before_everything_was_read_nothing_is_said_not_to_exist(monkeypatch) -> None:
    reader = MemoryProjection().reader()
    experiments = ExperimentCache()
    follower = SnapshotFollower(reader, experiments, 1.0)
    newer, heard = reader.newer, follower._heard_at_s

    async def away(known) -> ProjectedSnapshots:
        raise DependencyError("redis", "away")

    reader.newer = away  # type: ignore[method-assign]
    monkeypatch.setattr(module, "RECONNECT_S", 0.01)
    following = BackgroundTasks(pytest.fail)
    follower.follow(following)
    await until(lambda: follower._heard_at_s != heard)  # it is subscribed

    assert follower.age_s is None
    with pytest.raises(DependencyError):
        experiments.running(experiment_id(1))

    reader.newer = newer  # type: ignore[method-assign]
    await until(lambda: follower.age_s is not None)
    with pytest.raises(ExperimentNotFoundError):
        experiments.running(experiment_id(1))
    await following.stop()


async def test_what_does_not_run_is_known_and_assigns_no_unit() -> None:
    experiments = ExperimentCache()
    follower = SnapshotFollower(MemoryProjection().reader(), experiments, 1.0)
    await follower.sweep()
    running = snapshot(version=2)
    name = running.experiment.id
    experiments.put(running)
    assert experiments.running(name).id == name

    experiments.put(snapshot(version=3, status=Status.PAUSED))
    with pytest.raises(ExperimentNotRunningError):
        experiments.running(name)
    with pytest.raises(ExperimentNotFoundError):
        experiments.running("exp_0000000000000")


def test_conclusions_are_counted_once_as_they_are_seen() -> None:
    experiments = ExperimentCache()
    running = snapshot(version=2)
    concluded = replace(running.experiment, status=Status.CONCLUDED, concluded_at_ms=9, winner=1)
    experiments.put(running)
    experiments.put(replace(running, experiment=concluded, version=3, winner=1, confidence=0.97))
    archived = replace(concluded, status=Status.ARCHIVED)
    experiments.put(replace(running, experiment=archived, version=4, winner=1, confidence=0.97))

    assert (experiments.conclusions, experiments.winner_confidences) == (1, [0.97])


async def test_announcements_bring_snapshots_and_the_sweep_the_rest() -> None:
    redis = MemoryProjection()
    experiments = ExperimentCache()
    follower = SnapshotFollower(redis.reader(), experiments, 0.01)
    redis.put(snapshot(number=1))  # before the follower listens
    following = BackgroundTasks(pytest.fail)
    follower.follow(following)
    try:
        await until(lambda: len(experiments.all()) == 1)
        announced = snapshot(number=2)
        redis.put(announced)
        await until(lambda: len(experiments.all()) == 2)
        redis.put(snapshot(number=2, version=7))
        await until(lambda: experiments.snapshot(announced.experiment.id).version == 7)
    finally:
        await following.stop()


async def test_an_idle_experiment_is_fetched_at_once_and_a_busy_one_when_its_interval_is_over() -> (
    None
):
    """The interval is an hour of a clock that is set by hand, and nothing else reads anything."""
    now_s = [0.0]
    redis, experiments = MemoryProjection(), ExperimentCache()
    follower = SnapshotFollower(redis.reader(), experiments, 3_600.0)
    follower._cadence = Cadence(3_600.0, lambda: now_s[0])
    following = BackgroundTasks(pytest.fail)
    follower.follow(following)
    try:
        await until(lambda: follower.age_s is not None)
        busy, idle = snapshot(number=1), snapshot(number=2)
        redis.put(busy)
        await until(lambda: experiments.all() == [busy])
        redis.put(replace(busy, version=3))
        redis.put(idle)
        await until(lambda: len(experiments.all()) == 2)
        assert experiments.snapshot(busy.experiment.id) == busy

        now_s[0] = 3_600.0
        newest = replace(busy, version=4)
        redis.put(newest)
        await until(lambda: experiments.snapshot(busy.experiment.id) == newest)
    finally:
        await following.stop()


async def test_without_redis_the_known_goes_on_and_its_age_grows(monkeypatch) -> None:
    monkeypatch.setattr(module, "RECONNECT_S", 0.001)
    redis, now_s = MemoryProjection(), [10.0]
    experiments = ExperimentCache()
    follower = SnapshotFollower(redis.reader(), experiments, 0.001, clock=lambda: now_s[0])
    age_before_s = follower.age_s
    redis.put(snapshot())
    await follower.sweep()
    redis.is_away = True
    following = BackgroundTasks(pytest.fail)
    follower.follow(following)
    await asyncio.sleep(0)
    now_s[0] = 70.0
    await following.stop()

    assert (age_before_s, follower.age_s) == (None, 60.0)
    assert experiments.running(snapshot().experiment.id).id == snapshot().experiment.id


async def test_after_a_switch_everything_is_taken_afresh() -> None:
    redis = MemoryProjection()
    experiments = ExperimentCache()
    follower = SnapshotFollower(redis.reader(), experiments, 1.0)
    for number in (1, 2, 3):
        redis.put(snapshot(number, version=5))
    await follower.sweep()
    same = replace(snapshot(1, version=5), duplicates=9)
    behind, new = snapshot(2, version=4), snapshot(4, version=2)
    switch(redis, same, behind, new)

    await follower.sweep()
    await follower.sweep()

    assert experiments.snapshot(same.experiment.id) == same
    assert experiments.running(new.experiment.id).id == new.experiment.id
    # Not yet reached by the new generation, so they continue as they are.
    assert experiments.snapshot(behind.experiment.id).version == 5
    assert experiments.running(experiment_id(3)).id == experiment_id(3)


async def test_what_the_new_generation_does_not_reach_in_time_is_taken_as_it_is() -> None:
    redis, now_s = MemoryProjection(), [10.0]
    experiments = ExperimentCache()
    follower = SnapshotFollower(redis.reader(), experiments, 1.0, clock=lambda: now_s[0])
    for number in (1, 2):
        redis.put(snapshot(number, version=5))
    await follower.sweep()
    behind = snapshot(1, version=4)
    switch(redis, behind)
    await follower.sweep()
    now_s[0] += module.SWITCH_PATIENCE_S + 1

    await follower.sweep()

    assert experiments.all() == [behind]
    with pytest.raises(ExperimentNotFoundError):
        experiments.running(experiment_id(2))


async def test_a_reading_from_before_the_switch_changes_nothing() -> None:
    redis = MemoryProjection()
    reader = redis.reader()
    experiments = ExperimentCache()
    follower = SnapshotFollower(reader, experiments, 1.0)
    redis.put(snapshot(version=9))
    before = await reader.newer({})
    new = snapshot(version=5)
    switch(redis, new)
    await follower.sweep()

    async def late(known) -> ProjectedSnapshots:
        return before

    reader.newer = late  # type: ignore[method-assign]
    await follower.sweep()

    assert experiments.snapshot(new.experiment.id) == new


async def test_a_result_that_is_not_seen_in_time_is_an_error() -> None:
    experiments = ExperimentCache()
    follower = SnapshotFollower(MemoryProjection().reader(), experiments, 1.0)

    with pytest.raises(DependencyError) as caught:
        await follower.at_version("exp_0000000000001", 2, 0.01)

    assert caught.value.code == "COMMAND_TIMED_OUT"


async def until(condition) -> None:
    async with patience():
        while not condition():  # noqa: ASYNC110 - conditions of values without events
            await asyncio.sleep(0.001)


async def test_an_unreadable_snapshot_is_named_keeps_the_last_good_one_and_stops_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    redis = MemoryProjection()
    experiments = ExperimentCache()
    follower = SnapshotFollower(redis.reader(), experiments, 1.0)
    good, other = snapshot(1, version=2), snapshot(2, version=2)
    name = good.experiment.id
    redis.put(good)
    await follower.sweep()

    redis.write(replace(SnapshotRecord.of(good, b"noise"), version=3), FIRST)
    redis.put(other)
    await follower.sweep()
    await follower.sweep()

    assert experiments.unreadable.keys() == {name}
    assert experiments.running(name).id == name
    assert experiments.running(other.experiment.id).id == other.experiment.id
    assert caplog.text.count("cannot be used, keeping the last one") == 1

    redis.put(snapshot(1, version=4))
    await follower.sweep()
    assert experiments.unreadable == {}
    assert experiments.snapshot(name).version == 4


async def test_a_snapshot_that_cannot_be_compiled_changes_nothing_of_its_experiment() -> None:
    redis = MemoryProjection()
    experiments = ExperimentCache()
    follower = SnapshotFollower(redis.reader(), experiments, 1.0)
    good = snapshot(1, version=2)
    name = good.experiment.id
    await follower.sweep()
    experiments.put(good)
    broken = replace(good, version=3, allocation=replace(good.allocation, weights=()))
    other = snapshot(2, version=2)
    redis.put(broken)
    redis.put(other)

    await follower.sweep()

    assert list(experiments.unreadable) == [name]
    assert experiments.snapshot(name) is good
    assert experiments.running(other.experiment.id).id == other.experiment.id


async def test_archived_experiments_that_redis_does_not_have_any_more_are_forgotten() -> None:
    """Those that assign are not: a Redis that was emptied gets them again."""
    redis = MemoryProjection()
    experiments = ExperimentCache()
    follower = SnapshotFollower(redis.reader(), experiments, 1.0)
    archived, running = snapshot(1, status=Status.ARCHIVED), snapshot(2)
    redis.put(archived)
    redis.put(running)
    await follower.sweep()

    redis.flush()
    await follower.sweep()

    assert [each.experiment.id for each in experiments.all()] == [running.experiment.id]
    with pytest.raises(ExperimentNotFoundError):
        experiments.snapshot(archived.experiment.id)


async def test_there_may_be_so_many_experiments_that_are_not_archived() -> None:
    experiments = ExperimentCache()
    experiments.put(snapshot(1))
    experiments.put(snapshot(2, status=Status.ARCHIVED))
    new = experiment_id(3)

    experiments.check_room(new, 2)
    with pytest.raises(EngineError, match="TOO_MANY_EXPERIMENTS"):
        experiments.check_room(new, 1)
    experiments.check_room(experiment_id(1), 1)  # the same request again


async def test_what_is_noted_of_an_experiment_goes_with_it() -> None:
    """Forget them at its end, and when it is not of the generation that is active now."""
    keys = ReceiptKeys(Settings(receipt_keys=f"1:{'ab' * 16},2:{'cd' * 16}"))  # type: ignore[arg-type]
    redis, now_s = MemoryProjection(), [0.0]
    experiments = ExperimentCache((keys.note,), (keys.forget,))
    follower = SnapshotFollower(redis.reader(), experiments, 1.0, lambda: now_s[0])
    for number in range(1, 51):
        kept = snapshot(number, status=Status.ARCHIVED if number % 2 else Status.RUNNING)
        definition = kept.experiment.definition
        config = definition.config.model_copy(update={"receipt_key": 2})
        definition = definition.model_copy(update={"config": config})
        redis.put(replace(kept, experiment=replace(kept.experiment, definition=definition)))
    await follower.sweep()
    assert keys.keyring._chosen == dict.fromkeys(range(1, 51), 2)

    ended = [found.experiment.id for found in experiments.all() if found.experiment.number % 2]
    await redis.writer().remove(ended)
    await follower.sweep()
    assert len(keys.keyring._chosen) == 25
    switch(redis)
    await follower.sweep()
    now_s[0] += module.SWITCH_PATIENCE_S + 1
    await follower.sweep()

    assert not keys.keyring._chosen
    assert experiments.all() == []
