"""Agents, tables and tasks of a worker."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import faust
from faust.types import StreamT

from schemas import catalogue
from streams.fold.impressions import ImpressionFolding
from streams.fold.observations import ObservationFolding
from streams.kafka.source import KafkaSource
from streams.model.ids import experiment_id
from streams.model.partitioning import partition_of
from streams.model.receipts import Keyring
from streams.process.background import Run, vital
from streams.settings import Settings
from streams.tallies.cell import Source
from streams.wire.decisions import encode_decision
from streams.wire.framing import Framing
from streams.worker.counted_until import CountedUntil
from streams.worker.dead_letters import send_dead_letters
from streams.worker.emitter import CellEmitter
from streams.worker.endings import ExperimentEndLogger
from streams.worker.experiment_stage import ExperimentsStage
from streams.worker.generation_follower import GenerationFollower
from streams.worker.holdout_copies import HoldoutCopier
from streams.worker.identities import TopicIdentities
from streams.worker.last_snapshots import LastSnapshots
from streams.worker.logged_decisions import LoggedDecisions
from streams.worker.logged_plans import LoggedPlans
from streams.worker.logged_points import LoggedPoints
from streams.worker.misplaced import letters_of, send_to_their_partitions
from streams.worker.outbox import Outgoing, deliver
from streams.worker.outlets import Outlets
from streams.worker.partition_processor import BatchOutcome, PartitionProcessor, Stage
from streams.worker.point_recorder import PointRecorder
from streams.worker.projector import Projector
from streams.worker.publisher import LogReaders, SnapshotPublisher
from streams.worker.schedules import LOOK_S as SCHEDULES_LOOK_S
from streams.worker.schedules import due_schedule
from streams.worker.tables import DurableTable
from streams.worker.tally_stage import TallyStage
from streams.worker.ticks import DueCommandLogger, DueCommands
from streams.worker.transport import BatchingApp


def attach(
    app: BatchingApp,
    settings: Settings,
    framing: Framing,
    keyring: Keyring,
    projector: Projector,
    follower: GenerationFollower,
    identities: TopicIdentities,
) -> ExperimentsStage:
    """Attach the three agents and the tasks of a worker to `app`, before it starts.

    Returns:
        The stage with the state of this worker's experiments.

    Args:
        app: From `make_app`.
        settings: Names, intervals and bounds.
        framing: Encodes and decodes records.
        keyring: Verifies receipts.
        projector: Writes to Redis.
        follower: Knows whether this worker's generation is active.
        identities: Topic ids of the source topics.
    """
    app.fence = follower.fence
    app.identities = identities
    source = KafkaSource(settings)
    plans = LoggedPlans(source, framing)
    topology = _Topology(app, settings, framing, plans)
    experiments = ExperimentsStage(
        catalogue.COMMANDS.full_name(settings.topic_prefix), settings.partitions, framing.codec
    )
    emitter = _attach_tallies(topology, keyring, plans, experiments)
    outlets = topology.outlets()
    points = PointRecorder(
        experiments,
        topology.topic(catalogue.TIMESERIES),
        projector.writer,
        LoggedPoints(source),
        framing.codec,
        follower,
        partitions=settings.partitions,
        timeout_s=topology.timeout_s,
    )
    projector.on_lost = points.project_again
    logged = LogReaders(
        LoggedDecisions(source, framing),
        LastSnapshots(
            source,
            catalogue.of_generation(catalogue.POSTERIORS, follower.generation).name,
            framing,
        ),
    )
    publisher = SnapshotPublisher(experiments, outlets, projector, follower, logged, points)
    topology.agent("experiments", [catalogue.COMMANDS, catalogue.TALLIES], experiments)
    experiments.on_release = projector.forget
    tasks: dict[str, Run] = {
        "holdouts": HoldoutCopier(settings, source, framing, keyring, experiments.has_holdouts).run,
        "emitter": emitter.run,
        "publisher": publisher.run,
        "delivery": publisher.delivery.run,
        "take-over": publisher.take_over.run,
        "timeseries": partial(_once_known, projector, points.run),
        "projector": projector.run,
        "heartbeat": projector.send_heartbeats,
        **_due_records(topology, experiments, outlets, keyring, follower),
    }
    for name, run in tasks.items():
        app.task(partial(vital, name, run))
    return experiments


def _attach_tallies(
    topology: _Topology, keyring: Keyring, plans: LoggedPlans, experiments: ExperimentsStage
) -> CellEmitter:
    """Attach the agents of impressions and observations, and return what sends their cells."""
    app, settings, codec = topology.app, topology.settings, topology.codec
    emitter = CellEmitter(
        topology.topic(catalogue.TALLIES),
        codec,
        lambda key: partition_of(key, settings.partitions),
        experiments.take_early,
        interval_s=settings.tally_emit_interval_ms / 1000.0,
        timeout_s=topology.timeout_s,
    )
    limit = settings.deduplication_max_entries
    impressions = catalogue.IMPRESSIONS.full_name(settings.topic_prefix)
    observations = catalogue.OBSERVATIONS.full_name(settings.topic_prefix)
    sources = {impressions: Source.IMPRESSIONS, observations: Source.OBSERVATIONS}
    app.sent_until = lambda topic, partition: (
        emitter.sent_until(sources[topic], partition) if topic in sources else None
    )
    topology.agent(
        "impressions",
        [catalogue.IMPRESSIONS],
        TallyStage(impressions, ImpressionFolding(codec, keyring, limit, plans.get), emitter),
    )
    topology.agent(
        "observations",
        [catalogue.OBSERVATIONS],
        TallyStage(
            observations,
            ObservationFolding(codec, keyring, limit, plans.get, settings.partitions),
            emitter,
        ),
    )
    return emitter


def _due_records(
    topology: _Topology,
    experiments: ExperimentsStage,
    outlets: Outlets,
    keyring: Keyring,
    follower: GenerationFollower,
) -> dict[str, Run]:
    """Return the tasks that write what is due by time: ends of experiments, ticks and schedules."""
    settings, timeout_s = topology.settings, topology.timeout_s
    endings = ExperimentEndLogger(
        experiments,
        {
            each.name: topology.topic(each)
            for each in (catalogue.IMPRESSIONS, catalogue.OBSERVATIONS)
        },
        keyring,
        follower,
        partitions=settings.partitions,
        keep_s=settings.archived_keep_s,
        timeout_s=timeout_s,
    )
    command_logger = partial(
        DueCommandLogger,
        experiments,
        outlets.commands,
        topology.codec,
        follower,
        outlets.may_command,
        timeout_s=timeout_s,
    )
    counted = CountedUntil(settings, KafkaSource(settings))
    schedules = DueCommands(
        partial(due_schedule, key_of_new=keyring.key_of_new, is_counted=counted.has),
        SCHEDULES_LOOK_S,
    )
    return {
        "endings": endings.run,
        "ticks": command_logger().run,
        "schedules": command_logger(looked_for=schedules).run,
        "counted": counted.run,
    }


class _Topology:
    """The parts that all agents share."""

    def __init__(
        self, app: BatchingApp, settings: Settings, framing: Framing, plans: LoggedPlans
    ) -> None:
        self.app = app
        self.settings = settings
        self.codec = framing.codec
        self._framing = framing
        self._plans = plans
        self.timeout_s = settings.kafka_timeout_s * 3
        self.decisions = self.topic(catalogue.DECISIONS)
        self.dead_letters = self.topic(catalogue.DEAD_LETTERS)
        self.observations = self.topic(catalogue.OBSERVATIONS)

    def topic(self, *topics: catalogue.Topic) -> faust.TopicT:
        """Return topics of raw bytes: Faust acknowledges records that it fails to decode."""
        return self.app.topic(
            *map(self.settings.topic_name, topics),
            key_type=bytes,
            value_type=bytes,
            key_serializer="raw",
            value_serializer="raw",
        )

    def outlets(self) -> Outlets:
        """Return the topics that the experiment stage writes to."""
        return Outlets(
            posteriors=self.topic(catalogue.POSTERIORS),
            decisions=self.decisions,
            commands=self.topic(catalogue.COMMANDS),
            codec=self.codec,
            timeout_s=self.timeout_s,
            may_command=lambda: self.app.identities.may_write(catalogue.COMMANDS),
        )

    def agent(self, name: str, sources: Sequence[catalogue.Topic], stage: Stage) -> None:
        """Attach an agent with its table."""
        table = DurableTable(
            self.app,
            name=f"{name}-state",
            key_type=bytes,
            value_type=bytes,
            partitions=self.settings.partitions,
        )
        self.app.tables.add(table)
        processor = PartitionProcessor(
            self.app,
            table,
            stage,
            [self.settings.topic_name(source) for source in sources],
            self._framing,
            self._plans.learn,
            self._publish,
            write_timeout_s=self.timeout_s,
        )

        async def run(stream: StreamT[bytes]) -> None:
            await processor.run(stream)

        self.app.agent(self.topic(*sources), name=name)(run)

    async def _publish(self, outcome: BatchOutcome) -> None:
        moved, letters = outcome.misplaced, outcome.dead_letters
        if not self.app.identities.may_write(catalogue.OBSERVATIONS):
            topic = self.settings.topic_name(catalogue.OBSERVATIONS)
            moved, letters = [], letters + letters_of(moved, topic, self.codec)
        await send_dead_letters(self.dead_letters, letters, self.timeout_s)
        await send_to_their_partitions(self.observations, moved, self.codec, self.timeout_s)
        records = [
            Outgoing(
                experiment_id(decision.experiment).encode(),
                encode_decision(decision, self.codec),
            )
            for decision in outcome.decisions
        ]
        await deliver(self.decisions, records, self.timeout_s)


async def _once_known(projector: Projector, run: Run) -> None:
    """Run a writer to Redis once a loss of data in Redis would be noticed."""
    await projector.is_known.wait()
    await run()
