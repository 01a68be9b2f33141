"""Facts of Kafka: topics, rights, positions, dead letters, and the newest cells and snapshots."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from schemas.catalogue import POSTERIORS, TALLIES, Topic, of_generation
from streams.experiments.snapshot import Snapshot
from streams.kafka.admin import required_topics
from streams.kafka.answers import ClusterError, admin_client
from streams.kafka.ends import Ends, stable_ends, written_ends
from streams.kafka.generations import generations_of
from streams.kafka.positions import Positions
from streams.kafka.progress import SOURCES, Patience, Spans, committed, watch
from streams.kafka.records import all_records
from streams.kafka.requirements import deviations, missing_rights
from streams.kafka.rights import log_group, rights_of_doctor
from streams.kafka.source import KafkaSource
from streams.kafka.topics import TopicDescriptions, describe, missing_group_rights
from streams.model.errors import DependencyError, EngineError, EventError
from streams.model.ids import experiment_id
from streams.ops.dead_letters.reading import Selection, find_letters
from streams.ops.doctor.facts import KafkaFacts, PartitionFacts
from streams.ops.doctor.sending import still_sending
from streams.ops.doctor.snapshot_facts import Offsets
from streams.settings import Settings
from streams.wire.cells import decode_cell
from streams.wire.framing import REGISTRY, decoding
from streams.wire.snapshots import decode_snapshot

HOUR_MS = 3_600_000


async def kafka_facts(
    settings: Settings, hours: int
) -> tuple[KafkaFacts, dict[str, Snapshot], dict[str, Offsets]]:
    """Return the facts of Kafka, the newest snapshots and the newest cells, by experiment.

    Args:
        settings: Where Kafka is.
        hours: How far back dead letters are counted.
    """
    try:
        client = await asyncio.to_thread(admin_client, settings)
        generations, _ = await asyncio.to_thread(generations_of, settings)
        settings = settings.model_copy(update={"generation": generations.active})
        known = await _of_topics(settings, client)
        if known.missing or known.denied:
            return known, {}, {}
        return await _of_records(settings, client, hours, known)
    except (DependencyError, ClusterError, KafkaException) as error:
        return KafkaFacts(error=_said(error), code=getattr(error, "code", "")), {}, {}


async def _of_topics(settings: Settings, client: AdminClient) -> KafkaFacts:
    """Return what is known of the topics and of the rights."""
    wanted = required_topics(settings)
    names = [topic.name for topic in wanted]
    described = await asyncio.to_thread(describe, settings, names, client=client)
    needed = dict(rights_of_doctor(settings))
    lacking = await asyncio.to_thread(_lacking, settings, needed, described, client)
    return KafkaFacts(
        missing=described.missing,
        partitions={name: topic.partitions for name, topic in described.topics.items()},
        deviations=tuple(deviations(wanted, described)),
        without_settings=tuple(
            name for name, topic in described.topics.items() if topic.config is None
        ),
        denied=tuple(lacking),
    )


async def _of_records(
    settings: Settings, client: AdminClient, hours: int, known: KafkaFacts
) -> tuple[KafkaFacts, dict[str, Snapshot], dict[str, Offsets]]:
    """Add what the records of the topics say."""
    before = await asyncio.to_thread(committed, settings, known.partitions or {})
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
    places = [(topic, number) for topic, parts in spans.items() for number in parts]
    written = await asyncio.to_thread(written_ends, settings, client, places)
    after = await watch(settings, spans, patience)
    stable = await _stable_ends(settings, client, written, patience)
    found = _positions(spans, before, after, written, stable)
    positions = await _with_sending(settings, spans, found)
    with _noted(silent):
        snapshots = await _newest_snapshots(settings)
        if any(_are_newer(cells, snapshots.get(name)) for name, cells in tallies.items()):
            await asyncio.sleep(patience.left_s)
            snapshots = await _newest_snapshots(settings)
    codes: Counter[str] = Counter()
    for each in letters:
        codes[each.letter.code] += each.letter.count
    facts = replace(
        known,
        positions=tuple(positions),
        dead_letters=codes,
        registry_error=silent[0] if silent else None,
    )
    return facts, snapshots, tallies


async def _stable_ends(
    settings: Settings, client: AdminClient, written: Ends, patience: Patience
) -> Ends:
    """Return up to where committed records can be read; wait where that is not all of `written`."""
    stable = await asyncio.to_thread(stable_ends, settings, client, written)
    if any(stable[place] < end for place, end in written.items()):
        await asyncio.sleep(patience.left_s)
        stable = await asyncio.to_thread(stable_ends, settings, client, written)
    return stable


def _positions(
    spans: Spans, before: Positions, after: Positions, written: Ends, stable: Ends
) -> list[PartitionFacts]:
    return [
        PartitionFacts(
            topic,
            number,
            span.begin,
            span.end,
            before.get((topic, number)),
            after.get((topic, number)),
            written=written[topic, number],
            waits_from=stable[topic, number]
            if stable[topic, number] < written[topic, number]
            else None,
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


def _said(error: EngineError | KafkaException) -> str:
    return error.message if isinstance(error, EngineError) else str(error.args[0].str())
