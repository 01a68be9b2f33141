"""Facts about an installation at one moment. None stands for a request that failed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from streams.kafka.requirements import Deviation
from streams.ops.doctor.schemas import SchemaFacts
from streams.ops.doctor.webhooks import WebhookFacts
from streams.projection.refusals import WorkerRefusal


@dataclass(frozen=True, slots=True)
class PartitionFacts:
    """A partition that the workers read.

    Attributes:
        topic: With the topic prefix.
        partition: Its number.
        begin, end: The log has the offsets [begin, end).
        committed: Offset the workers continue at; None before their first commit.
        committed_later: The same a few commit intervals later.
        is_sending: Whether cells of the partition were sent meanwhile, if these two are the same.
        written: Offset after the last record, those of open transactions included.
        waits_from: Offset from which on records before `written` waited for a transaction to end,
            a few commit intervals later; None where none did.
    """

    topic: str
    partition: int
    begin: int
    end: int
    committed: int | None
    committed_later: int | None
    is_sending: bool = False
    written: int = 0
    waits_from: int | None = None

    @property
    def log_end(self) -> int:
        """Offset after the last record that was ever written."""
        return max(self.end, self.written)

    @property
    def lag(self) -> int:
        """Records of [begin, end) that the workers had not taken at the later look."""
        return max(0, self.end - max(self.begin, self.committed_later or 0))


@dataclass(frozen=True, slots=True)
class SnapshotFacts:
    """An experiment in Kafka and, looked up after that, in Redis.

    Attributes:
        experiment_id: Its id.
        version: Of its newest snapshot in `posteriors`.
        redis_version: Of its snapshot in Redis; None when Redis has none.
        cells: Last offset folded, by (source, partition), in that newest snapshot.
        tallies: The same in the newest cells of `tallies`, read before the snapshot.
        has_receipts: Whether it was started and is not archived, so that its receipts count.
        receipt_key: Id of the key that signs them; None where that is not known.
        is_memory_full: Whether so many of its events could not be remembered that nothing is
            concluded.
        crossed_units: Units assigned to more than one variant.
        heavy: Assignment id, metric and share of the units with a large share of its observations.
        misspelt: Names of declared metrics without an observation, and of undeclared ones like
            them that have some.
        failure: Stable code and error class of an evaluation that failed; None if it did not.
        dimensions: Code and message of each finding of its dimensions.
        late_ms: How late its schedule did the latest of what it did, in milliseconds.
        overdue_ms: For how long something of its schedule has been due and is not done.
        events_ahead_ms: By how much its newest event is ahead of this machine's clock; 0 if it is
            not, or if it is archived.
        ahead_ms: By how much its start is ahead of this machine's clock; 0 if it is not, or if it
            is concluded.
        held_by: What holds the ramp of its schedule, as `guardrail`; None if nothing does.
        unexposed: Assignments of an experiment that counts exposures and has none; 0 otherwise.
        overlaps: Id of the experiment that has its units of a layer; None where it has them.
    """

    experiment_id: str
    version: int
    redis_version: int | None
    cells: Mapping[tuple[str, int], int]
    tallies: Mapping[tuple[str, int], int]
    has_receipts: bool = False
    receipt_key: int | None = None
    is_memory_full: bool = False
    crossed_units: int = 0
    heavy: tuple[tuple[str, str, float], ...] = ()
    misspelt: tuple[tuple[str, str], ...] = ()
    failure: tuple[str, str] | None = None
    dimensions: tuple[tuple[str, str], ...] = ()
    late_ms: int = 0
    overdue_ms: int = 0
    ahead_ms: int = 0
    events_ahead_ms: int = 0
    held_by: str | None = None
    unexposed: int = 0
    overlaps: str | None = None


@dataclass(frozen=True, slots=True)
class KafkaFacts:
    """Facts reported by Kafka.

    Attributes:
        error: Why it did not answer; None when it did, and then the rest is known.
        missing: Topics of the catalogue that it does not have.
        partitions: Number of partitions of those it has, by topic.
        positions: The partitions that workers read.
        dead_letters: Letters written in the last `Facts.hours`, by code.
        code: Code of the error.
        registry_error: Why the schema registry did not answer; then what it frames is not known:
            neither snapshots nor cells. None when it did, or was not needed.
        deviations: Settings of topics that are not what they should be.
        without_settings: Topics whose settings this user may not see.
        denied: Rights that are missing.
    """

    error: str | None = None
    missing: tuple[str, ...] = ()
    partitions: Mapping[str, int] | None = None
    positions: tuple[PartitionFacts, ...] = ()
    dead_letters: Mapping[str, int] | None = None
    code: str = ""
    registry_error: str | None = None
    deviations: tuple[Deviation, ...] = ()
    without_settings: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()

    @property
    def is_whole(self) -> bool:
        """Whether all topics were read, with what a schema registry frames."""
        return not (self.error or self.registry_error or self.missing or self.denied)


@dataclass(frozen=True, slots=True)
class RedisFacts:
    """Facts reported by Redis.

    Attributes:
        error: Why it did not answer; None when it did, and then the rest is known.
        workers: Workers that are alive.
        skew_ms: Its clock minus this machine's, milliseconds.
        misplaced: Observations that live workers have moved to their own partitions.
        lacking: Rights that live workers do without, as `WRITE on topic NAME`.
        refusal: Why a worker would not run lately; None if none has said so.
        unreadable: Experiments whose snapshot cannot be decoded.
    """

    error: str | None = None
    workers: int = 0
    misplaced: int = 0
    lacking: tuple[str, ...] = ()
    refusal: WorkerRefusal | None = None
    skew_ms: int = 0
    unreadable: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ApiFacts:
    """Facts reported by the API.

    Attributes:
        error: Why it did not answer; None when it did, and then the rest is known.
        spool_bytes, spool_max_bytes: What its spool holds, and may hold.
        skew_ms: Its clock minus this machine's, milliseconds; None when its answers have no date.
        kafka_skew_ms: Its clock minus Kafka's; None when it has not seen Kafka's.
        clock_refusals: Records that Kafka has refused since their time is ahead.
        missing, degraded: What `GET /ready` names.
        are_metrics_refused: Whether `GET /metrics` asks for another key; then nothing is known of
            the spool.
    """

    error: str | None = None
    missing: tuple[str, ...] = ()
    degraded: tuple[str, ...] = ()
    are_metrics_refused: bool = False
    spool_bytes: int = 0
    spool_max_bytes: int = 0
    skew_ms: int | None = None
    kafka_skew_ms: int | None = None
    clock_refusals: int = 0


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything the checks judge.

    Attributes:
        prefix: Prefix of the topics.
        wanted_partitions: What the settings say every topic has.
        hours: How far back dead letters were counted.
        receipt_keys_error: What is wrong with the receipt keys; None when they can be used.
        spool_files_bytes: Size of the spool's files on this machine.
        spool_files_damaged: Files of the spool on this machine that hold what could not be sent.
        receipt_keys: Ids of the receipt keys; the first that is not limited signs.
        limited_receipt_keys: Those that sign for some experiments alone.
        snapshots: Experiments that have a snapshot; empty unless Kafka, Redis and the
            schema registry answered.
        webhooks: Webhooks that are to deliver; empty unless Kafka answered.
        schemas: Which versions are written and read; None unless Kafka and Redis answered.
    """

    prefix: str
    wanted_partitions: int
    hours: int
    receipt_keys_error: str | None
    spool_files_bytes: int
    kafka: KafkaFacts
    redis: RedisFacts
    api: ApiFacts
    snapshots: tuple[SnapshotFacts, ...] = ()
    spool_files_damaged: tuple[str, ...] = ()
    receipt_keys: tuple[int, ...] = ()
    limited_receipt_keys: frozenset[int] = frozenset()
    schemas: SchemaFacts | None = None
    webhooks: tuple[WebhookFacts, ...] = ()
