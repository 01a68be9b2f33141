"""Asks Kafka, Redis and the API for the facts, in an order that makes a difference mean something.

What is upstream is read first: cells, then snapshots, then Redis. A later look may only know more,
so one that knows less is a finding and no race.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

import httpx
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from prometheus_client.parser import text_string_to_metric_families

from schemas.catalogue import (
    POSTERIORS,
    TALLIES,
    Topic,
    of_generation,
)
from streams.analysis.misspelled_metrics import misspelt_metrics
from streams.experiments.exposure import Exposure
from streams.experiments.lifecycle import Experiment, Status
from streams.experiments.schedule import held_by, next_at_ms
from streams.experiments.shared_unit_conflicts import refused_in_layers
from streams.experiments.snapshot import Snapshot
from streams.kafka.admin import required_topics
from streams.kafka.answers import ClusterError, admin_client
from streams.kafka.generations import generations_of
from streams.kafka.positions import Positions
from streams.kafka.progress import SOURCES, Patience, Spans, committed, watch
from streams.kafka.records import LogError, all_records
from streams.kafka.requirements import deviations, missing_rights
from streams.kafka.rights import log_group, rights_of_doctor
from streams.kafka.schema_levels import levels_of
from streams.kafka.source import KafkaSource
from streams.kafka.topics import TopicDescriptions, describe, missing_group_rights
from streams.model.errors import DependencyError, EngineError, EventError
from streams.model.ids import experiment_id
from streams.model.receipts import Keyring
from streams.ops.dead_letters.reading import Selection, find_letters
from streams.ops.doctor.facts import (
    ApiFacts,
    Facts,
    KafkaFacts,
    PartitionFacts,
    RedisFacts,
    SnapshotFacts,
)
from streams.ops.doctor.schemas import SchemaFacts
from streams.ops.doctor.sending import still_sending
from streams.ops.doctor.webhooks import WebhookFacts, webhook_facts
from streams.projection.connection import connect, redis_errors
from streams.projection.keys import Keys
from streams.projection.presence import live_processes
from streams.projection.reader import ProjectionReader
from streams.projection.refusals import last_refusal
from streams.receipt_keys import keyring_of
from streams.settings import Settings
from streams.wire.cells import decode_cell
from streams.wire.framing import REGISTRY, decoding
from streams.wire.snapshots import decode_snapshot

HOUR_MS = 3_600_000
_API_TIMEOUT_S = 5.0

Offsets = dict[tuple[str, int], int]
"""Last offset folded, by source and partition."""


async def gather(
    settings: Settings, api: str | ApiFacts, hours: int, api_key: str | None = None
) -> Facts:
    """Return what is there now; takes a few commit intervals where workers have not taken all.

    Args:
        settings: Where Kafka and Redis are.
        api: Address of the API, or what it says of itself.
        hours: How far back dead letters are counted.
        api_key: Key for the API's metrics, where it asks for one.
    """
    kafka, newest, tallies = await _kafka(settings, hours)
    redis, versions = await _redis(settings)
    refused = refused_in_layers(each.experiment for each in newest.values())
    now_ms = time.time_ns() // 1_000_000
    snapshots = (
        SnapshotFacts(
            experiment_id=name,
            version=snapshot.version,
            redis_version=versions.get(name),
            cells={(cell.source, cell.partition): cell.last_offset for cell in snapshot.cells},
            tallies=tallies.get(name, {}),
            has_receipts=snapshot.experiment.started_at_ms is not None
            and snapshot.experiment.status is not Status.ARCHIVED,
            receipt_key=snapshot.experiment.definition.config.receipt_key,
            is_memory_full=found is not None and found.is_memory_full,
            crossed_units=0 if found is None else found.units_in_several_variants,
            heavy=()
            if found is None
            else tuple((each.assignment_id, each.metric, each.share) for each in found.heavy_units),
            misspelt=tuple((each.metric, each.observed) for each in misspelt_metrics(snapshot)),
            failure=None
            if snapshot.failure is None
            else (snapshot.failure.code, snapshot.failure.error),
            dimensions=tuple(
                (each.code, each.message)
                for report in snapshot.dimensions
                for each in report.findings
            ),
            late_ms=max((e.at_ms - e.due_at_ms for e in snapshot.experiment.history), default=0),
            overdue_ms=_overdue_ms(snapshot.experiment, now_ms),
            ahead_ms=_ahead_ms(snapshot.experiment, now_ms),
            held_by=held_by(snapshot.experiment.history),
            unexposed=_unexposed(snapshot),
            overlaps=None
            if (other := refused.get(snapshot.experiment.number)) is None
            else other.id,
        )
        for name, snapshot in sorted(newest.items())
        # What was archived and is not in Redis has ended.
        if name in versions or snapshot.experiment.status is not Status.ARCHIVED
        for found in [None if snapshot.evidence is None else snapshot.evidence.miscounts]
    )
    keys, keys_error = _receipt_keys(settings)
    return Facts(
        prefix=settings.topic_prefix,
        wanted_partitions=settings.partitions,
        hours=hours,
        receipt_keys_error=keys_error,
        receipt_keys=() if keys is None else keys.ids,
        limited_receipt_keys=frozenset(() if keys is None else keys.limits),
        spool_files_bytes=_files_bytes(settings),
        spool_files_damaged=_damaged_files(settings),
        kafka=kafka,
        redis=redis,
        api=api if isinstance(api, ApiFacts) else await _api(api, api_key),
        snapshots=tuple(snapshots) if kafka.is_whole and redis.error is None else (),
        schemas=await _schemas(settings) if kafka.error is None and redis.error is None else None,
        webhooks=await _webhooks(settings, kafka),
    )


async def _kafka(
    settings: Settings, hours: int
) -> tuple[KafkaFacts, dict[str, Snapshot], dict[str, Offsets]]:
    try:
        client = await asyncio.to_thread(admin_client, settings)
        generations, _ = await asyncio.to_thread(generations_of, settings)
        settings = settings.model_copy(update={"generation": generations.active})
        wanted = required_topics(settings)
        names = [topic.name for topic in wanted]
        described = await asyncio.to_thread(describe, settings, names, client=client)
        missing = described.missing
        found = {name: topic.partitions for name, topic in described.topics.items()}
        needed = dict(rights_of_doctor(settings))
        lacking = await asyncio.to_thread(_lacking, settings, needed, described, client)
        known = KafkaFacts(
            missing=missing,
            partitions=found,
            deviations=tuple(deviations(wanted, described)),
            without_settings=tuple(
                name for name, topic in described.topics.items() if topic.config is None
            ),
            denied=tuple(lacking),
        )
        if missing or lacking:
            return known, {}, {}
        before = await asyncio.to_thread(committed, settings, found)
        tallies: dict[str, Offsets] = {}
        snapshots: dict[str, Snapshot] = {}
        silent: list[str] = []
        with _noted(silent):
            tallies = await _newest_cells(settings)
        spans = {
            settings.topic_name(topic): await asyncio.to_thread(
                KafkaSource(settings).spans, of_generation(topic, settings.generation).name
            )
            for topic in SOURCES
        }
        since_ms = time.time_ns() // 1_000_000 - hours * HOUR_MS
        letters = await asyncio.to_thread(find_letters, settings, Selection(since_ms=since_ms))
        patience = Patience(settings.commit_interval_s)
        after = await watch(settings, spans, patience)
        positions = await _with_sending(settings, spans, _positions(spans, before, after))
        with _noted(silent):
            snapshots = await _newest_snapshots(settings)
            if any(_are_newer(cells, snapshots.get(name)) for name, cells in tallies.items()):
                await asyncio.sleep(patience.left_s)
                snapshots = await _newest_snapshots(settings)
    except (DependencyError, ClusterError, KafkaException) as error:
        return KafkaFacts(error=_said(error), code=getattr(error, "code", "")), {}, {}
    codes: Counter[str] = Counter()
    for each in letters:
        codes[each.letter.code] += each.letter.count
    return (
        replace(
            known,
            positions=tuple(positions),
            dead_letters=codes,
            registry_error=silent[0] if silent else None,
        ),
        snapshots,
        tallies,
    )


def _positions(spans: Spans, before: Positions, after: Positions) -> list[PartitionFacts]:
    return [
        PartitionFacts(
            topic,
            number,
            span.begin,
            span.end,
            before.get((topic, number)),
            after.get((topic, number)),
        )
        for topic, parts in spans.items()
        for number, span in parts.items()
    ]


async def _with_sending(
    settings: Settings, spans: Spans, positions: Sequence[PartitionFacts]
) -> list[PartitionFacts]:
    """Return the partitions, marked where cells are still being sent of one that stands still."""
    standing = {
        (each.topic.removeprefix(settings.topic_prefix), each.partition): each
        for each in positions
        if each.lag and each.committed == each.committed_later
    }
    ends = spans[settings.topic_name(TALLIES)]
    sending = await still_sending(
        KafkaSource(settings),
        of_generation(TALLIES, settings.generation).name,
        {number: span.end for number, span in ends.items()},
        standing,
    )
    marked = [standing[place] for place in sending]
    return [replace(each, is_sending=True) if each in marked else each for each in positions]


def _lacking(
    settings: Settings,
    needed: Mapping[str, frozenset[str]],
    described: TopicDescriptions,
    client: AdminClient,
) -> list[str]:
    groups = {settings.faust_app_id: "DESCRIBE", f"{log_group(settings)}doctor": "DESCRIBE"}
    return missing_rights(needed, described) + missing_group_rights(settings, groups, client=client)


@contextlib.contextmanager
def _noted(silent: list[str]) -> Iterator[None]:
    """Note that the schema registry is silent: lag, log and letters are known without it."""
    try:
        yield
    except DependencyError as error:
        if error.dependency != REGISTRY:
            raise
        silent.append(error.message)


async def _newest_cells(settings: Settings) -> dict[str, Offsets]:
    newest: defaultdict[str, Offsets] = defaultdict(dict)
    async with decoding(settings.schema_registry_url) as frames:
        records = await _newest_records(settings, TALLIES)
        await frames.prepare(records.values())
        for value in records.values():
            with contextlib.suppress(EventError):  # a worker makes a dead letter of it
                cell = decode_cell(value, frames.codec)
                newest[experiment_id(cell.experiment)][cell.source.value, cell.partition] = (
                    cell.last_offset
                )
    return dict(newest)


def _are_newer(cells: Offsets, snapshot: Snapshot | None) -> bool:
    if snapshot is None:  # of an experiment that has ended
        return False
    counted = {(cell.source, cell.partition): cell.last_offset for cell in snapshot.cells}
    return any(offset > counted.get(place, -1) for place, offset in cells.items())


async def _newest_snapshots(settings: Settings) -> dict[str, Snapshot]:
    async with decoding(settings.schema_registry_url) as frames:
        records = await _newest_records(settings, POSTERIORS)
        await frames.prepare(records.values())
        snapshots = []
        for value in records.values():
            with contextlib.suppress(EventError):  # one that cannot be read hides no other
                snapshots.append(decode_snapshot(value, frames.codec))
    return {snapshot.experiment.id: snapshot for snapshot in snapshots}


async def _newest_records(settings: Settings, topic: Topic) -> dict[bytes, bytes]:
    name = of_generation(topic, settings.generation).name

    def read() -> dict[bytes, bytes]:
        newest: dict[bytes, bytes] = {}
        for _, record in all_records(KafkaSource(settings), name):
            if record.key is not None and record.value is not None:
                newest[record.key] = record.value
        return newest

    return await asyncio.to_thread(read)


async def _redis(settings: Settings) -> tuple[RedisFacts, dict[str, int]]:
    client = connect(settings.redis_url)
    try:
        reader = ProjectionReader(client, Keys(settings.namespace))
        with redis_errors():
            asked_ms = time.time_ns() / 1e6
            seconds, micros = await client.time()
            here_ms = (asked_ms + time.time_ns() / 1e6) / 2
        workers = await reader.live_workers()
        projected = await reader.newer({})
        versions = {each.experiment.id: each.version for each in projected.snapshots}
        skew_ms = round(seconds * 1000 + micros / 1000 - here_ms)
        return (
            RedisFacts(
                workers=len(workers),
                skew_ms=skew_ms,
                unreadable=tuple(sorted(projected.unreadable)),
                misplaced=await reader.misplaced(),
                lacking=await reader.lacking(),
                refusal=await last_refusal(client, Keys(settings.namespace)),
            ),
            versions,
        )
    except DependencyError as error:
        return RedisFacts(error=_said(error)), {}
    finally:
        await client.aclose()


async def _schemas(settings: Settings) -> SchemaFacts | None:
    client = connect(settings.redis_url)
    try:
        levels = await asyncio.to_thread(levels_of, settings)
        return SchemaFacts(levels, await live_processes(client, Keys(settings.namespace)))
    except (DependencyError, LogError):
        return None
    finally:
        await client.aclose()


async def _webhooks(settings: Settings, kafka: KafkaFacts) -> tuple[WebhookFacts, ...]:
    if kafka.error is not None or kafka.missing or kafka.denied:
        return ()
    try:
        return await asyncio.to_thread(webhook_facts, KafkaSource(settings))
    except (DependencyError, LogError):
        return ()


async def _api(api: str, api_key: str | None) -> ApiFacts:
    try:
        async with httpx.AsyncClient(base_url=api, timeout=_API_TIMEOUT_S) as client:
            ready = (await client.get("/ready")).json()
            headers = {} if api_key is None else {"authorization": f"Bearer {api_key}"}
            answer = await client.get("/metrics", headers=headers)
            here_ms = time.time_ns() // 1_000_000
            is_refused = answer.status_code in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}
            if not is_refused:
                answer.raise_for_status()
    except (httpx.HTTPError, ValueError) as error:
        return ApiFacts(error=f"the API at {api}: {str(error) or type(error).__name__}")
    date = answer.headers.get("date")
    skew_ms = None
    if date is not None:
        skew_ms = round(parsedate_to_datetime(date).timestamp() * 1000) - here_ms
    return api_facts(ready, "" if is_refused else answer.text, skew_ms, is_refused=is_refused)


def api_facts(
    ready: Mapping[str, Any], metrics: str, skew_ms: int | None, *, is_refused: bool = False
) -> ApiFacts:
    """Return the facts in what an API says of itself.

    Args:
        ready: What `GET /ready` answers.
        metrics: What `GET /metrics` answers.
        skew_ms: Its clock minus this machine's, milliseconds; None if it is not known.
        is_refused: Whether it does not give its metrics.
    """
    values = {
        sample.name: sample.value
        for family in text_string_to_metric_families(metrics)
        for sample in family.samples
        if sample.labels.keys() <= {"process"}  # of one of several processes: that which answered
    }
    return ApiFacts(
        missing=tuple(map(str, ready.get("missing", ()))),
        degraded=tuple(map(str, ready.get("degraded", ()))),
        are_metrics_refused=is_refused,
        spool_bytes=int(values.get("experiment_spool_bytes", 0)),
        spool_max_bytes=int(values.get("experiment_spool_max_bytes", 0)),
        skew_ms=skew_ms,
        kafka_skew_ms=_milliseconds(values.get("experiment_clock_skew_seconds")),
        clock_refusals=int(values.get("experiment_clock_refusals_total", 0)),
    )


def _receipt_keys(settings: Settings) -> tuple[Keyring | None, str | None]:
    try:
        return keyring_of(settings), None
    except EngineError as error:
        return None, _said(error)


def _files_bytes(settings: Settings) -> int:
    return sum(path.stat().st_size for path in settings.spool_dir.glob("*/*.segment"))


def _damaged_files(settings: Settings) -> tuple[str, ...]:
    return tuple(sorted(map(str, settings.spool_dir.glob("*/*.segment.damaged"))))


def _ahead_ms(experiment: Experiment, now_ms: int) -> int:
    """Return by how much the start of an experiment is ahead of a time; 0 where it is not."""
    started_ms = experiment.started_at_ms
    if started_ms is None or experiment.status in {Status.CONCLUDED, Status.ARCHIVED}:
        return 0
    return max(0, started_ms - now_ms)


def _overdue_ms(experiment: Experiment, now_ms: int) -> int:
    """Return for how long something of a schedule has been due; 0 where nothing is."""
    schedule = experiment.definition.config.schedule
    if schedule is None or experiment.status in {Status.CONCLUDED, Status.ARCHIVED}:
        return 0
    due_ms = next_at_ms(schedule, experiment.history, experiment.started_at_ms)
    return 0 if due_ms is None else max(0, now_ms - due_ms)


def _unexposed(snapshot: Snapshot) -> int:
    """Return the assignments of an experiment that counts exposures and has none; else 0."""
    experiment = snapshot.experiment
    config = experiment.definition.config
    if config.exposure is not Exposure.EVENT or config.holdout is not None:
        return 0
    if not experiment.is_assigning or any(each.exposures for each in snapshot.variants):
        return 0
    return sum(each.assignments for each in snapshot.variants)


def _said(error: EngineError | KafkaException) -> str:
    return error.message if isinstance(error, EngineError) else str(error.args[0].str())


def _milliseconds(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1000)
