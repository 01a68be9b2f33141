"""Nothing is acknowledged before it is durable, and an interruption anywhere changes no result.

A worker process runs its real agent over a real table and a log in memory, and is interrupted at
each of its steps in turn: a fold, every write to the broker, every acknowledgement, every emission.
The next process starts from what had become durable.
"""

from __future__ import annotations

import asyncio
import random
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import patch

import pytest
from faust.types import TP
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import catalogue
from streams.fold.observations import ObservationFolding
from streams.fold.records import never
from streams.model.events import Answer, Command, CommandKind, DeadLetter, Observation
from streams.model.ids import experiment_id
from streams.model.receipts import Keyring, Receipt
from streams.settings import Settings
from streams.tallies.cell import Cell, Source
from streams.tallies.plan import PLAIN, Plan
from streams.wire.cells import encode_cell
from streams.wire.commands import encode_command
from streams.wire.dead_letters import decode_dead_letter
from streams.wire.decisions import encode_decision
from streams.wire.framing import Framing
from streams.wire.observations import encode_observation
from streams.wire.records import SINGLE_OBJECT
from streams.worker import partition_processor
from streams.worker.app import make_app
from streams.worker.emitter import CellEmitter, WrittenCell
from streams.worker.experiment_stage import ExperimentsStage
from streams.worker.logged_plans import LoggedPlans
from streams.worker.partition_processor import BatchOutcome, Stage, progress_key
from streams.worker.tables import DurableTable, unpack
from streams.worker.tally_stage import TallyStage
from streams.worker.topology import _Topology
from streams.worker.transport import BatchingApp, FetchBatch
from tests.twins.kafka import Crash, Fault, MemoryBroker, MemoryProducer, Process
from tests.twins.loop import LeapingLoop

NOW_MS = 1_700_000_000_000
KEYRING = Keyring({1: bytes(range(32))})
SETTINGS = Settings(partitions=2)
PARTITIONS = range(SETTINGS.partitions)
DEAD_LETTERS = SETTINGS.topic_name(catalogue.DEAD_LETTERS)
DECISIONS = SETTINGS.topic_name(catalogue.DECISIONS)
PLANS = {1: PLAIN, 2: Plan({"click": 2_000_000}), 3: Plan({"order": 5_000_000})}

DEFINITION: dict[str, Any] = {
    "config": {"name": "test", "type": "ucb", "primaryMetric": "click"},
    "variants": [{"name": "a", "isControl": True}, {"name": "b"}],
}


Entries = dict[bytes, tuple[int, bytes]]


class Plans:
    """Plans that become known when they are asked for, as a worker reads them from the log."""

    def __init__(self) -> None:
        self.known: dict[int, Plan] = {}

    async def learn(self, experiment: int) -> None:
        self.known[experiment] = PLANS[experiment]


@dataclass
class Emitted:
    """The newest cell of every place, as the second stage gets it; checks that it is durable."""

    durable: Callable[[], dict[tuple[int, bytes], bytes]]
    cells: dict[tuple[int, int], Cell] = field(default_factory=dict)

    def offer(self, written: WrittenCell, begin: int) -> None:
        cell, body = written
        before = self.cells.get((cell.experiment, cell.partition))
        assert before is None or before.last_offset <= cell.last_offset
        key = b"c/" + experiment_id(cell.experiment).encode()
        durable = unpack(self.durable()[cell.partition, key])
        assert durable[0] >= cell.last_offset
        assert durable[0] > cell.last_offset or durable[1] == body
        self.cells[cell.experiment, cell.partition] = cell

    def forget(self, source: str, partition: int) -> None:
        raise AssertionError


