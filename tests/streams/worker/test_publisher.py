"""Decisions of the active generation, on its state and on what was logged before it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest

from streams.experiments.history import entries_of
from streams.experiments.lifecycle import Status
from streams.experiments.snapshot import Snapshot
from streams.experiments.statistics import FeatureUse, RecommendedAction
from streams.fold.action_history import NOTHING_LOGGED
from streams.fold.experiment_state import ExperimentState, conclusion, generation_of
from streams.fold.writable import MAX_ENTRY_BYTES
from streams.model.errors import DependencyError
from streams.model.events import CONCLUSION, Answer, Command, CommandKind, Decision
from streams.model.generations import Generations
from streams.model.ids import experiment_id
from streams.process.cadence import Cadence
from streams.projection.writer import HistoryRecord, SnapshotRecord
from streams.wire.commands import decode_command, encode_command
from streams.wire.decisions import decode_decision, encode_decision
from streams.wire.framing import Framing
from streams.wire.records import SINGLE_OBJECT
from streams.wire.snapshots import decode_snapshot
from streams.worker import metrics
from streams.worker import publisher as module
from streams.worker.experiment_stage import ExperimentsStage
from streams.worker.last_snapshots import LastSnapshots
from streams.worker.logged_actions import LoggedActions
from streams.worker.logged_conclusions import LoggedConclusions
from streams.worker.outbox import Outgoing
from streams.worker.pacing import TimeBudget
from streams.worker.publisher import Logged, Outlets, Publisher
from tests.patience import PATIENCE_S, until_true
from tests.streams.worker.test_experiment_stage import DEFINITION, Record
from tests.twins.log import MemoryLog

evaluated_by_itself = module._evaluated
CONTINUE, CONCLUDE = RecommendedAction.CONTINUE, RecommendedAction.CONCLUDE_WINNER
PARTITION, EXPERIMENT = 0, 7


@dataclass
class GenerationFollower:
    """Generations as a worker knows them."""

    is_active: bool = True
    generation: int = 2
    generations: Generations = field(default_factory=Generations)


class Projected:
    """A projector that nobody reads, and what it was given in order."""

    def __init__(self) -> None:
        self.given: list[str] = []
        self.conclusions: dict[str, bytes] = {}
        self.histories: dict[str, HistoryRecord] = {}

    def is_newer_history(self, name: str, version: tuple[int, int]) -> bool:
        return name not in self.histories or self.histories[name].version != version

    def offer_history(self, record: HistoryRecord) -> None:
        self.histories[record.experiment_id] = record

    def offer(self, record: SnapshotRecord) -> None:
        self.given.append(record.experiment_id)

    def offer_conclusion(self, experiment: str, payload: bytes) -> None:
        self.given.append(f"conclusion of {experiment}")
        self.conclusions[experiment] = payload

    def answer(self, answers: Iterable[Answer]) -> None:
        self.given += [f"answer to {experiment_id(answer.experiment)}" for answer in answers]


class Points:
    """A recorder of time series that records nothing."""

    def offer(self, snapshot: Snapshot) -> None:
        """Take a snapshot."""

    def remove(self, names: Iterable[str]) -> None:
        """Take what has ended."""


@dataclass
class World:
    """A publisher, and all that it has sent by topic."""

    stage: ExperimentsStage
    follower: GenerationFollower
    publisher: Publisher
    projected: Projected
    log: MemoryLog
    sent: dict[str, list[bytes]] = field(default_factory=dict)

    async def step(self) -> None:
        self.stage.touch_all()
        await self.publisher._step()

    async def take_over(self) -> None:
        self.publisher._is_taking_over = True
        await self.step()

    def decisions(self) -> list[Decision]:
        return [decode_decision(value) for value in self.sent.get("decisions", [])]

    def known(self) -> ExperimentState:
        return next(known for _, known in self.stage.all_known())

    def decided(self) -> list[tuple[str, int]]:
        decisions = [decode_decision(value) for value in self.sent.get("decisions", [])]
        return [(each.kind, generation_of(each)) for each in decisions]


@pytest.fixture
def world(monkeypatch) -> World:
    """An experiment with a winner, which is to be concluded by itself."""
    stage = ExperimentsStage("commands")
    config = cast(dict[str, Any], DEFINITION["config"]) | {
        "autoPromoteWinner": True,
        "minDuration": 0,
    }
    definition = DEFINITION | {"config": config}
    records: list[Any] = [
        Record(n, encode_command(Command(f"{n:032x}", EXPERIMENT, kind, n, payload)))
        for n, (kind, payload) in enumerate(
            [(CommandKind.CREATE, definition), (CommandKind.START, {})]
        )
    ]
    stage.fold("commands", PARTITION, records)
    follower, projected, log = GenerationFollower(), Projected(), MemoryLog()
    framing = Framing(SINGLE_OBJECT)
    topics: list[Any] = ["posteriors", "decisions", "commands"]
    outlets = Outlets(*topics)
    publisher = Publisher(
        stage,
        outlets,
        cast(Any, projected),
        SINGLE_OBJECT,
        1.0,
        cast(Any, follower),
        Logged(
            LoggedActions(log, framing),
            LastSnapshots(log, "posteriors", framing),
            LoggedConclusions(log, framing),
        ),
        cast(Any, Points()),
    )
    # However slow the machine is:
    publisher._share = TimeBudget(0.5, 3_600.0, cost_clock=time.thread_time)
    publisher._cadence = Cadence(0.0)  # what is to be seen here is what a step does
    world = World(stage, follower, publisher, projected, log)

    async def deliver(topic: str, records: list[Outgoing], _timeout: float) -> None:
        for each in records:
            world.sent.setdefault(topic, []).append(cast(bytes, each.value))
            log.append(topic, 0, each.value, each.key)

    def evaluated(known: ExperimentState) -> Snapshot:
        snapshot = known.snapshot()
        assert snapshot is not None
        assert snapshot.evidence is not None
        evidence = replace(
            snapshot.evidence, units=(1_000, 1_000), relative_loss=0.0, maturity=None
        )
        return replace(snapshot, recommended_action=CONCLUDE, winner=1, evidence=evidence)

    monkeypatch.setattr(module, "STEP_S", 3_600.0)
    monkeypatch.setattr(module, "deliver", deliver)
    monkeypatch.setattr(module, "_evaluated", evaluated)
    return world


def snapshots(world: World) -> list[Snapshot]:
    return [decode_snapshot(value) for value in world.sent.get("posteriors", [])]


def command(world: World, offset: int, kind: CommandKind, payload: dict[str, Any]) -> None:
    sent = Command(f"{100 + offset:032x}", EXPERIMENT, kind, offset, payload)
    outcome = world.stage.fold(
        "commands", PARTITION, cast(Any, [Record(offset, encode_command(sent))])
    )
    assert [answer.accepted for answer in outcome.answers] == [True]
    world.stage.on_durable("commands", PARTITION, outcome.answers)


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


async def test_a_history_has_the_logged_actions_also_after_a_take_over(world):
    await world.step()
    known = world.known()
    kinds = [entry.kind for entry in known.history()]
    assert kinds == ["create", "start", "recommendation"]
    assert known.history()[-1].author == "evaluation"
    (record,) = world.projected.histories.values()
    assert entries_of(record.payload) == known.history()
    assert record.version == (known.last_offset, 1)

    known.logged = NOTHING_LOGGED  # as of a worker that has just got the partition
    await world.take_over()
    assert entries_of(world.projected.histories[record.experiment_id].payload)[:3] == entries_of(
        record.payload
    )


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
        await world.publisher._step()

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


async def test_an_inactive_generation_publishes_and_decides_nothing(world):
    world.follower.is_active = False

    await world.step()

    assert len(world.sent["posteriors"]) == 1
    assert world.sent.keys() == {"posteriors"}
    assert world.known().action is CONCLUDE  # as if it had


async def test_the_active_generation_decides_once_and_says_which_it_is(world):
    await world.step()
    await world.step()

    assert world.decided() == [("conclude_winner", 2)]
    (promotion,) = map(decode_command, world.sent["commands"])
    assert promotion.kind is CommandKind.CONCLUDE
    assert world.log.readings["decisions"] == 0


async def test_without_the_right_to_write_commands_all_but_the_promotion_goes_on(world):
    may = [False]
    world.publisher._outlets = replace(world.publisher._outlets, may_command=lambda: may[0])

    await world.step()
    assert world.decided() == [("conclude_winner", 2)]
    assert "commands" not in world.sent

    may[0] = True
    await world.step()
    assert len(world.sent["commands"]) == 1


@pytest.mark.parametrize(("was_logged", "decided"), [(False, [("conclude_winner", 2)]), (True, [])])
async def test_what_is_due_at_a_take_over_is_logged_and_no_more(world, was_logged, decided):
    world.follower.is_active = False
    await world.step()
    world.follower.is_active = True
    if was_logged:  # by the generation that was active before
        decision = Decision(EXPERIMENT, CONCLUDE.value, 1, 2)
        world.log.append("decisions", 0, encode_decision(decision))
    world.publisher._is_taking_over = True

    await world.step()
    await world.step()

    assert world.decided() == decided
    assert world.log.readings["decisions"] == 2  # actions, conclusions
    assert len(world.sent["commands"]) == 1  # its id tells a second one


async def test_a_worker_that_gets_a_partition_looks_what_was_logged_before(world, monkeypatch):
    monkeypatch.setattr(module, "TAKE_OVER_PAUSES_S", (0.0,))
    await world.step()
    assert world.decided() == [("conclude_winner", 2)]
    world.known().action = CONTINUE  # the note of it was lost
    world.stage.restorations += 1

    taking_over = asyncio.create_task(world.publisher.take_over())
    await until_true(lambda: world.publisher._is_taking_over)
    await world.step()
    await world.step()
    taking_over.cancel()

    assert world.decided() == [("conclude_winner", 2)]


async def test_a_take_over_that_cannot_read_the_log_is_not_over(world):
    world.publisher._is_taking_over = True
    world.log.failures.append(DependencyError("kafka", "away"))
    with pytest.raises(DependencyError):
        await world.step()

    assert world.publisher._is_taking_over
    assert world.stage.dirty


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
    world.publisher._share = TimeBudget(0.25, 0.1, lambda: now_s[0])
    world.publisher._large_share = TimeBudget(0.1, 0.1, lambda: now_s[0])

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


async def test_a_large_one_that_was_cheap_is_no_small_one_before_it_is_published(world):
    """Else a step would publish a newer snapshot before the older one that is on its way."""
    order: list[str] = []
    world.publisher._large.add(EXPERIMENT)
    deliver = world.publisher._deliver

    async def delivered(published: Any) -> None:
        order.append(f"large: {EXPERIMENT in world.publisher._large}")
        await deliver(published)

    world.publisher._deliver = delivered
    await world.step()
    await world.publisher._large_task

    assert "large: True" in order
    assert "large: False" not in order[order.index("large: True") :]
    assert EXPERIMENT not in world.publisher._large


async def test_a_large_one_is_evaluated_again_when_kafka_was_away(world, monkeypatch):
    async def away(*_: Any) -> None:
        raise TimeoutError

    monkeypatch.setattr(module, "deliver", away)
    world.publisher._large.add(EXPERIMENT)
    world.stage.touch_all()
    with contextlib.suppress(TimeoutError):
        await world.publisher._step()
    await world.publisher._large_task

    assert (PARTITION, EXPERIMENT) in world.stage.dirty
    assert world.stage.changed.is_set()


async def test_what_could_not_be_published_is_evaluated_again_before_its_interval_is_over(
    world, monkeypatch
):
    async def away(*_: Any) -> None:
        raise TimeoutError

    world.publisher._cadence = Cadence(3_600.0)
    world.stage.touch_all()
    with monkeypatch.context() as patched:
        patched.setattr(module, "deliver", away)
        with pytest.raises(TimeoutError):
            await world.publisher._step()
    assert world.publisher._wait_s() == 0.0

    await world.publisher._step()

    assert len(snapshots(world)) == 1


async def test_the_first_statistics_after_a_conclusion_are_kept_before_it_is_answered(
    world, monkeypatch
):
    monkeypatch.setattr(module, "_evaluated", evaluated_by_itself)
    await world.take_over()
    command(world, 2, CommandKind.CONCLUDE, {})

    await world.publisher._step()
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
