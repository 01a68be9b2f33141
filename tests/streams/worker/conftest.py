"""The world of a publisher."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import Any, cast

import pytest

from streams.experiments.snapshot import Snapshot
from streams.fold.experiment_state import ExperimentState
from streams.model.events import Command, CommandKind
from streams.process.cadence import Cadence
from streams.wire.commands import encode_command
from streams.wire.framing import Framing
from streams.wire.records import SINGLE_OBJECT
from streams.worker import evaluation_scheduler
from streams.worker import outlets as outlets_module
from streams.worker import publisher as module
from streams.worker.experiment_stage import ExperimentsStage
from streams.worker.last_snapshots import LastSnapshots
from streams.worker.logged_decisions import LoggedDecisions
from streams.worker.outbox import Outgoing
from streams.worker.outlets import Outlets
from streams.worker.pacing import TimeBudget
from streams.worker.publisher import LogReaders, SnapshotPublisher
from tests.streams.worker.publishing import (
    CONCLUDE,
    EXPERIMENT,
    PARTITION,
    PARTITIONS,
    GenerationFollower,
    Points,
    Projected,
    World,
)
from tests.streams.worker.test_experiment_stage import DEFINITION, Record
from tests.twins.log import MemoryLog


@pytest.fixture
def world(monkeypatch) -> World:
    """An experiment with a winner, which is to be concluded automatically.

    The worker has had it for long, and knows what was logged.
    """
    stage = ExperimentsStage("commands", PARTITIONS)
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
    posteriors, decisions, commands = topics
    outlets = Outlets(posteriors, decisions, commands, SINGLE_OBJECT, 1.0)
    publisher = SnapshotPublisher(
        stage,
        outlets,
        cast(Any, projected),
        cast(Any, follower),
        LogReaders(
            LoggedDecisions(log, framing),
            LastSnapshots(log, "posteriors", framing),
        ),
        cast(Any, Points()),
    )
    # However slow the machine is, and the first evaluation of a process, which imports modules:
    monkeypatch.setattr(module, "LARGE_EVALUATION_S", math.inf)
    publisher._scheduler.share = TimeBudget(0.5, 3_600.0, cost_clock=time.thread_time)
    publisher._scheduler.cadence = Cadence(0.0)  # what is to be seen here is what a step does
    publisher.take_over._read_at = publisher.take_over._now
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

    monkeypatch.setattr(evaluation_scheduler, "STEP_S", 3_600.0)
    monkeypatch.setattr(outlets_module, "deliver", deliver)
    monkeypatch.setattr(module, "_evaluated", evaluated)
    return world