class Agent(ABC):
    """An agent under test: its topics with their records, its stage, and what its state is.

    Attributes:
        log: The source topics; every run appends to a copy.
    """

    name: str
    sources: Sequence[catalogue.Topic]
    log: MemoryBroker

    def __init__(self) -> None:
        self.log = MemoryBroker(SETTINGS.partitions)

    @property
    def tps(self) -> list[TP]:
        """The source partitions."""
        return [
            TP(SETTINGS.topic_name(source), partition)
            for source in self.sources
            for partition in PARTITIONS
        ]

    @property
    def changelog(self) -> str:
        """Topic of the table."""
        return f"{SETTINGS.faust_app_id}-{self.name}-state-changelog"

    @abstractmethod
    def stage(self, plans: Plans, emitted: Emitted) -> Stage:
        """Return a stage that knows nothing."""

    @abstractmethod
    def state(self, stage: Any, emitted: Emitted) -> Any:
        """Return what a process has come to, to be compared."""

    @abstractmethod
    def is_determined(self, key: bytes) -> bool:
        """Return whether the records up to its offset determine the entry of a key."""

    @cached_property
    def prefixes(self) -> dict[TP, list[BatchOutcome]]:
        """State to be durable after the first n records of a source partition, for every n."""
        return {tp: self._prefixes(tp) for tp in self.tps}

    def _prefixes(self, tp: TP) -> list[BatchOutcome]:
        plans = Plans()
        plans.known = dict(PLANS)
        stage = self.stage(plans, Emitted(dict))
        stage.restore(tp.partition, cast(DurableTable, Empty()))
        outcomes = [BatchOutcome()]
        for record in self.log.read(tp):
            one = stage.fold(tp.topic, tp.partition, [record])
            last = outcomes[-1]
            outcomes.append(
                BatchOutcome(
                    entries=last.entries | one.entries,
                    dead_letters=last.dead_letters + one.dead_letters,
                    decisions=last.decisions + one.decisions,
                )
            )
        return outcomes


class Empty:
    """A table without entries."""

    def entries(self, _partition: int) -> Entries:
        return {}

    def get_entry(self, _partition: int, _key: bytes) -> None:
        return None


class Observations(Agent):
    """The agent over `observations`.

    Args:
        events: (partition, experiment, unit, event) of each record; event 0 cannot be decoded.
    """

    name = "observations"
    sources = (catalogue.OBSERVATIONS,)

    def __init__(self, events: Sequence[tuple[int, int, int, int]]) -> None:
        super().__init__()
        for partition, experiment, unit, event in events:
            receipt = KEYRING.sign(Receipt(experiment, unit % 2, 1 << 31, 1, NOW_MS, unit, 60))
            metric = "click" if event % 2 else "order"
            made = Observation(receipt, metric, 1_000_000 * event, f"e{event}", NOW_MS + 1)
            self.log.append(
                TP(SETTINGS.topic_name(catalogue.OBSERVATIONS), partition),
                None,
                encode_observation(made) if event else b"poison",
                NOW_MS,
            )

    def stage(self, plans: Plans, emitted: Emitted) -> Stage:
        folding = ObservationFolding(SINGLE_OBJECT, KEYRING, 1_000, plans.known.get)
        topic = SETTINGS.topic_name(catalogue.OBSERVATIONS)
        return TallyStage(topic, folding, cast(CellEmitter, emitted))

    def state(self, stage: Any, emitted: Emitted) -> Any:
        return emitted.cells

    def is_determined(self, key: bytes) -> bool:
        return key.startswith(b"c/")  # segments of a window depend on how batches were cut


class Experiments(Agent):
    """The agent over `commands` and `tallies`.

    Args:
        events: (partition, kind) of each record; a number is the offset of a cell.
    """

    name = "experiments"
    sources = (catalogue.COMMANDS, catalogue.TALLIES)

    def __init__(self, events: Sequence[tuple[int, str | int]]) -> None:
        super().__init__()
        for number, (partition, event) in enumerate(events):
            experiment = partition + 1
            if isinstance(event, int):
                cell = Cell(experiment, Source.IMPRESSIONS, 3, event, 1, 2, 0, {})
                topic, value = catalogue.TALLIES, encode_cell(cell)
            elif event == "poison":
                topic, value = catalogue.COMMANDS, b"poison"
            else:
                payload: Any = DEFINITION if event == "create" else {}
                command = Command(f"{number:032x}", experiment, CommandKind(event), number, payload)
                topic, value = catalogue.COMMANDS, encode_command(command)
            self.log.append(TP(SETTINGS.topic_name(topic), partition), None, value)

    def stage(self, plans: Plans, emitted: Emitted) -> Stage:
        del plans, emitted
        return ExperimentsStage(SETTINGS.topic_name(catalogue.COMMANDS), SETTINGS.partitions)

    def state(self, stage: Any, emitted: Emitted) -> Any:
        return {
            (partition, known.number): (
                known.last_offset,
                known.experiment,
                known.cells,
                known.answers,
            )
            for partition, known in stage.all_known()
        }

    def is_determined(self, key: bytes) -> bool:
        return key.startswith((b"e/", b"t/"))


