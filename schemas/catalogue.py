"""Catalogue of topics: records, keys, partitions, retention and settings.

`README.md` beside this file has the same table. Names are without the prefix that a deployment may
put before all of its topics.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

DAY_MS = 86_400_000

COMPACTION_LAG_MS = DAY_MS
"""Age in milliseconds below which a record is never compacted away. A worker that was cut off for
less than a day can see that it was overtaken, and a recovery can prefer the larger offset to the
later record."""

SEGMENT_MS = 6 * 3_600_000
"""Age in milliseconds at which a segment of a compacted topic is closed and can be compacted."""

EVENT_BYTES = 1_048_588
"""Largest record of a topic of events, in bytes: Kafka's default."""

STATE_BYTES = 4 * 1_048_576
"""Largest record of a topic of state, in bytes: a snapshot of 256 variants with 33 metrics is near
1 MB. A worker's producer must allow as much."""

UNPACKED_BYTES = 8 * STATE_BYTES
"""Most bytes of a batch of records that is read, after decompression. A broker limits what is
compressed, and a megabyte of zstd may be 32 GB. Producers fill batches of a megabyte at most unless
they are set otherwise."""

APP = "experiment-streams"
"""Application id, behind the topic prefix; the changelogs are named after it."""


AHEAD_MS = 300_000
"""Milliseconds by which the timestamp of an observation may be ahead of the broker's clock, which
refuses later ones: five minutes, as between the clocks of receipts. The deduplication window is
longer by as much, so that a sender's clock cannot move it past events that may still arrive."""


class Clock(StrEnum):
    """Clock that sets the timestamp of a record."""

    BROKER = "LogAppendTime"
    SENDER = "CreateTime"


class Cleanup(StrEnum):
    """Cleanup policy of a topic."""

    DELETE = "delete"
    COMPACT = "compact"


@dataclass(frozen=True, slots=True)
class Topic:
    """Topic of the catalogue.

    Attributes:
        name: Without the topic prefix.
        doc: Purpose, in one sentence.
        key: Key of its records.
        partition: Partitioning rule.
        schemas: Names of the schemas of its records; empty for a changelog, whose values belong to
            the worker alone.
        cleanup: What the broker removes.
        retention_ms: Age after which a record may be deleted, in milliseconds; None for never.
        max_message_bytes: Largest record (after compression, with its batch's header).
        clock: Clock that sets the timestamps of its records.
    """

    name: str
    doc: str
    key: str
    partition: str
    schemas: tuple[str, ...]
    cleanup: Cleanup
    retention_ms: int | None = None
    max_message_bytes: int = EVENT_BYTES
    clock: Clock = Clock.BROKER

    def full_name(self, prefix: str) -> str:
        """Return the name in a deployment that puts `prefix` before its topics."""
        return prefix + self.name

    def config(self) -> dict[str, str]:
        """Return the Kafka settings of the topic."""
        size = {
            "max.message.bytes": str(self.max_message_bytes),
            "message.timestamp.type": self.clock.value,
        }
        if self.clock is Clock.SENDER:
            size["message.timestamp.after.max.ms"] = str(AHEAD_MS)
        if self.cleanup is Cleanup.COMPACT:
            return size | {
                "cleanup.policy": "compact",
                "min.compaction.lag.ms": str(COMPACTION_LAG_MS),
                "segment.ms": str(SEGMENT_MS),
            }
        retention_ms = -1 if self.retention_ms is None else self.retention_ms
        return size | {
            "cleanup.policy": "delete",
            "retention.ms": str(retention_ms),
            "retention.bytes": "-1",  # a broker's own default may delete by size
        }


@dataclass(frozen=True, slots=True)
class TopicConfig:
    """Topic in a request to the broker.

    Attributes:
        name: With the topic prefix.
        partitions: Number of partitions.
        replication_factor: Number of replicas.
        config: Kafka settings.
    """

    name: str
    partitions: int
    replication_factor: int
    config: dict[str, str]


