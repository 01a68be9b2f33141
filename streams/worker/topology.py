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
    source = KafkaSource(settings)
    plans = LoggedPlans(source, framing)
    app.identities = identities
    topology = _Topology(app, settings, framing, plans)
    codec = framing.codec
    experiments = ExperimentsStage(
        catalogue.COMMANDS.full_name(settings.topic_prefix), settings.partitions, codec
    )
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
    outlets = Outlets(
        posteriors=topology.topic(catalogue.POSTERIORS),
        decisions=topology.decisions,
        commands=topology.topic(catalogue.COMMANDS),
        codec=codec,
        timeout_s=topology.timeout_s,
        may_command=lambda: identities.may_write(catalogue.COMMANDS),
    )
    sources = {impressions: Source.IMPRESSIONS, observations: Source.OBSERVATIONS}
    app.sent_until = lambda topic, partition: (
        emitter.sent_until(sources[topic], partition) if topic in sources else None
    )
    points = PointRecorder(
        experiments,
        topology.topic(catalogue.TIMESERIES),
        projector.writer,
        LoggedPoints(source),
        codec,
        follower,
        partitions=settings.partitions,
        timeout_s=topology.timeout_s,
    )
    projector.on_lost = points.project_again
    publisher = SnapshotPublisher(
        experiments,
        outlets,
        projector,
        follower,
        LogReaders(
            LoggedDecisions(source, framing),
            LastSnapshots(
                source,
                catalogue.of_generation(catalogue.POSTERIORS, follower.generation).name,
                framing,
            ),
        ),
        points,
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
    topology.agent("experiments", [catalogue.COMMANDS, catalogue.TALLIES], experiments)
    experiments.on_release = projector.forget
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
        timeout_s=topology.timeout_s,
    )
    ticks = DueCommandLogger(
        experiments,
        outlets.commands,
        codec,
        follower,
        outlets.may_command,
        timeout_s=topology.timeout_s,
    )
    counted = CountedUntil(settings, source)
    schedules = DueCommandLogger(
        experiments,
        outlets.commands,
        codec,
        follower,
        outlets.may_command,
        timeout_s=topology.timeout_s,
        looked_for=DueCommands(
            partial(due_schedule, key_of_new=keyring.key_of_new, is_counted=counted.has),
            SCHEDULES_LOOK_S,
        ),
    )
    copier = HoldoutCopier(settings, source, framing, keyring, experiments.has_holdouts)
    tasks: dict[str, Run] = {
        "holdouts": copier.run,
        "emitter": emitter.run,
        "publisher": publisher.run,
        "delivery": publisher.delivery.run,
        "take-over": publisher.take_over,
        "timeseries": partial(_once_known, projector, points.run),
        "projector": projector.run,
        "heartbeat": projector.send_heartbeats,
        "endings": endings.run,
        "ticks": ticks.run,
        "schedules": schedules.run,
        "counted": counted.run,
    }
    for name, run in tasks.items():
        app.task(partial(vital, name, run))
    return experiments


class _Topology:
    """The parts that all agents share."""

    def __init__(
        self, app: BatchingApp, settings: Settings, framing: Framing, plans: LoggedPlans
    ) -> None:
        self._app = app
        self._settings = settings
        self._framing = framing
        self._plans = plans
        self.timeout_s = settings.kafka_timeout_s * 3
        self.decisions = self.topic(catalogue.DECISIONS)
        self.dead_letters = self.topic(catalogue.DEAD_LETTERS)
        self.observations = self.topic(catalogue.OBSERVATIONS)

    def topic(self, *topics: catalogue.Topic) -> faust.TopicT:
        """Return topics of raw bytes: Faust acknowledges records that it fails to decode."""
        return self._app.topic(
            *map(self._settings.topic_name, topics),
            key_type=bytes,
            value_type=bytes,
            key_serializer="raw",
            value_serializer="raw",
        )

    def agent(self, name: str, sources: Sequence[catalogue.Topic], stage: Stage) -> None:
        """Attach an agent with its table."""
        table = DurableTable(
            self._app,
            name=f"{name}-state",
            key_type=bytes,
            value_type=bytes,
            partitions=self._settings.partitions,
        )
        self._app.tables.add(table)
        processor = PartitionProcessor(
            self._app,
            table,
            stage,
            [self._settings.topic_name(source) for source in sources],
            self._framing,
            self._plans.learn,
            self._publish,
            write_timeout_s=self.timeout_s,
        )

        async def run(stream: StreamT[bytes]) -> None:
            await processor.run(stream)

        self._app.agent(self.topic(*sources), name=name)(run)

    async def _publish(self, outcome: BatchOutcome) -> None:
        moved, letters = outcome.misplaced, outcome.dead_letters
        if not self._app.identities.may_write(catalogue.OBSERVATIONS):
            topic = self._settings.topic_name(catalogue.OBSERVATIONS)
            moved, letters = [], letters + letters_of(moved, topic, self._framing.codec)
        await send_dead_letters(self.dead_letters, letters, self.timeout_s)
        await send_to_their_partitions(
            self.observations, moved, self._framing.codec, self.timeout_s
        )
        records = [
            Outgoing(
                experiment_id(decision.experiment).encode(),
                encode_decision(decision, self._framing.codec),
            )
            for decision in outcome.decisions
        ]
        await deliver(self.decisions, records, self.timeout_s)


async def _once_known(projector: Projector, run: Run) -> None:
    """Run a writer to Redis once a loss of data in Redis would be noticed."""
    await projector.is_known.wait()
    await run()
