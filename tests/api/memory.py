"""Twins of the API's ports in memory: a worker that applies commands, and an API around it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI

from api.auth import ApiKeyAuth
from api.http.cors import Origins
from api.http.dependencies import Services
from api.http.fast_path import FastPathApp
from api.http.fastapi_app import fastapi_app
from api.http.models.responses import Readiness
from api.http.pages import stats_page
from api.monitoring.counters import RequestCounters
from api.outbox import IMPRESSIONS, OBSERVATIONS, Outbox
from api.receipts.sticky import StickyReceipts
from api.services.assign import AssignmentService
from api.services.control import CommandService
from api.services.experiment_streams import ExperimentStreams
from api.services.flag_streams import FlagStreams
from api.services.flags import FlagService, UnloggedImpressions
from api.services.impressions import ImpressionService
from api.services.observe import ObservationService
from api.services.operations import OperationsService
from api.services.timeseries import TimeseriesService
from api.services.units import UnitResolver
from api.services.webhooks import WebhookService
from api.snapshots.cache import ExperimentCache
from api.snapshots.event_streams import EventStreams
from api.snapshots.feed import SnapshotFeed
from api.snapshots.flag_changes import FlagChanges
from api.snapshots.follower import SnapshotFollower
from api.spool.entries import SpoolRecord
from api.spool.spool import Spool, SpoolPosition
from streams.experiments.history import entries_json
from streams.experiments.lifecycle import Experiment, Status
from streams.experiments.roster import spread
from streams.experiments.snapshot import Allocation, Snapshot
from streams.experiments.statistics.recommendation import ReasonCode, RecommendedAction
from streams.experiments.statistics.variant_report import VariantReport
from streams.fold.decisions import is_report_due
from streams.fold.experiment_state import ExperimentState
from streams.model.errors import DependencyError
from streams.model.events import Command, ImpressionBatch, Observation
from streams.model.ids import experiment_id
from streams.model.receipts import Keyring
from streams.ops.doctor.facts import ApiFacts
from streams.projection.writer import HistoryRecord
from streams.settings import Settings
from streams.webhooks.addresses import AddressPolicy
from streams.wire.batch_tags import sealer
from streams.wire.impressions import decode_impression_batch, encode_impression_batch
from streams.wire.observations import decode_observations, encode_observation_batch
from streams.wire.schema_gate import SchemaGate
from streams.wire.snapshots import encode_snapshot
from tests.patience import PATIENCE_S
from tests.twins.projection import MemoryProjection, MemoryProjectionReader
from tests.twins.receipts import MemoryReceiptStore
from tests.twins.webhooks import SEALS, MemoryWebhooks

NOW_MS = 1_764_000_000_000
DAY_MS = 86_400_000
KEYRING = Keyring({1: bytes(range(32))})
REPORT = VariantReport(0, 0, 0.0, 0.0, 1.0, 0.5, 0.0, {})


def snapshot_of(experiment: Experiment, version: int | None = None) -> Snapshot:
    """Return a snapshot without events: the declared weights, nothing known."""
    n_variants, active = len(experiment.definition.variants), experiment.definition.active
    share = 65_536 // len(active)
    others = [share] * (len(active) - 1)
    weights = spread((65_536 - sum(others), *others), active, n_variants)
    return Snapshot(
        experiment=experiment,
        version=version or experiment.version,
        allocation=Allocation(experiment.version, weights),
        variants=(REPORT,) * n_variants,
        winner=experiment.winner,
        confidence=0.5,
        recommended_action=RecommendedAction.CONTINUE,
        reason_code=ReasonCode.NOT_STARTED,
        duplicates=0,
        cells=(),
        as_of_ms=0,
    )


@dataclass
class MemoryWorker:
    """Log and worker in one: commands take effect in the projection at once."""

    projection: MemoryProjection
    is_silent: bool = False
    is_kafka_away: bool = False
    commands: list[Command] = field(default_factory=list)
    known: dict[str, ExperimentState] = field(default_factory=dict)

    async def append(self, command: Command) -> None:
        if self.is_kafka_away:
            raise DependencyError("kafka", "away", retry_after_s=2)
        self.commands.append(command)
        if self.is_silent:
            self.projection.unanswered.add(command.command_id)
        if self.is_silent or command.command_id in self.projection.answers:
            return
        name = experiment_id(command.experiment)
        before = self.projection.find(name)
        known = self.known.setdefault(name, ExperimentState(command.experiment))
        known.experiment = before.experiment if before else None
        answer = known.take_command(len(self.commands), command).answer
        assert answer is not None
        if answer.accepted and known.experiment is not None:
            # What was published in between counts, as the events of a real one do.
            version = before.version + 1 if before else 1
            snapshot = snapshot_of(known.experiment, version)
            self.projection.put(snapshot)
            if is_report_due(snapshot):
                self.projection.conclusions.setdefault(name, encode_snapshot(snapshot))
        place = known.last_offset, known.logged.n_logged
        self.projection.histories[name] = HistoryRecord(name, place, entries_json(known.history()))
        self.projection.answer(answer)


@dataclass
class MemoryTopics:
    """Records that were handed to Kafka."""

    records: list[SpoolRecord] = field(default_factory=list)

    def offer(self, positions: Sequence[SpoolPosition], records: Sequence[SpoolRecord]) -> None:
        self.records += records

    def impressions(self) -> list[ImpressionBatch]:
        found = [record for record in self.records if record.topic == IMPRESSIONS]
        return [decode_impression_batch(record.payload) for record in found]

    def observations(self) -> list[Observation]:
        found = [record for record in self.records if record.topic == OBSERVATIONS]
        return [
            observation
            for record in found
            for observation in decode_observations(record.payload).observations
            if isinstance(observation, Observation)
        ]


class InProcess:
    """The process beside the API, as a thread."""

    async def run(self, function: Any, *arguments: Any) -> Any:
        return await asyncio.to_thread(function, *arguments)


@dataclass
class Clock:
    now_ms: int = NOW_MS

    def __call__(self) -> int:
        return self.now_ms


@dataclass
class Api:
    """An API without servers, and all that one may want to look at."""

    http: httpx.AsyncClient
    app: FastPathApp
    fastapi: FastAPI
    worker: MemoryWorker
    projection: MemoryProjection
    reader: MemoryProjectionReader
    topics: MemoryTopics
    receipts: MemoryReceiptStore
    sticky: StickyReceipts
    experiments: ExperimentCache
    counters: RequestCounters
    clock: Clock
    spool: Spool
    assignments: AssignmentService
    outbox: Outbox
    webhooks: MemoryWebhooks

    @property
    def answered(self) -> Mapping[str, int]:
        """Number of answers by reason."""
        return self.assignments.answered

    async def create(self, config: Mapping[str, object] = {}, variants: object = None) -> str:
        body = definition(config, variants)
        answer = await self.http.post("/experiments", json=body)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    async def run(self, config: Mapping[str, object] = {}, variants: object = None) -> str:
        name = await self.create(config, variants)
        answer = await self.http.post(f"/experiments/{name}/start")
        assert answer.status_code == 200, answer.text
        return name

    async def run_overlapping(
        self,
        config: Mapping[str, object] = {},
        first_config: Mapping[str, object] = {},
        layer: str = "page",
    ) -> tuple[str, str]:
        """Run two experiments of a layer that overlap; the second one is refused.

        As if two API processes had started them, each before it knew of the other's.
        """
        halves = ({"key": layer, "range": each} for each in ([0.0, 0.5], [0.5, 1.0]))
        first = await self.run({**config, "key": None, **first_config, "layer": next(halves)})
        second = await self.run({**config, "layer": next(halves)})
        known = self.experiments.snapshot(second).experiment
        assert known.definition.config.layer is not None
        overlapping = known.definition.config.layer.model_copy(update={"range": (0.25, 1.0)})
        changed = known.definition.config.model_copy(update={"layer": overlapping})
        after = known.definition.model_copy(update={"config": changed})
        started_ms = (known.started_at_ms or 0) + 1
        late = replace(known, definition=after, version=9, started_at_ms=started_ms)
        self.publish(second, experiment=replace(late, status=Status.PAUSED))
        self.publish(second, experiment=late)
        return first, second

    def publish(self, name: str, **changes: object) -> None:
        """Let the worker publish a newer snapshot."""
        before = self.projection.snapshot(name)
        after = replace(before, version=before.version + 1, **changes)  # type: ignore[arg-type]
        self.projection.put(after)
        self.experiments.put(after)


def definition(config: Mapping[str, object] = {}, variants: object = None) -> dict[str, object]:
    """Return a good body of `POST /experiments`, with changes; None takes a field out."""
    full = {"name": "Hero", "type": "thompson_sampling", "primaryMetric": "click", **config}
    return {
        "config": {name: value for name, value in full.items() if value is not None},
        "variants": variants
        if variants is not None
        else [
            {"name": "A", "isControl": True, "config": {"adId": "ad_1"}},
            {"name": "B", "config": {"adId": "ad_2"}},
        ],
    }


@asynccontextmanager
async def memory_api(
    directory: Path,
    *,
    auth: ApiKeyAuth | None = None,
    spool_max_bytes: int = 2**24,
    max_body_bytes: int = 2**16,
    readiness: Readiness | None = None,
    schemas: SchemaGate | None = None,
    cors_origins: str = "",
    public_url: str = "",
) -> AsyncIterator[Api]:
    """Yield an API whose ports are in memory, but for the spool, which is real."""
    projection, receipts, topics, clock = (
        MemoryProjection(),
        MemoryReceiptStore(),
        MemoryTopics(),
        Clock(),
    )
    worker, reader = MemoryWorker(projection), projection.reader()
    sticky = StickyReceipts(receipts, clock=lambda: clock.now_ms / 1000)
    await sticky.look()
    counters = RequestCounters()
    with Spool(directory, "own", spool_max_bytes) as spool:
        outbox = Outbox(
            spool,
            topics,
            incarnation=7,
            partitions=4,
            encode_impressions=encode_impression_batch,
            encode_observations=encode_observation_batch,
            seal=sealer(KEYRING),
        )
        streams = EventStreams()
        changes = FlagChanges(streams.announce)
        feed = SnapshotFeed(
            "memory",
            4,
            KEYRING,
            lambda: sticky.aliased | sticky.chosen_from_sets,
            lambda: experiments.refused,
            lambda: experiments.is_complete and sticky.has_read,
            clock,
        )
        experiments = ExperimentCache(
            (changes.note, feed.note, streams.announce_experiment),
            (changes.forget, feed.forget, streams.announce_experiment),
        )
        follower = SnapshotFollower(reader, experiments, 1.0)
        await follower.sweep()
        commands = CommandService(worker, reader, follower, PATIENCE_S, clock)
        assignments = AssignmentService(experiments, KEYRING, outbox, sticky, clock)
        observations = ObservationService(
            KEYRING,
            outbox,
            clock,
            experiments.check_value,
            UnitResolver(experiments, KEYRING, sticky, clock).receipts,
            experiments.windows,
            lambda: experiments.has_holdouts,
        )
        webhooks = MemoryWebhooks()
        unlogged = AssignmentService(experiments, KEYRING, UnloggedImpressions(), sticky, clock)
        auth = auth or ApiKeyAuth(None)
        services = Services(
            experiments,
            commands,
            assignments,
            observations,
            FlagService(experiments, assignments, unlogged),
            FlagStreams(changes, streams, KEYRING, clock, public_url, is_open=auth.is_open),
            ExperimentStreams(experiments, streams, stats_page),
            streams,
            auth,
            SchemaGate() if schemas is None else schemas,
            counters,
            lambda: readiness or Readiness(ready=True),
            lambda: b"",
            KEYRING.key_of_new,
            reader.conclusion,
            reader.history,
            TimeseriesService(reader.time_point_slots, reader.time_points),
            feed,
            ImpressionService(KEYRING, outbox, 4),
            WebhookService(webhooks.reader(), webhooks, SEALS, AddressPolicy(), clock),
            OperationsService(Settings(), InProcess(), InProcess(), ApiFacts),
        )
        fastapi, table = fastapi_app(services, "0")
        app = FastPathApp(services, table, fastapi, max_body_bytes, Origins(cors_origins))
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://api") as http:
            yield Api(
                http,
                app,
                fastapi,
                worker,
                projection,
                reader,
                topics,
                receipts,
                sticky,
                experiments,
                counters,
                clock,
                spool,
                assignments,
                outbox,
                webhooks,
            )