IMPRESSIONS = Topic(
    name="impressions",
    doc="Logged assignments, in batches of one API process, partition and flush.",
    key="none",
    partition="chosen by the sender: unit_hash * N >> 64 for users and sessions, else any",
    schemas=("impression_batch", "experiment_end"),
    cleanup=Cleanup.DELETE,
    retention_ms=30 * DAY_MS,
)
OBSERVATIONS = Topic(
    name="observations",
    doc="Metric values tied to assignments, from the API and from pipelines; JSON is read too.",
    key="assignment id of a single observation, none of a batch",
    partition="murmur2(assignment id) % N",
    schemas=("observation", "observation_batch", "experiment_end"),
    cleanup=Cleanup.DELETE,
    retention_ms=30 * DAY_MS,
    clock=Clock.SENDER,  # when a click happened; one that is sent again keeps its time
)
COMMANDS = Topic(
    name="commands",
    doc="Requests to change experiments, the truth about definitions and statuses, kept forever.",
    key="experiment id",
    partition="murmur2(experiment id) % N",
    schemas=("command",),
    cleanup=Cleanup.DELETE,
)
TALLIES = Topic(
    name="tallies",
    doc="Cumulative cells, one per experiment, source and source partition; the newest one holds.",
    key="experiment id/source/source partition",
    partition="murmur2(experiment id) % N, set explicitly",
    schemas=("tally_cell",),
    cleanup=Cleanup.COMPACT,
    max_message_bytes=STATE_BYTES,
)
POSTERIORS = Topic(
    name="posteriors",
    doc="Snapshots of experiments; the newest one holds.",
    key="experiment id",
    partition="murmur2(experiment id) % N",
    schemas=("snapshot",),
    cleanup=Cleanup.COMPACT,
    max_message_bytes=STATE_BYTES,
)
TIMESERIES = Topic(
    name="timeseries",
    doc="Points of the time series of experiments, thinned by the time of their events.",
    key="experiment id/second",
    partition="murmur2(experiment id) % N, set explicitly",
    schemas=("time_point",),
    cleanup=Cleanup.COMPACT,
)
DECISIONS = Topic(
    name="decisions",
    doc="Decisions about experiments, with their evidence, kept forever.",
    key="experiment id",
    partition="murmur2(experiment id) % N",
    schemas=("decision",),
    cleanup=Cleanup.DELETE,
    max_message_bytes=STATE_BYTES,  # one may hold a snapshot
)
DEAD_LETTERS = Topic(
    name="dead-letters",
    doc="Events that could not be used, with their position and bytes.",
    key="topic:partition:offset:index of the event",
    partition="murmur2(key) % N",
    schemas=("dead_letter",),
    cleanup=Cleanup.DELETE,
    retention_ms=90 * DAY_MS,
    max_message_bytes=STATE_BYTES,
)


GENERATIONS = Topic(
    name="generations",
    doc="The active generation of derived topics and tables, and the versions of schemas that may "
    "be written, kept forever.",
    key="none",
    partition="0, so that there is one order",
    schemas=("generation_change", "schema_levels"),
    cleanup=Cleanup.DELETE,
)

WEBHOOKS = Topic(
    name="webhooks",
    doc="Webhooks with sealed addresses and secrets, and how far each has come; the newest one "
    "holds.",
    key="webhook id, or webhook id/progress",
    partition="0, so that there is one order",
    schemas=("webhook", "webhook_progress"),
    cleanup=Cleanup.COMPACT,
)


def app_id(generation: int = 1) -> str:
    """Return the application id of the workers of a generation, without the topic prefix."""
    return APP if generation == 1 else f"{APP}-v{generation}"


def changelog(table: str, generation: int = 1) -> Topic:
    """Return the changelog of a worker's table, by the name Faust gives it."""
    return Topic(
        name=f"{app_id(generation)}-{table}-changelog",
        doc=f"State of the table {table}, from which a worker recovers.",
        key="the table's",
        partition="the partition of the event that caused the write",
        schemas=(),
        cleanup=Cleanup.COMPACT,
        max_message_bytes=STATE_BYTES,
    )


TABLES = ("impressions-state", "observations-state", "experiments-state")
"""Names of the worker's tables."""

TOPICS = (
    IMPRESSIONS,
    OBSERVATIONS,
    COMMANDS,
    TALLIES,
    POSTERIORS,
    DECISIONS,
    TIMESERIES,
    DEAD_LETTERS,
    GENERATIONS,
    WEBHOOKS,
)
"""Topics that other systems may read and write."""

CHANGELOGS = tuple(changelog(table) for table in TABLES)
"""Topics of the worker alone."""

CATALOGUE = (*TOPICS, *CHANGELOGS)
"""All topics."""


def of_generation(topic: Topic, generation: int) -> Topic:
    """Return the topic of a generation that corresponds to `topic` of the first one.

    Generations share all topics that are not derived from the log.
    """
    if generation == 1 or topic not in (TALLIES, POSTERIORS):
        return topic
    return replace(topic, name=f"g{generation}-{topic.name}")


def projections(generation: int) -> tuple[Topic, ...]:
    """Return the topics that the workers of a generation derive from the log.

    No two generations share such a topic, so a generation can be built or dropped without touching
    another one or the log.

    Args:
        generation: Which one, >= 1; the first has the names of `CATALOGUE`.

    Raises:
        ValueError: `generation` is below 1.
    """
    if generation < 1:
        message = f"generation == {generation}, must be at least 1"
        raise ValueError(message)
    published = (of_generation(topic, generation) for topic in (TALLIES, POSTERIORS))
    return (*published, *(changelog(table, generation) for table in TABLES))


def topic_configs(
    *,
    prefix: str,
    partitions: int,
    replication_factor: int,
    min_insync_replicas: int,
    generation: int = 1,
) -> tuple[TopicConfig, ...]:
    """Return the configuration of every topic that a generation of the workers uses.

    All have the same number of partitions: the changelog of a table must have as many as the topic
    that feeds it, and two topics with the same key must be split alike.

    Args:
        prefix: Put before each name.
        partitions: Partitions of every topic, >= 1.
        replication_factor: Replicas of every topic, >= 1.
        min_insync_replicas: Replicas that must have a record before it counts as written, in
            [1, replication_factor].
        generation: Which one, >= 1.
    """
    own = dict(zip(projections(1), projections(generation), strict=True))
    return tuple(
        TopicConfig(
            name=topic.full_name(prefix),
            partitions=partitions,
            replication_factor=replication_factor,
            config=topic.config() | {"min.insync.replicas": str(min_insync_replicas)},
        )
        for topic in (own.get(topic, topic) for topic in CATALOGUE)
    )
