"""Order and pace of evaluations: commands, idle experiments, busy ones."""

from __future__ import annotations

from typing import Any, cast

from streams.experiments.lifecycle import Status
from streams.model.events import Answer, Command, CommandKind
from streams.model.ids import experiment_id
from streams.process.cadence import Cadence
from streams.wire.commands import encode_command
from streams.worker import publisher as module
from streams.worker.pacing import TimeBudget
from tests.streams.worker.publishing import EXPERIMENT, PARTITION, command, snapshots
from tests.streams.worker.test_experiment_stage import DEFINITION, Record


async def test_what_does_not_fit_waits_its_turn_and_its_answers_with_it(world):
    """Four experiments whose evaluations cost 60 ms, at a share that leaves time for one or two."""
    stage, projected = world.stage, world.projected
    create: list[Any] = [
        Record(10 + n, encode_command(Command(f"{n:032x}", n, CommandKind.CREATE, n, DEFINITION)))
        for n in (1, 2, 3)
    ]
    stage.fold("commands", PARTITION, create)
    names = [experiment_id(number) for number in (1, 2, 3, EXPERIMENT)]
    stage.on_durable("commands", PARTITION)
    stage.answers = [
        Answer(f"{number:032x}", number, accepted=True, version=1) for number in (3, 2)
    ]
    now_s = [0.0]

    def clock() -> float:
        now_s[0] += 0.06  # between beginning and end of an evaluation, too
        return now_s[0]

    world.publisher._share = TimeBudget(0.01, 0.1, clock)
    await world.publisher._step()

    first, second, third, last = names
    # Those that were commanded come first; the third did not fit any more.
    assert projected.given == [second, third, f"answer to {third}", f"answer to {second}"]
    assert [experiment_id(number) for _, number in stage.dirty] == [first, last]
    assert stage.changed.is_set()
    stage.dirty[PARTITION, 2] = None  # it changes again, and comes last
    for _ in range(4):
        now_s[0] += 10.0
        await world.publisher._step()
    assert projected.given[4:] == [first, last, second]


async def test_an_idle_experiment_is_evaluated_before_busy_ones_that_changed_before(world):
    """Three that were evaluated wait for their turn; one that was not comes first."""
    stage, projected = world.stage, world.projected
    create: list[Any] = [
        Record(10 + n, encode_command(Command(f"{n:032x}", n, CommandKind.CREATE, n, DEFINITION)))
        for n in (1, 2)
    ]
    stage.fold("commands", PARTITION, create)
    stage.on_durable("commands", PARTITION)
    await world.publisher._step()
    busy = projected.given.copy()
    idle = Command(f"{3:032x}", 3, CommandKind.CREATE, 3, DEFINITION)
    world.stage.touch_all()
    stage.fold("commands", PARTITION, [cast(Any, Record(13, encode_command(idle)))])
    stage.on_durable("commands", PARTITION)

    await world.publisher._step()

    assert projected.given[len(busy) :] == [experiment_id(3), *busy]


async def test_one_that_was_evaluated_a_moment_ago_is_left_until_its_interval_is_over(world):
    now_s = [100.0]
    world.publisher._cadence = Cadence(5.0, lambda: now_s[0])
    await world.step()
    now_s[0] += 2.0
    await world.step()

    assert world.projected.given == [experiment_id(EXPERIMENT)]
    assert world.publisher._wait_s() == 3.0
    now_s[0] += 3.0
    assert world.publisher._wait_s() == 0.0
    await world.publisher._step()
    assert world.projected.given == [experiment_id(EXPERIMENT)] * 2
    assert world.publisher._wait_s() is None


async def test_those_without_a_share_are_gathered_and_an_idle_one_is_not(world, monkeypatch):
    """An interval of an hour, at a share that is used up."""
    monkeypatch.setattr(module, "EVALUATION_INTERVAL_S", 3_600.0)
    stage = world.stage
    stage.touch_all()
    world.publisher._share = TimeBudget(0.01, 0.1, lambda: 0.0)
    world.publisher._share._budget_s = 0.0
    await world.publisher._step()
    assert list(stage.dirty) == [(PARTITION, EXPERIMENT)]
    assert world.publisher._wait_s() > 1_800.0

    idle: Any = Record(11, encode_command(Command("1" * 32, 1, CommandKind.CREATE, 1, DEFINITION)))
    stage.fold("commands", PARTITION, [idle])
    stage.on_durable("commands", PARTITION)
    assert world.publisher._wait_s() == 0.0

    world.publisher._share._budget_s = 1.0
    await world.publisher._step()
    assert sorted(world.projected.given) == [experiment_id(1), experiment_id(EXPERIMENT)]


async def test_a_command_waits_for_no_interval(world):
    world.publisher._cadence = Cadence(3_600.0)
    await world.step()
    command(world, 10, CommandKind.PAUSE, {})

    assert world.publisher._wait_s() == 0.0
    await world.publisher._step()

    assert snapshots(world)[-1].experiment.status is Status.PAUSED
    assert world.projected.given[-1] == f"answer to {experiment_id(EXPERIMENT)}"


async def test_a_step_that_takes_long_publishes_what_it_has_and_leaves_the_rest(world, monkeypatch):
    monkeypatch.setattr(module, "STEP_S", 0.0)
    create: list[Any] = [
        Record(10 + n, encode_command(Command(f"{n:032x}", n, CommandKind.CREATE, n, DEFINITION)))
        for n in (1, 2)
    ]
    world.stage.fold("commands", PARTITION, create)
    world.stage.on_durable("commands", PARTITION)
    for left in (2, 1, 0):
        await world.publisher._step()
        assert len(world.stage.dirty) == left
        assert world.stage.changed.is_set() is (left > 0)
        world.stage.changed.clear()

    assert len(set(world.projected.given)) == 3


async def test_a_command_waits_for_no_share_and_its_answer_follows_its_snapshot(world):
    world.stage.touch_all()
    answer = Answer(f"{1:032x}", EXPERIMENT, accepted=True, version=2)
    world.stage.answers = [answer]
    world.publisher._share = TimeBudget(0.01, 0.1, lambda: 0.0)
    world.publisher._share._budget_s = 0.0

    await world.publisher._step()

    name = experiment_id(EXPERIMENT)
    assert world.projected.given == [name, f"answer to {name}"]
    assert world.stage.answers == []
