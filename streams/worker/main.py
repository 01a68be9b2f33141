"""The composition root of a worker process, configured by the environment."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import signal
import socket
import sys
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import stamina

from schemas.catalogue import COMMANDS, IMPRESSIONS, OBSERVATIONS, TALLIES
from streams.fold.garbage_collection import collect_seldom
from streams.kafka.admin import create_topics
from streams.kafka.generations import generations_of
from streams.kafka.rights import check_worker
from streams.kafka.schema_levels import settled_levels
from streams.kafka.source import KafkaSource
from streams.model.errors import ConfigurationError, DependencyError, EngineError
from streams.model.generations import Generations
from streams.model.schema_levels import SchemaLevels, Versions
from streams.process.background import Run, vital
from streams.process.exits import before_end, die, leave, refuse
from streams.process.metrics_server import start_metrics_server
from streams.process.reload import on_hangup
from streams.process.running import run_process
from streams.process.watchdog import LoopWatchdog
from streams.projection.connection import connect
from streams.projection.exits import note_exit
from streams.projection.keys import Keys
from streams.projection.receipts import ReceiptStore
from streams.projection.refusals import note_refusal
from streams.projection.writer import ProjectionWriter
from streams.receipt_keys import ReceiptKeys
from streams.replay.partitions import FoldInputs
from streams.replay.receipts import ReceiptLog
from streams.settings import ENVIRONMENT_PREFIX, Settings, load_settings
from streams.wire.framing import framing
from streams.wire.schema_gate import SchemaGate, parse_pins, refusal
from streams.worker import metrics
from streams.worker.app import make_app
from streams.worker.generation_follower import GenerationFollower
from streams.worker.identities import LogEnds, TopicIdentities
from streams.worker.projector import Projector
from streams.worker.receipts import ReceiptKeeper
from streams.worker.recovery_monitor import monitor_recovery
from streams.worker.topology import attach
from streams.worker.transport import BatchingApp

STOP_TIMEOUT_S = 4.0
"""Longest wait for a clean stop. Records that are not durable by then are read again."""

SIGN_OFF_TIMEOUT_S = 1.0
"""Longest wait for Redis at the end; the heartbeat of this worker expires anyway."""

logger = logging.getLogger(__name__)


async def run(settings: Settings) -> None:
    """Run a worker until SIGTERM or SIGINT, and end the process.

    Raises:
        ConfigurationError: it cannot run with these settings.
        DependencyError: Kafka or the schema registry has not answered for too long.
    """
    keys = ReceiptKeys(settings)
    on_hangup({"receipt keys": keys.reload})
    gate = SchemaGate(parse_pins(settings.write_schemas))
    sources = (IMPRESSIONS, OBSERVATIONS, COMMANDS, TALLIES)
    identities = TopicIdentities(settings, [settings.topic_name(topic) for topic in sources])
    async with _noted(settings):
        generations, offset, levels = await _wait_for_kafka(settings, gate.reads, identities)
    gate.take(levels)
    if gate.too_new:
        raise ConfigurationError(refusal(gate.too_new))
    worker_id = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
    redis = connect(settings.redis_url)
    before_end(partial(note_exit, settings.redis_url, Keys(settings.namespace), "worker"))
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(redis.aclose)
        watchdog = stack.enter_context(LoopWatchdog(settings.worker_loop_stall_s))
        metrics.LOOP_LAG.set_function(lambda: watchdog.lag_s)
        opened = framing(
            settings.schema_registry_url,
            gate=gate,
            startup_timeout_s=settings.kafka_startup_timeout_s,
        )
        async with _noted(settings):
            frames = await stack.enter_async_context(opened)
        writer = ProjectionWriter(redis, Keys(settings.namespace, settings.generation), gate)
        follower = stack.enter_context(
            GenerationFollower(settings, generations, offset, writer.follow, gate)
        )
        projector = Projector(writer, worker_id, lambda: identities.lacking)
        app = make_app(settings)
        app.loop = asyncio.get_running_loop()
        experiments = attach(app, settings, frames, keys.keyring, projector, follower, identities)
        keeper = ReceiptKeeper(
            ReceiptStore(redis, Keys(settings.namespace), settings.sticky_ttl_s),
            lambda: ReceiptLog(KafkaSource(settings), FoldInputs.of(keys.as_settings())),
            worker_id,
            experiments.archived,
            lowered=experiments.lowered,
        )

        async def refuse_topic(error: EngineError) -> None:
            await _note(settings, error)
            refuse(str(error))

        app.rewound = LogEnds(settings, refuse_topic).rewound
        if settings.worker_metrics_port:
            start_metrics_server(
                settings.worker_metrics_host,
                settings.worker_metrics_port,
                f"{ENVIRONMENT_PREFIX}WORKER_METRICS_PORT",
            )
        # The app's own tasks wait for recovery.
        recovery = monitor_recovery(app, settings.recovery_stall_s)
        runs: dict[str, Run] = {
            "recovery": lambda: recovery,
            "generations": follower.run,
            "receipts": keeper.run,
            "topics": lambda: identities.watch(refuse_topic),
        }
        watches = [asyncio.create_task(vital(name, start)) for name, start in runs.items()]
        await _run_until_signal(app)
        for watch in watches:
            watch.cancel()
        await _stop(app)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SIGN_OFF_TIMEOUT_S):
                await projector.sign_off()
        # Threads of the consumer may wait for the broker, but hold nothing that would be lost.
        leave()


@contextlib.asynccontextmanager
async def _noted(settings: Settings) -> AsyncIterator[None]:
    """Note why this worker does not run, if it is a configuration error."""
    try:
        yield
    except ConfigurationError as error:
        await _note(settings, error)
        raise


async def _note(settings: Settings, error: EngineError) -> None:
    """Store the reason why this worker does not run, for `experiment doctor`, if Redis answers."""
    redis = connect(settings.redis_url)
    try:
        with contextlib.suppress(DependencyError, TimeoutError):
            async with asyncio.timeout(SIGN_OFF_TIMEOUT_S):
                await note_refusal(redis, Keys(settings.namespace, settings.generation), error)
    finally:
        await redis.aclose()


async def _wait_for_kafka(
    settings: Settings, reads: Versions, identities: TopicIdentities
) -> tuple[Generations, int, SchemaLevels]:
    """Wait for Kafka, create the topics, and check them.

    Returns:
        The state of the log of generations, the offset where it continues, and the schema versions
        that are written.
    """

    def prepare() -> tuple[Generations, int, SchemaLevels]:
        check_worker(settings)  # a missing right is an error, for which waiting is useless
        generations, offset = generations_of(settings)
        if settings.generation in generations.dropped:
            raise ConfigurationError(
                f"generation == {settings.generation} was dropped, must be one that is kept; "
                f"{generations.active} is active",
                f"{ENVIRONMENT_PREFIX}GENERATION",
            )
        create_topics(settings)
        check_worker(settings)
        identities.look()
        return generations, offset, settled_levels(settings, reads)

    async for attempt in stamina.retry_context(
        on=DependencyError,
        attempts=None,
        timeout=settings.kafka_startup_timeout_s,
        wait_initial=0.2,
        wait_max=2.0,
    ):
        with attempt:
            return await asyncio.to_thread(prepare)
    raise AssertionError  # the last attempt raises its error


async def _run_until_signal(app: BatchingApp) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    _make_directory(Path(app.conf.datadir))
    app.finalize()
    tasks = {
        "start": asyncio.create_task(app.start()),
        "stop": asyncio.create_task(stop.wait()),
        "crash": asyncio.create_task(app._crashed.wait()),  # noqa: SLF001 - as mode's own worker
    }
    # The start task also ends when the start has succeeded.
    await asyncio.wait(tasks.values(), return_when=asyncio.FIRST_COMPLETED)
    if tasks["start"].done() and (error := tasks["start"].exception()) is not None:
        logger.critical("the app has not started", exc_info=error)
        die("the app has not started")
    await asyncio.wait([tasks["stop"], tasks["crash"]], return_when=asyncio.FIRST_COMPLETED)
    if app.crashed:
        logger.critical("the app has crashed", exc_info=app.crash_reason)
        die("the app has crashed")
    for task in tasks.values():
        task.cancel()


def _make_directory(path: Path) -> None:
    with contextlib.suppress(OSError):  # Faust reports a directory that it cannot use
        path.mkdir(parents=True, exist_ok=True)


async def _stop(app: BatchingApp) -> None:
    try:
        async with asyncio.timeout(STOP_TIMEOUT_S):
            await app.stop()
    except TimeoutError:
        logger.warning("not stopped after %.0f s, leaving", STOP_TIMEOUT_S)


def main() -> None:
    """Run a worker, and exit 2 if it cannot run with these settings."""
    collect_seldom()
    sys.exit(run_process(load_settings, run))