class Laws:
    """Invariants of durable state whenever records are acknowledged."""

    def __init__(self, agent: Agent, log: MemoryBroker) -> None:
        self._agent = agent
        self._log = log
        self._prefixes = agent.prefixes

    def durable(self) -> dict[tuple[int, bytes], bytes]:
        """Return the table as the next process would recover it."""
        return self._log.compacted(self._agent.changelog)

    def check(self, tp: TP, end: int) -> None:
        """Check that all that follows from the records before `end` is durable."""
        durable = self.durable()
        prefixes = self._prefixes[tp]
        assert unpack(durable[tp.partition, progress_key(*tp)])[0] >= end - 1
        for key, (offset, _) in prefixes[end].entries.items():
            if self._agent.is_determined(key):
                written, body = unpack(durable[tp.partition, key])
                assert written >= offset
                # A process that ended before may have come further, and never to anything else.
                after = max(end, self._records_to(tp, key, written))
                assert prefixes[after].entries[key] == (written, body)
        letters = {_place(decode_dead_letter(value)) for value in self._logged(DEAD_LETTERS)}
        assert letters >= {_place(letter) for letter in prefixes[end].dead_letters}
        decisions = set(self._logged(DECISIONS))
        assert decisions >= {encode_decision(made) for made in prefixes[end].decisions}

    def _records_to(self, tp: TP, key: bytes, offset: int) -> int:
        """Return after how many records the entry of a key has an offset."""
        return next(
            n
            for n, prefix in enumerate(self._prefixes[tp])
            if key in prefix.entries and prefix.entries[key][0] == offset
        )

    def _logged(self, topic: str) -> list[bytes | None]:
        return [
            record.value
            for partition in PARTITIONS
            for record in self._log.read(TP(topic, partition))
        ]


def _place(letter: DeadLetter) -> tuple[str, int, int, str]:
    return letter.topic, letter.partition, letter.offset, letter.code


@dataclass
class Watched:
    """A stage whose folds and emissions are steps of its process."""

    stage: Stage
    process: Process
    laws: Laws
    acknowledged: dict[TP, int] = field(default_factory=dict)

    def restore(self, partition: int, table: DurableTable) -> None:
        self.stage.restore(partition, table)

    def release(self, partition: int) -> None:
        self.stage.release(partition)

    def fold(
        self,
        topic: str,
        partition: int,
        records: Sequence[Any],
        is_due: Callable[[], bool] = never,
    ) -> BatchOutcome:
        fault = self.process.begin("fold", topic, partition, records[0].offset, records[-1].offset)
        try:
            return self.stage.fold(topic, partition, records, is_due)
        finally:
            self.process.end(fault)

    def on_durable(self, topic: str, partition: int, answers: Sequence[Answer] = ()) -> None:
        if (end := self.acknowledged.get(TP(topic, partition))) is not None:
            self.laws.check(TP(topic, partition), end)
        fault = self.process.begin("on_durable", topic, partition)
        self.stage.on_durable(topic, partition, answers)
        self.process.end(fault)


@dataclass(eq=False)
class Event:
    """A fetched batch, as the stream of an agent gives it."""

    tp: TP
    value: FetchBatch
    watched: Watched
    waiting: set[Event]
    generation_id: int = 1

    @property
    def message(self) -> Any:
        return SimpleNamespace(
            tp=self.tp, partition=self.tp.partition, generation_id=self.generation_id
        )

    def ack(self) -> None:
        self.watched.laws.check(self.tp, self.value.end)
        fault = self.watched.process.begin("ack", *self.tp, self.value.end - 1)
        self.watched.acknowledged[self.tp] = self.value.end
        self.waiting.discard(self)
        self.watched.process.end(fault)


