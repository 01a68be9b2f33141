"""Composition root of the API: the one module that constructs every part."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from importlib.metadata import version
from typing import Any

from confluent_kafka import Producer as KafkaProducer

from api.auth import ApiKeyAuth, api_key_auth, reload_keys
from api.command_log import KafkaCommandLog
from api.delivery import PRODUCER_CONFIG, Delivery, Producer
from api.http.cors import Origins
from api.http.dependencies import Services
from api.http.fast_path import FastPathApp
from api.http.fastapi_app import fastapi_app
from api.http.pages import stats_page
from api.monitoring.counters import RequestCounters
from api.monitoring.kafka_probe import KafkaProbe
from api.monitoring.metrics_port import metrics_port
from api.monitoring.process_ends import ProcessEnds
from api.monitoring.prometheus import MetricsCollector, render_metrics
from api.monitoring.readiness import PROBE_S, ReadinessMonitor
from api.outbox import Outbox
from api.receipts.sticky import StickyReceipts
from api.services.assign import AssignmentService
from api.services.control import CommandService
from api.services.experiment_streams import ExperimentStreams
from api.services.flag_streams import FlagStreams
from api.services.flags import FlagService, UnloggedImpressions
from api.services.impressions import ImpressionService
from api.services.isolated_process import IsolatedProcess
from api.services.observe import ObservationService
from api.services.operations import OperationsService
from api.services.outside import log_outside
from api.services.timeseries import TimeseriesService
from api.services.units import UnitResolver
from api.services.webhooks import WebhookService
from api.snapshots.cache import ExperimentCache
from api.snapshots.event_streams import EventStreams
from api.snapshots.feed import SnapshotFeed
from api.snapshots.flag_changes import FlagChanges
from api.snapshots.follower import SnapshotFollower
from api.spool.spool import Spool
from schemas.catalogue import COMMANDS, IMPRESSIONS, OBSERVATIONS
from schemas.codec import Codec
from streams.kafka.outages import logging_outages
from streams.kafka.source import KafkaSource
from streams.model.errors import DependencyError
from streams.model.receipts import Keyring
from streams.ops.doctor.api_facts import api_facts
from streams.ops.doctor.facts import ApiFacts
from streams.process.background import BackgroundTasks, Run
from streams.process.exits import before_end
from streams.process.reload import on_hangup
from streams.process.watchdog import LoopWatchdog
from streams.projection.connection import connect
from streams.projection.exits import exits, note_exit
from streams.projection.keys import Keys
from streams.projection.presence import ApiPresence
from streams.projection.reader import ProjectionReader
from streams.projection.receipts import ReceiptStore
from streams.receipt_keys import ReceiptKeys
from streams.settings import Settings
from streams.webhooks.configuration import policy_of
from streams.webhooks.log import WebhookReader, WebhookWriter
from streams.webhooks.sealing import seals_of
from streams.wire.batch_tags import sealer
from streams.wire.commands import encode_command
from streams.wire.framing import framing
from streams.wire.impressions import encode_impression_batch
from streams.wire.observations import encode_observation_batch
from streams.wire.schema_gate import SchemaGate, parse_pins

PUMP_S = 0.01
"""Seconds between two polls for acknowledgements of Kafka."""

DRAIN_S = 8.0
"""Longest wait for Kafka of a stopping process, in seconds; the rest stays in the spool.

