"""Time series: what is recorded, thinned and removed, and what a replay of its topic gives."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest

from streams.experiments.snapshot import CellPlace, Snapshot
from streams.experiments.statistics.failure import Failure, FailureCode
from streams.experiments.thinning import MOST_POINTS, SLOT_MS, thinned
from streams.experiments.time_points import MOST_COMPARED, metrics_of_points, point_of
from streams.model.errors import DependencyError
from streams.model.events import Command, CommandKind
from streams.model.generations import Generations
from streams.model.ids import experiment_id
from streams.wire.commands import encode_command
from streams.wire.records import SINGLE_OBJECT
from streams.wire.time_points import decode_time_point
from streams.worker import point_recorder as module
from streams.worker.experiment_stage import ExperimentsStage
from streams.worker.logged_points import LoggedPoints
from streams.worker.outbox import Outgoing
from streams.worker.point_recorder import PointRecorder
from tests.streams.replay.memory import DEFINITION
from tests.streams.worker.test_experiment_stage import Record
from tests.twins.log import MemoryLog
from tests.twins.projection import MemoryProjection

EXPERIMENT, PARTITIONS, BEGIN_S = 7, 1, 1_700_000_000
NAME = experiment_id(EXPERIMENT)


@dataclass
class Follower:
    is_active: bool = True
    generation: int = 1
    generations: Generations = field(default_factory=Generations)


@dataclass
class World:
    """Recorders over one log, and a Redis that may be emptied."""

    log: MemoryLog
    redis: MemoryProjection
    stage: ExperimentsStage
    evaluated: Snapshot
    follower: Follower = field(default_factory=Follower)

    def recorder(self, redis: MemoryProjection | None = None) -> PointRecorder:
        return PointRecorder(
            self.stage,
            cast(Any, "timeseries"),
            cast(Any, (redis or self.redis).writer()),
            LoggedPoints(self.log),
            SINGLE_OBJECT,
            cast(Any, self.follower),
            partitions=PARTITIONS,
            timeout_s=1.0,
        )

    def snapshot(self, second: int, milliseconds: int = 0) -> Snapshot:
        """Return the snapshot of so many seconds after the begin, with as many units."""
        at_ms = (BEGIN_S + second) * SLOT_MS + milliseconds
        places = (CellPlace("impressions", 0, second),)
        return replace(self.evaluated, as_of_ms=at_ms, version=second + 3, cells=places)

    def logged(self) -> list[int]:
        """Return the seconds that a reader of the compacted topic finds."""
        newest = {each.key: each.value for each in self.log.topics["timeseries", 0]}
        points = [decode_time_point(value) for value in newest.values() if value is not None]
        return sorted(point.slot - BEGIN_S for point in points)

    def projected(self, redis: MemoryProjection | None = None) -> list[int]:
        return sorted(slot - BEGIN_S for slot in (redis or self.redis).time_points[NAME])


@pytest.fixture
def world(monkeypatch) -> World:
    log, stage = MemoryLog(), ExperimentsStage("commands", PARTITIONS)
    assert log.topics["timeseries", 0] == []
    commands: list[Any] = [
        Record(n, encode_command(Command(f"{n:032x}", EXPERIMENT, kind, n + 1, payload)))
        for n, (kind, payload) in enumerate(
            [(CommandKind.CREATE, DEFINITION), (CommandKind.START, {})]
        )
    ]
    stage.fold("commands", 0, commands)

    async def deliver(topic: str, records: Any, _timeout: float) -> None:
        sent: list[Outgoing] = list(records)
        for each in sent:
            log.append(topic, each.partition or 0, each.value, each.key)

    monkeypatch.setattr(module, "deliver", deliver)
    known = stage.known(0, EXPERIMENT)
    assert known is not None
    evaluated = known.snapshot()
    assert evaluated is not None
    return World(log, MemoryProjection(), stage, evaluated)


async def test_the_first_snapshot_of_a_second_is_its_point(world) -> None:
    recorder = world.recorder()
    for second, ms in ((0, 100), (0, 900), (1, 0), (1, 5), (4, 0)):
        recorder.offer(world.snapshot(second, ms))
        await recorder._step()

    assert world.logged() == world.projected() == [0, 1, 4]
    found = [decode_time_point(each) for each in world.redis.time_points[NAME].values()]
    assert found[0] == point_of(world.snapshot(0, 100), 1)


async def test_nothing_is_recorded_without_statistics_or_events(world) -> None:
    recorder = world.recorder()
    failure = Failure(FailureCode.EVALUATION_FAILED, "x", 2)
    recorder.offer(replace(world.snapshot(1), failure=failure))
    recorder.offer(replace(world.snapshot(1), as_of_ms=0))
    world.follower.is_active = False
    recorder.offer(world.snapshot(2))
    await recorder._step()

    assert world.logged() == world.projected() == []


async def test_a_long_experiment_has_a_few_hundred_points_in_log_and_redis(world) -> None:
    recorder = world.recorder()
    seconds = range(3 * MOST_POINTS)
    for second in seconds:
        recorder.offer(world.snapshot(second))
        await recorder._step()
        assert len(world.redis.time_points[NAME]) <= MOST_POINTS

    absolute = [BEGIN_S + second for second in seconds]
    wanted = [slot - BEGIN_S for slot in thinned(absolute, absolute[-1])]
    assert world.logged() == world.projected() == wanted
    assert len(wanted) > MOST_POINTS / 2


async def test_a_replay_of_the_topic_gives_the_same_points(world) -> None:
    """By a worker that takes over, into a Redis that was emptied or has points that are gone."""
    first = world.recorder()
    for second in range(0, 2 * MOST_POINTS, 3):
        first.offer(world.snapshot(second))
        await first._step()
    empty, stale = MemoryProjection(), MemoryProjection()
    stale.time_points[NAME][BEGIN_S + 1] = b"gone from the log"

    for redis in (empty, stale):
        again = world.recorder(redis)
        again.project_again()
        await again._step()

        assert redis.time_points == world.redis.time_points
        again.offer(world.snapshot(2 * MOST_POINTS - 2))  # of the bucket that has one
        await again._step()
        assert world.projected(redis) == world.projected() == world.logged()


async def test_what_another_worker_has_written_meanwhile_is_known(world) -> None:
    mine, other = world.recorder(), world.recorder()
    mine.offer(world.snapshot(1))
    await mine._step()
    other.offer(world.snapshot(5))
    await other._step()
    world.stage.restorations += 1

    mine.offer(world.snapshot(5, 900))
    await mine._step()

    assert world.logged() == [1, 5]
    (point,) = (
        decode_time_point(each.value)
        for each in world.log.topics["timeseries", 0]
        if each.value and decode_time_point(each.value).slot == BEGIN_S + 5
    )
    assert point.at_ms % SLOT_MS == 0  # the first one


async def test_an_ended_experiment_leaves_tombstones(world) -> None:
    recorder = world.recorder()
    for second in range(3):
        recorder.offer(world.snapshot(second))
        await recorder._step()

    recorder.remove([NAME])
    await recorder._step()

    assert world.logged() == world.projected() == []
    assert [each.value for each in world.log.topics["timeseries", 0][-3:]] == [None] * 3
    fresh = world.recorder(MemoryProjection())
    await fresh._step()
    assert fresh._logged.of(EXPERIMENT) == ()


async def test_without_redis_points_are_kept_until_it_is_back(world) -> None:
    recorder = world.recorder()
    world.redis.is_away = True
    for second in range(3):
        recorder.offer(world.snapshot(second))
        with pytest.raises(DependencyError):
            await recorder._step()
    world.redis.is_away = False

    await recorder._step()

    assert world.projected() == world.logged()


async def test_when_too_many_wait_for_redis_they_are_read_from_the_log(world, monkeypatch) -> None:
    monkeypatch.setattr(module, "UNWRITTEN_AT_MOST", 1)
    recorder = world.recorder()
    recorder.offer(world.snapshot(0))
    await recorder._step()
    world.redis.is_away = True
    for second in range(1, 5):
        recorder.offer(world.snapshot(second))
        with pytest.raises(DependencyError):
            await recorder._step()
    world.redis.is_away = False

    await recorder._step()

    assert world.projected() == world.logged()
    assert recorder._unwritten == {}


async def test_records_of_other_keys_are_passed_by(world) -> None:
    for key in (None, b"", b"exp_x/1", f"{NAME}/x".encode(), f"{NAME}/-1".encode(), b"\xff/1"):
        world.log.append("timeseries", 0, b"noise", key)
    recorder = world.recorder()
    recorder.offer(world.snapshot(2))
    await recorder._step()

    assert world.projected() == [2]


def test_a_large_experiment_has_points_of_its_primary_metric_alone(world) -> None:
    snapshot = world.snapshot(1)
    (model,) = snapshot.metrics.values()
    many = {f"m{n}": model for n in range(MOST_COMPARED)} | snapshot.metrics

    assert metrics_of_points(snapshot) == ["click"]
    assert metrics_of_points(replace(snapshot, metrics=many)) == ["click"]
    few = {"click": model, "other": model}
    assert metrics_of_points(replace(snapshot, metrics=few)) == ["click", "other"]