@dataclass
class Stream:
    """Batches of the source partitions, from where the table ends; ends when all are acknowledged.

    Attributes:
        cuts: Records of each batch, in the order in which they are fetched.
        order: Chooses which partition is fetched next.
    """

    app: BatchingApp
    log: MemoryBroker
    tps: Sequence[TP]
    watched: Watched
    cuts: Sequence[int]
    order: random.Random

    def noack(self) -> Stream:
        return self

    async def events(self) -> AsyncIterator[Event]:
        position = {tp: self.app.resume[tp.topic](tp) or 0 for tp in self.tps}
        waiting: set[Event] = set()
        cuts = iter(self.cuts)
        while unread := [tp for tp in self.tps if position[tp] < self.log.end(tp)]:
            tp = self.order.choice(unread)
            records = self.log.read(tp, position[tp])[: next(cuts, None)]
            event = Event(tp, FetchBatch(position[tp], records, 0), self.watched, waiting)
            waiting.add(event)
            position[tp] = event.value.end
            yield event
            for _ in range(self.order.randrange(4)):
                await asyncio.sleep(0)
        while waiting:  # noqa: ASYNC110 - what acknowledges is also what fails
            await asyncio.sleep(0.01)


class Installation:
    """Durable state across worker processes, which run one after another.

    Args:
        agent: What they do.
        cuts: Records of each batch.
        seed: Chooses the order in which partitions are fetched and written.
        pauses: Whether a fold pauses after every record.
    """

    def __init__(
        self, agent: Agent, cuts: Sequence[int] = (), seed: int = 0, *, pauses: bool = False
    ) -> None:
        self._agent = agent
        self._cuts = cuts
        self._seed = seed
        self._fold_without_pause_s = 0.0 if pauses else 3_600.0
        self.log = MemoryBroker(SETTINGS.partitions)
        for tp in agent.tps:
            for record in agent.log.read(tp):
                self.log.append(tp, record.key, record.value, record.timestamp)
        self._laws = Laws(agent, self.log)
        self.state: Any = None

    def run(self, process: Process) -> bool:
        """Run a process until all is acknowledged or it has ended; return which."""
        with (
            patch.object(partition_processor, "die", process.die),
            patch.object(partition_processor, "FOLD_WITHOUT_PAUSE_S", self._fold_without_pause_s),
            asyncio.Runner(loop_factory=LeapingLoop) as runner,
        ):
            return runner.run(self._run(process))

    async def _run(self, process: Process) -> bool:
        agent = self._agent
        order = random.Random(self._seed)
        plans, emitted = Plans(), Emitted(self._laws.durable)
        watched = Watched(agent.stage(plans, emitted), process, self._laws)
        app = make_app(SETTINGS)
        app.producer = cast(Any, MemoryProducer(app, self.log, process, order))
        app.consumer = cast(Any, Assigned(agent.tps))
        app.consumer_generation_id = 1
        app.identities = cast(Any, Identities())
        topology = _Topology(app, SETTINGS, Framing(SINGLE_OBJECT), cast(LoggedPlans, plans))
        topology.timeout_s = 1.0
        topology.agent(agent.name, agent.sources, cast(Stage, watched))
        stream = Stream(app, self.log, agent.tps, watched, self._cuts, order)
        try:
            await self._recover(cast(DurableTable, app.tables[f"{agent.name}-state"]))
            [running] = app.agents.values()
            await cast(Any, running).fun(stream)
        except BaseExceptionGroup as group:
            if group.split(Crash)[1] is not None:
                raise
            return False
        except Crash:
            return False
        self.state = agent.state(watched.stage, emitted)
        return True

    async def _recover(self, table: DurableTable) -> None:
        for partition in PARTITIONS:
            records = self.log.read(TP(self._agent.changelog, partition))
            table.apply_changelog_batch(
                cast(
                    Any,
                    [
                        SimpleNamespace(
                            message=SimpleNamespace(
                                key=record.key,
                                value=record.value,
                                partition=partition,
                                offset=record.offset,
                                generation_id=1,
                            )
                        )
                        for record in records
                    ],
                )
            )
        await table.call_recover_callbacks()


@dataclass
class Assigned:
    """A consumer that has every partition."""

    tps: Sequence[TP]

    def assignment(self) -> set[TP]:
        return set(self.tps)

    def highwater(self, _tp: TP) -> int:
        return 0


