"""Order and pace of evaluations: commands, idle experiments, busy ones."""

from __future__ import annotations

from typing import Any, cast

from streams.experiments.lifecycle import Status
from streams.model.events import Answer, Command, CommandKind
from streams.model.ids import experiment_id
from streams.process.cadence import Cadence
from streams.wire.commands import encode_command
from streams.worker import evaluation_scheduler
from streams.worker.pacing import TimeBudget
from tests.streams.worker.publishing import EXPERIMENT, PARTITION, World, command, snapshots
from tests.streams.worker.test_experiment_stage import DEFINITION, Record


def appears(world: World, number: int) -> None:
    """Have an experiment created, which no step has seen before."""
    sent = Command(f"{number:032x}", number, CommandKind.CREATE, number, DEFINITION)
    record: Any = Record(20 + number, encode_command(sent))
    world.stage.fold("commands", PARTITION, [record])
    world.stage.on_durable("commands", PARTITION)


def used_up() -> TimeBudget:
    """Return a budget of which nothing is left, however long one waits."""
    budget = TimeBudget(0.01, 0.1, lambda: 0.0)
    budget.charge(0.1)
    return budget


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

    world.publisher._scheduler.idle_share = used_up()
    world.publisher._scheduler.share = TimeBudget(0.01, 0.1, clock)
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
    world.publisher._scheduler.cadence = Cadence(5.0, lambda: now_s[0])
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


async def test_busy_ones_without_a_share_are_gathered_and_an_idle_one_has_its_own(world):
    """An interval of an hour, at a share that is used up when the first has changed again."""
    stage, publisher, now_s = world.stage, world.publisher, [100.0]
    publisher._scheduler._interval_s = 3_600.0
    publisher._scheduler.cadence = Cadence(5.0, lambda: now_s[0])
    await world.step()
    await world.step()  # it has changed before it is due
    publisher._scheduler.share = used_up()
    now_s[0] += 5.0
    await publisher._step()
    assert list(stage.dirty) == [(PARTITION, EXPERIMENT)]
    assert publisher._wait_s() > 1_800.0

    appears(world, 1)
    assert publisher._wait_s() == 0.0
    await publisher._step()

    assert world.projected.given[1:] == [experiment_id(1)]
    assert list(stage.dirty) == [(PARTITION, EXPERIMENT)]


async def test_an_idle_one_comes_before_busy_ones_that_were_evaluated_longer_ago(world):
    """But not before one that has waited for longer than its head start."""
    publisher, now_s = world.publisher, [100.0]
    publisher._scheduler.cadence = Cadence(5.0, lambda: now_s[0])
    for number in (1, 2):
        appears(world, number)
    await world.step()
    now_s[0] += 0.9 * evaluation_scheduler.HEAD_START_S
    appears(world, 3)
    await publisher._step()
    for number in (1, 2):
        world.stage.dirty[PARTITION, number] = None
    await publisher._step()  # they have changed before they are due
    now_s[0] += 5.0
    given = len(world.projected.given)
    world.stage.dirty[PARTITION, 3] = None
    await publisher._step()
    assert world.projected.given[given:] == [experiment_id(number) for number in (3, 1, 2)]

    for number in (1, 2):
        world.stage.dirty[PARTITION, number] = None
    await publisher._step()
    now_s[0] += 1.1 * evaluation_scheduler.HEAD_START_S
    world.stage.dirty[PARTITION, 3] = None
    publisher._scheduler.cadence.handled((PARTITION, 3))
    now_s[0] += 5.0
    given = len(world.projected.given)
    await publisher._step()
    assert world.projected.given[given:] == [experiment_id(number) for number in (1, 2, 3)]


async def test_an_idle_one_that_finds_no_share_waits_with_the_busy_ones(world):
    publisher = world.publisher
    publisher._scheduler._interval_s = 3_600.0
    publisher._scheduler.share = publisher._scheduler.idle_share = used_up()
    world.stage.touch_all()
    await publisher._step()
    assert world.projected.given == []
    assert publisher._wait_s() > 1_800.0


async def test_a_command_waits_for_no_interval(world):
    world.publisher._scheduler.cadence = Cadence(3_600.0)
    await world.step()
    command(world, 10, CommandKind.PAUSE, {})

    assert world.publisher._wait_s() == 0.0
    await world.publish()

    assert snapshots(world)[-1].experiment.status is Status.PAUSED
    assert world.projected.given[-1] == f"answer to {experiment_id(EXPERIMENT)}"


async def test_a_step_that_takes_long_publishes_what_it_has_and_leaves_the_rest(world, monkeypatch):
    monkeypatch.setattr(evaluation_scheduler, "STEP_S", 0.0)
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
    world.publisher._scheduler.share = world.publisher._scheduler.idle_share = used_up()

    await world.publisher._step()

    name = experiment_id(EXPERIMENT)
    assert world.projected.given == [name, f"answer to {name}"]
    assert world.stage.answers == []
