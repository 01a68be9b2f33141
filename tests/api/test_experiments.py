"""Every experiment in memory: the newest known, with Redis and without."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from api import experiments as module
from api.experiments import Experiments
from streams.experiments.definition import parse_definition
from streams.experiments.lifecycle import Experiment, Status
from streams.experiments.snapshot import Failure, Snapshot
from streams.model.errors import (
    DependencyError,
    EngineError,
    ExperimentNotFoundError,
    ExperimentNotRunningError,
)
from streams.model.ids import experiment_id
from streams.process.background import BackgroundTasks
from streams.projection.reader import Projected
from streams.receipt_keys import ReceiptKeys
from streams.settings import Settings
from tests.api.memory import MemoryWorker, definition, snapshot_of


def snapshot(number: int = 1, version: int = 2, status: Status = Status.RUNNING) -> Snapshot:
    parsed = parse_definition(**definition())  # type: ignore[arg-type]
    return snapshot_of(Experiment(number, parsed, status, 2, number, 2, 2), version)


class Redis(MemoryWorker):
    """Snapshots, announcements, and failures on demand."""

    def __init__(self) -> None:
        super().__init__()
        self.is_away = False
        self.channel: asyncio.Queue[tuple[str, int] | None] = asyncio.Queue()

    def write(self, found: Snapshot) -> None:
        self.snapshots_by_id[found.experiment.id] = found
        self.channel.put_nowait((found.experiment.id, found.version))

    async def newer(self, known):
        if self.is_away:
            raise DependencyError("redis", "away")
        return await super().newer(known)

    async def announcements(self) -> AsyncIterator[tuple[str, int] | None]:
        while True:
            yield await self.channel.get()


def test_an_older_snapshot_never_replaces_a_newer_one() -> None:
    experiments = Experiments(Redis(), 1.0)
    newer = snapshot(version=5)

    assert experiments.put(newer)
    assert not experiments.put(snapshot(version=4))
    assert not experiments.put(snapshot(version=5, status=Status.PAUSED))

    assert experiments.snapshot(newer.experiment.id) is newer


async def test_statistics_replace_a_failed_evaluation_of_the_same_version(monkeypatch) -> None:
    """As they are announced, or by the next sweep; and never the other way round."""
    failure = Failure("EVALUATION_FAILED", "ZeroDivisionError", "", 0)
    mended = snapshot(version=5)
    failed = replace(mended, failure=failure)
    redis = Redis()
    experiments = Experiments(redis, 1.0)
    for is_announced in (True, False):
        assert experiments.put(failed) is is_announced
        experiments._snapshots[failed.experiment.id] = failed
        redis.write(mended)
        if is_announced:
            following = BackgroundTasks(pytest.fail)
            experiments.follow(following)
            await asyncio.sleep(0.3)
            await following.stop()
        else:
            await experiments.sweep()
        assert experiments.snapshot(mended.experiment.id).failure is None
        assert not experiments.put(failed)


async def test_before_everything_was_read_nothing_is_said_not_to_exist(monkeypatch) -> None:
    redis = Redis()
    experiments = Experiments(redis, 1.0)
    redis.is_away = True
    monkeypatch.setattr(module, "RECONNECT_S", 0.01)
    following = BackgroundTasks(pytest.fail)
    experiments.follow(following)
    redis.channel.put_nowait(None)  # the subscription stands, and nothing has been read
    await asyncio.sleep(0.02)

    assert experiments.age_s is None
    with pytest.raises(DependencyError):
        experiments.running(experiment_id(1))

    redis.is_away = False
    await asyncio.sleep(0.05)
    with pytest.raises(ExperimentNotFoundError):
        experiments.running(experiment_id(1))
    await following.stop()


async def test_what_does_not_run_is_known_and_assigns_nobody() -> None:
    experiments = Experiments(Redis(), 1.0)
    await experiments.sweep()
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
    experiments = Experiments(Redis(), 1.0)
    running = snapshot(version=2)
    concluded = replace(running.experiment, status=Status.CONCLUDED, concluded_at_ms=9, winner=1)
    experiments.put(running)
    experiments.put(replace(running, experiment=concluded, version=3, winner=1, confidence=0.97))
    archived = replace(concluded, status=Status.ARCHIVED)
    experiments.put(replace(running, experiment=archived, version=4, winner=1, confidence=0.97))

    assert (experiments.conclusions, experiments.winner_confidences) == (1, [0.97])


async def test_announcements_bring_snapshots_and_the_sweep_the_rest(monkeypatch) -> None:
    monkeypatch.setattr(module, "GATHER_S", 0.0)
    redis = Redis()
    experiments = Experiments(redis, 0.01)
    silent = snapshot(number=1)
    redis.snapshots_by_id[silent.experiment.id] = silent
    following = BackgroundTasks(pytest.fail)
    experiments.follow(following)
    try:
        await until(lambda: len(experiments.all()) == 1)
        announced = snapshot(number=2)
        redis.write(announced)
        await until(lambda: len(experiments.all()) == 2)
        redis.write(snapshot(number=2, version=7))
        await until(lambda: experiments.snapshot(announced.experiment.id).version == 7)
    finally:
        await following.stop()


async def test_without_redis_the_known_goes_on_and_its_age_grows(monkeypatch) -> None:
    monkeypatch.setattr(module, "RECONNECT_S", 0.001)
    redis, now_s = Redis(), [10.0]
    experiments = Experiments(redis, 0.001, clock=lambda: now_s[0])
    age_before_s = experiments.age_s
    redis.snapshots_by_id["x"] = snapshot()
    await experiments.sweep()
    redis.is_away = True
    following = BackgroundTasks(pytest.fail)
    experiments.follow(following)
    await asyncio.sleep(0)
    now_s[0] = 70.0
    await following.stop()

    assert (age_before_s, experiments.age_s) == (None, 60.0)
    assert experiments.running(snapshot().experiment.id).id == snapshot().experiment.id


async def test_after_a_switch_everything_is_taken_afresh() -> None:
    redis = Redis()
    experiments = Experiments(redis, 1.0)
    for number in (1, 2, 3):
        found = snapshot(number, version=5)
        redis.snapshots_by_id[found.experiment.id] = found
    await experiments.sweep()
    same, behind, new = snapshot(1, version=5), snapshot(2, version=4), snapshot(4, version=2)
    redis.epoch = 3
    redis.snapshots_by_id = {each.experiment.id: each for each in (same, behind, new)}

    await experiments.sweep()
    await experiments.sweep()

    assert experiments.snapshot(same.experiment.id) is same
    assert experiments.running(new.experiment.id).id == new.experiment.id
    # Not yet reached by the new generation, so they go on as they are.
    assert experiments.snapshot(behind.experiment.id).version == 5
    assert experiments.running(experiment_id(3)).id == experiment_id(3)


async def test_what_the_new_generation_does_not_reach_in_time_is_taken_as_it_is() -> None:
    redis, now_s = Redis(), [10.0]
    experiments = Experiments(redis, 1.0, clock=lambda: now_s[0])
    for number in (1, 2):
        found = snapshot(number, version=5)
        redis.snapshots_by_id[found.experiment.id] = found
    await experiments.sweep()
    behind = snapshot(1, version=4)
    redis.epoch = 3
    redis.snapshots_by_id = {behind.experiment.id: behind}
    await experiments.sweep()
    now_s[0] += module.SWITCH_PATIENCE_S + 1

    await experiments.sweep()

    assert experiments.all() == [behind]
    with pytest.raises(ExperimentNotFoundError):
        experiments.running(experiment_id(2))


async def test_a_reading_from_before_the_switch_changes_nothing() -> None:
    redis = Redis()
    experiments = Experiments(redis, 1.0)
    redis.epoch = 3
    new = snapshot(version=5)
    redis.snapshots_by_id[new.experiment.id] = new
    await experiments.sweep()
    redis.epoch = 0
    redis.snapshots_by_id[new.experiment.id] = snapshot(version=9)

    await experiments.sweep()

    assert experiments.snapshot(new.experiment.id) is new


async def test_a_result_that_is_not_seen_in_time_is_an_error() -> None:
    experiments = Experiments(Redis(), 1.0)

    with pytest.raises(DependencyError) as caught:
        await experiments.at_version("exp_0000000000001", 2, 0.01)

    assert caught.value.code == "COMMAND_TIMED_OUT"


async def until(condition) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - conditions of values without events
            await asyncio.sleep(0.001)


async def test_an_unreadable_snapshot_is_named_keeps_the_last_good_one_and_stops_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    redis = Redis()
    experiments = Experiments(redis, 1.0)
    good, other = snapshot(1, version=2), snapshot(2, version=2)
    name = good.experiment.id
    redis.snapshots_by_id = {name: good}
    await experiments.sweep()

    unreadable = {name: "EventError: UNKNOWN_SCHEMA"}

    async def newer(known) -> Projected:
        return Projected(0, [other], unreadable)

    redis.newer = newer  # type: ignore[method-assign]
    await experiments.sweep()
    await experiments.sweep()

    assert experiments.unreadable == unreadable
    assert experiments.running(name).id == name
    assert experiments.running(other.experiment.id).id == other.experiment.id
    assert caplog.text.count("cannot be used, keeping the last one") == 1

    async def healed(known) -> Projected:
        return Projected(0, [snapshot(1, version=3)])

    redis.newer = healed  # type: ignore[method-assign]
    await experiments.sweep()
    assert experiments.unreadable == {}
    assert experiments.snapshot(name).version == 3


async def test_a_snapshot_that_cannot_be_compiled_changes_nothing_of_its_experiment() -> None:
    redis = Redis()
    experiments = Experiments(redis, 1.0)
    good = snapshot(1, version=2)
    name = good.experiment.id
    await experiments.sweep()
    experiments.put(good)
    broken = replace(good, version=3, allocation=replace(good.allocation, weights=()))
    other = snapshot(2, version=2)
    redis.snapshots_by_id = {name: broken, other.experiment.id: other}

    await experiments.sweep()

    assert list(experiments.unreadable) == [name]
    assert experiments.snapshot(name) is good
    assert experiments.running(other.experiment.id).id == other.experiment.id


async def test_archived_experiments_that_redis_does_not_have_any_more_are_forgotten() -> None:
    """Those that assign are not: a Redis that was emptied gets them again."""
    redis = Redis()
    experiments = Experiments(redis, 1.0)
    archived, running = snapshot(1, status=Status.ARCHIVED), snapshot(2)
    redis.snapshots_by_id = {each.experiment.id: each for each in (archived, running)}
    await experiments.sweep()

    async def ended(known) -> Projected:
        return Projected(0, [], names=frozenset())

    redis.newer = ended  # type: ignore[method-assign]
    await experiments.sweep()

    assert [each.experiment.id for each in experiments.all()] == [running.experiment.id]
    with pytest.raises(ExperimentNotFoundError):
        experiments.snapshot(archived.experiment.id)


async def test_there_may_be_so_many_experiments_that_are_not_archived() -> None:
    experiments = Experiments(Redis(), 1.0)
    experiments.put(snapshot(1))
    experiments.put(snapshot(2, status=Status.ARCHIVED))
    new = experiment_id(3)

    experiments.check_room(new, 2)
    with pytest.raises(EngineError, match="TOO_MANY_EXPERIMENTS"):
        experiments.check_room(new, 1)
    experiments.check_room(experiment_id(1), 1)  # the same request again


class Listing(Redis):
    """One that names all of its snapshots, by which is seen what has ended."""

    async def newer(self, known):
        return replace(await super().newer(known), names=frozenset(self.snapshots_by_id))


async def test_what_is_noted_of_an_experiment_goes_with_it() -> None:
    """When it has ended, and when it is not of the generation that is served now."""
    keys = ReceiptKeys(Settings(receipt_keys=f"1:{'ab' * 16},2:{'cd' * 16}"))  # type: ignore[arg-type]
    redis, now_s = Listing(), [0.0]
    experiments = Experiments(redis, 1.0, lambda: now_s[0], taken=keys.note, dropped=keys.forget)
    for number in range(1, 51):
        kept = snapshot(number, status=Status.ARCHIVED if number % 2 else Status.RUNNING)
        definition = kept.experiment.definition
        config = definition.config.model_copy(update={"receipt_key": 2})
        definition = definition.model_copy(update={"config": config})
        redis.write(replace(kept, experiment=replace(kept.experiment, definition=definition)))
    await experiments.sweep()
    assert {keys.keyring.signer_of(number) for number in range(1, 51)} == {2}

    redis.snapshots_by_id = {
        name: found
        for name, found in redis.snapshots_by_id.items()
        if found.experiment.status is Status.RUNNING
    }
    await experiments.sweep()
    assert len(keys.keyring._chosen) == 25
    redis.snapshots_by_id, redis.epoch = {}, 1
    await experiments.sweep()
    now_s[0] += module.SWITCH_PATIENCE_S + 1
    await experiments.sweep()

    assert not keys.keyring._chosen
    assert experiments.all() == []
