"""A publisher of one experiment with a winner, and all that it has sent."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, cast

from streams.experiments.snapshot import Snapshot
from streams.experiments.statistics.recommendation import RecommendedAction
from streams.fold.decisions import generation_of
from streams.fold.experiment_state import ExperimentState
from streams.model.events import Answer, Command, CommandKind, Decision
from streams.model.generations import Generations
from streams.model.ids import experiment_id
from streams.projection.writer import HistoryRecord, SnapshotRecord
from streams.wire.commands import encode_command
from streams.wire.decisions import decode_decision
from streams.wire.snapshots import decode_snapshot
from streams.worker import publisher as module
from streams.worker.experiment_stage import ExperimentsStage
from streams.worker.publisher import SnapshotPublisher
from tests.streams.worker.test_experiment_stage import Record
from tests.twins.log import MemoryLog

evaluated_by_itself = module._evaluated
CONTINUE, CONCLUDE = RecommendedAction.CONTINUE, RecommendedAction.CONCLUDE_WINNER
PARTITION, PARTITIONS, EXPERIMENT = 0, 1, 7


@dataclass
class GenerationFollower:
    """Generations as a worker knows them."""

    is_active: bool = True
    generation: int = 2
    generations: Generations = field(default_factory=Generations)


class Projected:
    """A projector without readers, and what it was given in order."""

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
    publisher: SnapshotPublisher
    projected: Projected
    log: MemoryLog
    sent: dict[str, list[bytes]] = field(default_factory=dict)

    async def step(self) -> None:
        self.stage.touch_all()
        await self.publish()

    async def publish(self) -> None:
        """Evaluate what is due, and deliver it."""
        await self.publisher._step()
        await self.publisher.delivery.flush()

    async def take_over(self) -> None:
        await self.publisher.take_over.read_ahead()
        await self.publish()

    def decisions(self) -> list[Decision]:
        return [decode_decision(value) for value in self.sent.get("decisions", [])]

    def known(self) -> ExperimentState:
        return next(known for _, known in self.stage.all_known())

    def decided(self) -> list[tuple[str, int]]:
        decisions = [decode_decision(value) for value in self.sent.get("decisions", [])]
        return [(each.kind, generation_of(each)) for each in decisions]


def snapshots(world: World) -> list[Snapshot]:
    return [decode_snapshot(value) for value in world.sent.get("posteriors", [])]


def command(world: World, offset: int, kind: CommandKind, payload: dict[str, Any]) -> None:
    sent = Command(f"{100 + offset:032x}", EXPERIMENT, kind, offset, payload)
    outcome = world.stage.fold(
        "commands", PARTITION, cast(Any, [Record(offset, encode_command(sent))])
    )
    assert [answer.accepted for answer in outcome.answers] == [True]
    world.stage.on_durable("commands", PARTITION, outcome.answers)