class Identities:
    """Topics whose ids never change, and rights on all of them."""

    def get(self, topic: str) -> str:
        return f"id of {topic}"

    def check(self, topic: str, kept: str) -> None:
        assert kept == self.get(topic)

    def may_write(self, _topic: catalogue.Topic) -> bool:
        return True


OBSERVATIONS = Observations(
    [
        (0, 1, 1, 1),
        (1, 2, 1, 1),
        (0, 2, 2, 2),
        (0, 0, 0, 0),
        (1, 1, 2, 1),
        (0, 1, 1, 1),  # counted before
        (1, 0, 0, 0),
        (0, 3, 3, 2),
        (0, 1, 4, 3),
        (1, 2, 1, 1),  # counted before
        (0, 3, 3, 1),
    ]
)
EXPERIMENTS = Experiments(
    [
        (0, "create"),
        (0, 3),
        (1, "start"),  # refused: it does not exist
        (0, "start"),
        (0, "poison"),
        (0, 5),
        (1, "create"),
        (0, 4),  # older than the one before
        (0, "pause"),
        (1, 9),
        (0, "pause"),  # refused: it is paused
        (1, "start"),
    ]
)
AGENTS = [OBSERVATIONS, EXPERIMENTS]
CUTS = (3, 1, 2, 2, 1)


def undisturbed(agent: Agent, cuts: Sequence[int] = ()) -> tuple[Any, list[tuple[Any, ...]]]:
    """Return the state and the steps of a process that nothing happens to."""
    installation, process = Installation(agent, cuts), Process()
    assert installation.run(process)
    return installation.state, process.steps


def test_the_steps_of_a_batch_come_in_their_order():
    agent = Observations([(0, 0, 0, 0), (0, 1, 1, 1)])
    table = agent.changelog

    _, steps = undisturbed(agent)

    fold, again, *writes, durable, progress, ack = steps[2:]  # behind those of the recovery
    assert fold == again == ("fold", "observations", 0, 0, 1)  # the plan was missing
    assert {(topic, key[:2]) for _, topic, _, key in writes} == {
        (table, b"c/"),  # the cell
        (table, b"w/"),  # its window
        (table, b"i/"),  # the id of the topic
        (DEAD_LETTERS, b"ob"),
    }
    assert progress == ("write", table, 0, progress_key("observations", 0))
    assert ack == ("ack", "observations", 0, 1)
    assert durable == ("on_durable", "observations", 0)


@pytest.mark.parametrize("agent", AGENTS, ids=lambda agent: agent.name)
@pytest.mark.parametrize("fault", Fault)
def test_a_fault_at_any_step_changes_no_result(agent, fault):
    expected, steps = undisturbed(agent, CUTS)

    for place, step in enumerate(steps):
        if step[0] != "write" and fault in {Fault.REFUSE, Fault.SILENCE}:
            continue
        installation, interrupted = Installation(agent, CUTS), Process(place, fault)
        assert not installation.run(interrupted)
        assert interrupted.steps[: place + 1] == steps[: place + 1]
        assert installation.run(Process())

        assert installation.state == expected, step


observations = st.lists(
    st.tuples(st.integers(0, 1), st.integers(1, 3), st.integers(0, 4), st.integers(0, 4)),
    min_size=1,
    max_size=30,
).map(Observations)
commands = st.sampled_from(["create", "create", "start", "start", "pause", "archive", "poison"])
experiments = st.lists(
    st.tuples(st.integers(0, 1), commands | st.integers(1, 9)), min_size=1, max_size=20
).map(Experiments)
faults = st.lists(st.tuples(st.integers(0, 60), st.sampled_from(Fault)), max_size=4)


@settings(max_examples=60)
@given(
    agent=observations | experiments,
    cuts=st.lists(st.integers(1, 10), max_size=20),
    faults=faults,
    seed=st.integers(0, 9),
    pauses=st.booleans(),
)
def test_faults_change_no_result_however_records_are_batched(agent, cuts, faults, seed, pauses):
    expected, _ = undisturbed(agent)
    installation = Installation(agent, cuts, seed, pauses=pauses)

    for place, fault in faults:
        installation.run(Process(place, fault))
    assert installation.run(Process())

    assert installation.state == expected