A topic that was just created can take seconds to accept its first record, and the disk of a
container may not outlive it, so this is most of the stop grace period in `docker-compose.yml`.
"""

_log = logging.getLogger(__name__)


@asynccontextmanager
async def running_api(settings: Settings) -> AsyncIterator[FastPathApp]:
    """Run the API's background work and yield the ASGI application.

    Raises:
        ConfigurationError: the settings are inconsistent, the spool is unusable, or the schema
            registry refuses a schema.
        DependencyError: the schema registry has not answered for too long.
    """
    auth = api_key_auth(settings.api_host, settings.api_keys_file)
    receipt_keys = ReceiptKeys(settings)
    keyring = receipt_keys.keyring
    keys = Keys(settings.namespace)
    async with AsyncExitStack() as resources:
        watchdog = resources.enter_context(LoopWatchdog(settings.api_loop_stall_s))
        schemas = SchemaGate(parse_pins(settings.write_schemas))
        redis = connect(settings.redis_url)
        before_end(partial(note_exit, settings.redis_url, keys, "api"))
        resources.push_async_callback(redis.aclose)
        incarnation = secrets.randbits(64)
        presence = ApiPresence(redis, keys, f"{incarnation:016x}", schemas)
        with contextlib.suppress(DependencyError):  # it is read again when Redis answers
            await presence.look()
        resources.push_async_callback(presence.sign_off)
        frames = framing(
            settings.schema_registry_url,
            gate=schemas,
            startup_timeout_s=settings.kafka_startup_timeout_s,
        )
        codec = (await resources.enter_async_context(frames)).codec
        outbox, spool, delivery = _outbox(settings, resources, codec, keyring, incarnation)
        reader = ProjectionReader(redis, keys)
        streams = EventStreams()
        changes = FlagChanges(streams.announce)
        sticky = StickyReceipts(ReceiptStore(redis, keys, settings.sticky_ttl_s))
        experiments, feed = _experiments(
            receipt_keys, sticky, streams, changes, f"{incarnation:016x}", settings.partitions
        )
        follower = SnapshotFollower(reader, experiments, settings.snapshot_sweep_s)
        assignments = AssignmentService(experiments, keyring, outbox, sticky, now_ms)
        observations = ObservationService(
            keyring,
            outbox,
            now_ms,
            experiments.check_value,
            UnitResolver(experiments, keyring, sticky, now_ms).receipts,
            experiments.windows,
            lambda: experiments.has_holdouts,
        )
        command_log = KafkaCommandLog(
            settings.confluent_config() | logging_outages(settings, "writing commands"),
            COMMANDS.full_name(settings.topic_prefix),
            partial(encode_command, codec=codec),
            0.8 * settings.command_timeout_s,
        )
        resources.push_async_callback(command_log.close)
        background = BackgroundTasks()
        monitor = ReadinessMonitor(
            follower,
            spool,
            delivery,
            KafkaProbe(settings.model_copy(update={"kafka_timeout_s": PROBE_S})),
            reader.live_workers,
            background=background,
            probe_commands=command_log.probe,
        )
        monitor.schemas = schemas
        counters = RequestCounters()
        ends = ProcessEnds(partial(exits, redis, keys))
        collector = MetricsCollector(
            counters,
            follower,
            assignments,
            observations,
            sticky,
            outbox,
            spool,
            delivery,
            monitor,
            background,
            watchdog,
            ends,
            settings.api_process,
        )
        resources.enter_context(
            metrics_port(settings.api_metrics_host, settings.api_metrics_port, collector.collect)
        )
        services = Services(
            experiments,
            CommandService(
                command_log,
                reader,
                follower,
                settings.command_timeout_s,
                now_ms,
                settings.max_experiments,
            ),
            assignments,
            observations,
            FlagService(
                experiments,
                assignments,
                AssignmentService(experiments, keyring, UnloggedImpressions(), sticky, now_ms),
            ),
            FlagStreams(
                changes, streams, keyring, now_ms, settings.public_url, is_open=auth.is_open
            ),
            ExperimentStreams(experiments, streams, stats_page),
            streams,
            auth,
            schemas,
            counters,
            monitor.readiness,
            partial(render_metrics, collector),
            keyring.key_of_new,
            reader.conclusion,
            reader.history,
            TimeseriesService(reader.time_point_slots, reader.time_points),
            feed,
            ImpressionService(keyring, outbox, settings.partitions),
            _webhook_service(settings, resources),
            _operations(settings, resources, monitor, collector),
        )
        fastapi, table = fastapi_app(services, version("experiment-streams"))
        _reload_on_hangup(settings, receipt_keys, auth, streams)
        follower.follow(background)
        monitor.follow(background)
        runs: dict[str, Run] = {
            "presence": presence.follow,
            "delivery": partial(_pump, delivery),
            "receipts": sticky.follow,
            "exits": ends.follow,
            "outside": partial(log_outside, assignments, outbox),
        }
        for name, run in runs.items():
            background.start(name, run)
        resources.push_async_callback(background.stop)
        yield FastPathApp(
            services, table, fastapi, settings.max_body_bytes, Origins(settings.cors_origins)
        )


def _outbox(
    settings: Settings,
    resources: AsyncExitStack,
    codec: Codec,
    keyring: Keyring,
    incarnation: int,
) -> tuple[Outbox, Spool, Delivery]:
    """Open the spool of this process, and return what writes to it and what sends it to Kafka."""
    spool = resources.enter_context(
        Spool(settings.spool_dir, f"{incarnation:016x}", settings.spool_max_bytes)
    )
    delivery = Delivery(
        spool,
        partial(
            _producer,
            settings.confluent_config()
            | dict(PRODUCER_CONFIG)
            | logging_outages(settings, "writing events"),
        ),
        [topic.full_name(settings.topic_prefix) for topic in (IMPRESSIONS, OBSERVATIONS)],
    )
    resources.push_async_callback(asyncio.to_thread, delivery.drain, DRAIN_S)
    outbox = Outbox(
        spool,
        delivery,
        incarnation=incarnation,
        partitions=settings.partitions,
        encode_impressions=partial(encode_impression_batch, codec=codec),
        encode_observations=partial(encode_observation_batch, codec=codec),
        seal=sealer(keyring),
    )
    return outbox, spool, delivery


def _experiments(
    receipt_keys: ReceiptKeys,
    sticky: StickyReceipts,
    streams: EventStreams,
    changes: FlagChanges,
    process_name: str,
    partitions: int,
) -> tuple[ExperimentCache, SnapshotFeed]:
    """Return the experiments in memory, and the feed of them for in-process assigners."""
    feed = SnapshotFeed(
        process_name,
        partitions,
        receipt_keys.keyring,
        lambda: sticky.aliased | sticky.chosen_from_sets,
        lambda: experiments.refused,
        lambda: experiments.is_complete and sticky.has_read,
        now_ms,
    )
    experiments = ExperimentCache(
        (receipt_keys.note, changes.note, feed.note, streams.announce_experiment),
        (receipt_keys.forget, changes.forget, feed.forget, streams.announce_experiment),
    )
    return experiments, feed


def _webhook_service(settings: Settings, resources: AsyncExitStack) -> WebhookService:
    writer = WebhookWriter(settings)
    resources.push_async_callback(asyncio.to_thread, writer.close)
    reader = WebhookReader(KafkaSource(settings))
    return WebhookService(reader, writer, seals_of(settings), policy_of(settings), now_ms)


def _operations(
    settings: Settings,
    resources: AsyncExitStack,
    monitor: ReadinessMonitor,
    collector: MetricsCollector,
) -> OperationsService:
    apart, computing = IsolatedProcess(), IsolatedProcess()
    for process in (apart, computing):
        resources.callback(process.close)

    def own_facts() -> ApiFacts:
        return api_facts(monitor.readiness().model_dump(), render_metrics(collector).decode(), None)

    return OperationsService(settings, apart, computing, own_facts)


def _reload_on_hangup(
    settings: Settings, receipt_keys: ReceiptKeys, auth: ApiKeyAuth, streams: EventStreams
) -> None:
    reloads = {"receipt keys": receipt_keys.reload}
    if settings.api_keys_file is not None:
        reloads["API keys"] = partial(reload_keys, auth, settings.api_keys_file, streams.admit_anew)
    on_hangup(reloads)


def now_ms() -> int:
    """Return the time, in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


async def _pump(delivery: Delivery) -> None:
    while True:
        try:
            delivery.pump()
        except OSError:
            _log.exception("the spool cannot be read; trying again")
            await asyncio.sleep(1.0)
        await asyncio.sleep(PUMP_S)


def _producer(config: dict[str, Any]) -> Producer:
    producer: Producer = KafkaProducer(config)
    return producer
