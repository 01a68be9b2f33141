"""From facts to findings: pure, one function a subject. Codes are part of the public contract."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from streams.model.errors import counted
from streams.model.receipts import CLOCK_SKEW_MS
from streams.model.schema_levels import listed
from streams.ops.doctor.cluster import CLUSTER_CHECKS
from streams.ops.doctor.facts import Facts, PartitionFacts
from streams.ops.doctor.finding import Finding, Severity
from streams.ops.doctor.webhooks import webhook_findings

LAG_LIMIT = 100_000
"""Records of a topic that workers may be behind while they advance: a second or less of a worker's
work on impressions. More is worth a word even when it shrinks."""

SKEW_LIMIT_MS = 5_000
"""Difference of clocks worth a word; a Date header alone is up to one second late."""

SPOOL_SHARE = 0.5
"""Share of a spool that is worth a word; the API answers 503 when it is full."""

LATE_LIMIT_MS = 60_000
"""Lateness of a schedule worth a word; workers look every second, and a restart takes some."""

UNEXPOSED_LIMIT = 100
"""Assignments without any exposure worth a word."""

_SHOWN = 3

_DIMENSION_ADVICE = {
    "SLICE_SAMPLE_RATIO_MISMATCH": "Units of one variant are lost there, as on a platform that "
    "does not show it. See `experiment stats ID --dimension NAME`.",
    "UNKNOWN_VALUES": "See which values callers send, and in which spelling: `mobile` is not "
    "`Mobile`. What was counted stays; an experiment with other values is a new one.",
}


def findings(facts: Facts) -> list[Finding]:
    """Return everything that is wrong, errors first; empty when all is well."""
    found = [finding for check in _CHECKS for finding in check(facts)]
    return sorted(found, key=lambda finding: list(Severity).index(finding.severity))


def _reachable(facts: Facts) -> Iterator[Finding]:
    for code, error, advice in (
        (
            "KAFKA_UNREACHABLE",
            None if facts.kafka.code.startswith("KAFKA_") else facts.kafka.error,
            "Start it, or correct EXPERIMENT_KAFKA_URL. The API spools what it answers meanwhile.",
        ),
        (
            "SCHEMA_REGISTRY_UNREACHABLE",
            facts.kafka.registry_error,
            "Start it, or correct EXPERIMENT_SCHEMA_REGISTRY_URL. Unknown schemas wait for it.",
        ),
        (
            "REDIS_UNREACHABLE",
            facts.redis.error,
            "Start it, or correct EXPERIMENT_REDIS_URL. Workers then write everything again.",
        ),
        (
            "API_UNREACHABLE",
            facts.api.error,
            "Start it, or name its address by --api.",
        ),
    ):
        if error is not None:
            yield Finding(code, Severity.ERROR, error, advice)


def _receipt_keys(facts: Facts) -> Iterator[Finding]:
    if facts.receipt_keys_error is not None:
        yield Finding(
            "RECEIPT_KEYS",
            Severity.ERROR,
            facts.receipt_keys_error,
            "Set EXPERIMENT_RECEIPT_KEYS to the same keys for API and workers.",
        )


def _keys_in_use(facts: Facts) -> Iterator[Finding]:
    unlimited = [key for key in facts.receipt_keys if key not in facts.limited_receipt_keys]
    if not unlimited:
        return
    signs, *retiring = unlimited
    used: defaultdict[int, list[str]] = defaultdict(list)
    for each in facts.snapshots:
        if each.has_receipts:
            # Where the key is not noted, it may be any.
            for key_id in retiring if each.receipt_key is None else (each.receipt_key,):
                used[key_id].append(each.experiment_id)
    for key_id, names in sorted(used.items()):
        if key_id not in facts.receipt_keys:
            yield Finding(
                "RECEIPT_KEY_MISSING",
                Severity.ERROR,
                f"receipt key {key_id} signed the receipts of {_listed(names)}, and is not among "
                "the keys",
                "Their observations are refused (UNKNOWN_RECEIPT_KEY). Put the key behind the "
                "first one, for API and workers.",
            )
    for key_id in retiring:
        if used[key_id]:
            yield Finding(
                "RECEIPT_KEY_IN_USE",
                Severity.NOTE,
                f"receipt key {key_id} no longer signs for new experiments, and still does for "
                f"{_listed(used[key_id])}",
                "Keep it until they are archived.",
            )
        elif facts.kafka.is_whole and facts.redis.error is None:
            yield Finding(
                "RECEIPT_KEY_UNUSED",
                Severity.NOTE,
                f"receipt key {key_id} does not sign, and no experiment has receipts of it",
                f"If it is to replace key {signs}, put it first now; if it was replaced, it can be "
                "removed. Keep it where you keep secrets: a replay needs it.",
            )


def _topics(facts: Facts) -> Iterator[Finding]:
    if facts.kafka.missing:
        yield Finding(
            "TOPICS_MISSING",
            Severity.ERROR,
            f"{_listed(facts.kafka.missing)} do not exist",
            "Run `experiment topics create`, or start a worker.",
        )
    wrong = [
        f"{name} has {count}"
        for name, count in sorted((facts.kafka.partitions or {}).items())
        if count != facts.wanted_partitions
    ]
    if wrong:
        yield Finding(
            "PARTITIONS_DIFFER",
            Severity.ERROR,
            f"EXPERIMENT_PARTITIONS is {facts.wanted_partitions}, but {_listed(wrong)}",
            "Set EXPERIMENT_PARTITIONS to what the topics have. Their number cannot change.",
        )


def _workers(facts: Facts) -> Iterator[Finding]:
    if facts.redis.error is None and facts.redis.workers == 0:
        yield Finding(
            "NO_WORKER",
            Severity.ERROR,
            "no worker is alive and recovered",
            "Start `experiment worker`, or wait for one that recovers its tables. Nothing is lost "
            "meanwhile: events wait in Kafka.",
        )


def _api(facts: Facts) -> Iterator[Finding]:
    named = facts.api.missing + facts.api.degraded
    tasks = [name.removeprefix("task:") for name in named if name.startswith("task:")]
    if tasks:
        yield Finding(
            "TASK_DOWN",
            Severity.ERROR,
            f"background tasks of the API fail: {_listed(tasks)}",
            "Its log says why. The API restarts them, and ends with exit code 70 when that does "
            "not help.",
        )
    if "commands" in named:
        yield Finding(
            "COMMANDS_NOT_WRITABLE",
            Severity.ERROR,
            "the API cannot write commands: every change of an experiment is answered 503",
            "Its log says why. It needs the right to DESCRIBE and WRITE the topic of commands.",
        )
    if facts.api.are_metrics_refused:
        yield Finding(
            "METRICS_REFUSED",
            Severity.WARNING,
            "the API does not show its metrics without a key, so its spool is not checked",
            "Give a key with the scope `metrics` or `read`: EXPERIMENT_API_KEY, or --api-key.",
        )
    others = [
        name for name in facts.api.missing if name != "commands" and not name.startswith("task:")
    ]
    if others:
        yield Finding(
            "API_NOT_READY",
            Severity.ERROR,
            f"the API is not ready: {_listed(others)}",
            "See `GET /ready`; what it names is described in docs/how-to/operate.md.",
        )


def _lag(facts: Facts) -> Iterator[Finding]:
    stalled: defaultdict[str, list[PartitionFacts]] = defaultdict(list)
    behind: defaultdict[str, int] = defaultdict(int)
    for each in facts.kafka.positions:
        if each.lag == 0:
            continue
        if each.committed == each.committed_later:
            stalled[each.topic].append(each)
        else:
            behind[each.topic] += each.lag
    for topic, partitions in sorted(stalled.items()):
        lags = _listed([f"{each.partition} by {each.lag:,}" for each in partitions])
        yield Finding(
            "STALLED",
            Severity.ERROR,
            f"{topic}: {sum(each.lag for each in partitions):,} records wait and no worker reads "
            f"them (partition {lags})",
            "Check that workers run and what they log; a partition makes no progress while its "
            "worker recovers or is away.",
        )
    for topic, lag in sorted(behind.items()):
        if lag > LAG_LIMIT:
            yield Finding(
                "LAG",
                Severity.WARNING,
                f"{topic}: workers are {lag:,} records behind, and advance",
                "Look again in a minute; if it grows, add workers, up to one a partition.",
            )


def _log(facts: Facts) -> Iterator[Finding]:
    for each in facts.kafka.positions:
        if each.committed is not None and each.begin > each.committed:
            yield Finding(
                "LOG_TRUNCATED",
                Severity.ERROR,
                f"{each.topic} begins at {each.begin:,} in partition {each.partition}, but workers "
                f"go on at {each.committed:,}: {each.begin - each.committed:,} records were "
                "deleted unread",
                "They are lost to the counts. Keep records longer than workers are ever away "
                "(retention.ms, retention.bytes).",
            )
        elif each.committed is not None and each.committed > each.end:
            yield _beyond(each.topic, each.partition, each.committed - 1, each.end)


def _cells(facts: Facts) -> Iterator[Finding]:
    ends = {(each.topic, each.partition): each.end for each in facts.kafka.positions}
    furthest: dict[tuple[str, int], int] = {}
    for snapshot in facts.snapshots:
        for (source, partition), offset in snapshot.tallies.items():
            place = facts.prefix + source, partition
            furthest[place] = max(offset, furthest.get(place, -1))
    for (topic, partition), offset in sorted(furthest.items()):
        end = ends.get((topic, partition))
        if end is not None and offset >= end:
            yield _beyond(topic, partition, offset, end)


def _beyond(topic: str, partition: int, offset: int, end: int) -> Finding:
    return Finding(
        "COUNTED_BEYOND_LOG",
        Severity.ERROR,
        f"offset {offset:,} of {topic}, partition {partition}, was counted, but the log ends at "
        f"{end:,}",
        "The topic was made anew or lost its end: its new events are passed by until they reach "
        "that offset. Restore it, or start with a new EXPERIMENT_TOPIC_PREFIX.",
    )


def _evaluations(facts: Facts) -> Iterator[Finding]:
    for each in facts.snapshots:
        if each.failure is not None:
            code, error = each.failure
            yield Finding(
                code,
                Severity.ERROR,
                f"the evaluation of {each.experiment_id} fails ({error}): it keeps its last "
                "weights and statistics",
                "Commands take effect all the same. The log of the workers has the error; report "
                "it, as every accepted definition can be evaluated.",
            )


def _snapshots(facts: Facts) -> Iterator[Finding]:
    unreadable = facts.redis.unreadable
    if unreadable:
        yield Finding(
            "SNAPSHOTS_UNREADABLE",
            Severity.ERROR,
            f"the snapshots of {_listed(unreadable)} in Redis cannot be decoded",
            "Workers newer than this program may have written them; else something else has "
            "written these keys. The API keeps the last good snapshot of each.",
        )
    missing = [
        each.experiment_id
        for each in facts.snapshots
        if each.redis_version is None and each.experiment_id not in unreadable
    ]
    if missing:
        yield Finding(
            "SNAPSHOTS_MISSING",
            Severity.ERROR,
            f"Redis does not have {_listed(missing)}, of {len(facts.snapshots):,} experiments",
            "It was emptied, or is another. A worker writes everything again within seconds; an "
            "API that starts before knows nothing of them.",
        )
    old = [
        each.experiment_id
        for each in facts.snapshots
        if each.redis_version is not None and each.redis_version < each.version
    ]
    if old:
        yield Finding(
            "SNAPSHOTS_OLD",
            Severity.WARNING,
            f"Redis has an older snapshot than Kafka of {_listed(old)}",
            "See whether workers reach Redis (experiment_engine_projection_failures).",
        )
    behind = [
        each.experiment_id
        for each in facts.snapshots
        if any(offset > each.cells.get(place, -1) for place, offset in each.tallies.items())
    ]
    if behind:
        yield Finding(
            "STATISTICS_OLD",
            Severity.WARNING,
            f"cells were written that no snapshot has yet, of {_listed(behind)}",
            "See the lag of `tallies` and what workers log.",
        )


def _miscounts(facts: Facts) -> Iterator[Finding]:
    full = [each.experiment_id for each in facts.snapshots if each.is_memory_full]
    if full:
        yield Finding(
            "DEDUPLICATION_FULL",
            Severity.ERROR,
            f"events of {_listed(full)} are not counted, because a partition cannot remember more",
            "Raise EXPERIMENT_DEDUPLICATION_MAX_ENTRIES, and count the log anew with "
            "`experiment replay rebuild`; until then nothing is concluded.",
        )
    crossed = [each for each in facts.snapshots if each.crossed_units]
    if crossed:
        units = sum(each.crossed_units for each in crossed)
        yield Finding(
            "UNITS_IN_SEVERAL_VARIANTS",
            Severity.WARNING,
            f"{units:,} units were assigned to several variants, of "
            f"{_listed([each.experiment_id for each in crossed])}",
            "See whether somebody assigns besides the API, or whether Redis has lost the receipts "
            "of units that return.",
        )
    for each in facts.snapshots:
        if each.heavy:
            named = [f"{share:.0%} of {metric} by {name}" for name, metric, share in each.heavy]
            yield Finding(
                "HEAVY_UNIT",
                Severity.WARNING,
                f"single units have a large share of the observations of {each.experiment_id}: "
                f"{_listed(named)}",
                "Each is a program, or many users behind one id. Its observations beyond 1,000 of "
                "a metric do not count; `experiment void --reason bot ASSIGNMENT_ID` takes it out, "
                "and an id that stands for nobody belongs into `ignoredUnits`.",
            )


def _misspelt(facts: Facts) -> Iterator[Finding]:
    for each in facts.snapshots:
        if each.misspelt:
            pairs = [f"{observed} for {metric}" for metric, observed in each.misspelt]
            yield Finding(
                "METRIC_MISSPELT",
                Severity.WARNING,
                f"observations of {each.experiment_id} seem to name the wrong metric: "
                f"{_listed(pairs)}",
                "The declared one has no observation. Send that name: what was sent under another "
                "is not counted for it.",
            )


def _dimensions(facts: Facts) -> Iterator[Finding]:
    for each in facts.snapshots:
        for code, message in each.dimensions:
            yield Finding(
                code, Severity.WARNING, f"{each.experiment_id}: {message}", _DIMENSION_ADVICE[code]
            )


def _schedules(facts: Facts) -> Iterator[Finding]:
    for each in facts.snapshots:
        name = each.experiment_id
        if each.overdue_ms > LATE_LIMIT_MS:
            yield Finding(
                "SCHEDULE_OVERDUE",
                Severity.WARNING,
                f"something of the schedule of {name} has been due for {each.overdue_ms // 1000} s",
                "Workers do what is due within a second. Look for one that runs, may write "
                "commands, and can evaluate the experiment.",
            )
        if each.late_ms > LATE_LIMIT_MS:
            yield Finding(
                "SCHEDULE_LATE",
                Severity.NOTE,
                f"the schedule of {name} was done up to {each.late_ms // 1000} s late",
                "`schedule.events` of the experiment says what. No worker ran when it was due.",
            )
        if each.held_by is not None:
            yield Finding(
                "SCHEDULE_HELD",
                Severity.WARNING,
                f"the ramp of {name} is held by {each.held_by}",
                "Look at `stats`. It goes on with a new schedule, and not by itself.",
            )


def _layers(facts: Facts) -> Iterator[Finding]:
    for each in facts.snapshots:
        if each.overlaps is not None:
            yield Finding(
                "LAYER_OVERLAP",
                Severity.ERROR,
                f"{each.experiment_id} is refused: {each.overlaps} started first in its layer, and "
                "has units of its range",
                "Conclude one of the two. They were started in the same moment by two processes.",
            )


def _unexposed(facts: Facts) -> Iterator[Finding]:
    for each in facts.snapshots:
        if each.unexposed >= UNEXPOSED_LIMIT:
            yield Finding(
                "NO_EXPOSURES",
                Severity.WARNING,
                f"{each.experiment_id} has {each.unexposed:,} assignments and no exposure, and "
                "counts units from their exposure",
                "Send exposures: POST /exposures, `record_exposure` of a client, or `$exposure` on "
                "the topic of observations.",
            )


def _dead_letters(facts: Facts) -> Iterator[Finding]:
    for code, count in sorted((facts.kafka.dead_letters or {}).items()):
        yield Finding(
            "DEAD_LETTERS",
            Severity.WARNING,
            f"{counted(count, 'event')} of the last {facts.hours} h could not be used: {code}",
            f"See `experiment dead-letters list --code {code}`; once the cause is gone, "
            f"`experiment dead-letters resend --code {code}`.",
        )


def _spool(facts: Facts) -> Iterator[Finding]:
    api = facts.api
    if api.error is None and api.spool_bytes > SPOOL_SHARE * api.spool_max_bytes:
        yield Finding(
            "SPOOL_FILLS",
            Severity.WARNING,
            f"the spool of the API holds {api.spool_bytes:,} of {api.spool_max_bytes:,} bytes",
            "Kafka is away or too slow; when the spool is full the API answers 503.",
        )
    if api.error is not None and facts.spool_files_bytes:
        yield Finding(
            "SPOOL_LEFT",
            Severity.WARNING,
            f"{facts.spool_files_bytes:,} bytes are in the spool on this machine",
            "Start an API with the same EXPERIMENT_SPOOL_DIR: it sends what another has left.",
        )


def _damaged(facts: Facts) -> Iterator[Finding]:
    if facts.spool_files_damaged:
        yield Finding(
            "SPOOL_QUARANTINED",
            Severity.WARNING,
            f"{_listed(facts.spool_files_damaged)} hold records that could not be read or sent",
            "The log of the API says where and why. All other records of these files were sent; "
            "remove the files when they are of no more use.",
        )


def _clocks(facts: Facts) -> Iterator[Finding]:
    for whose, skew_ms in (("Redis", facts.redis.skew_ms), ("the API", facts.api.skew_ms)):
        if skew_ms is None or abs(skew_ms) <= SKEW_LIMIT_MS:
            continue
        side = "ahead of" if skew_ms > 0 else "behind"
        yield Finding(
            "CLOCK_SKEW",
            Severity.ERROR if abs(skew_ms) > CLOCK_SKEW_MS else Severity.WARNING,
            f"the clock of {whose} is {abs(skew_ms) / 1000:,.0f} s {side} this machine's",
            "Keep all machines on NTP: observations more than "
            f"{CLOCK_SKEW_MS // 60_000} minutes older than their assignment are refused.",
        )


def _schemas(facts: Facts) -> Iterator[Finding]:
    schemas = facts.schemas
    if schemas is None:
        return
    if schemas.levels.versions is None:
        if schemas.processes:
            yield Finding(
                "SCHEMAS_NOT_LOGGED",
                Severity.WARNING,
                "the log does not say which versions of schemas may be written, so a newer release "
                "would write versions that this one cannot read",
                "Run `experiment schemas enable` with a user that may write the topic "
                "`generations`, before the next upgrade.",
            )
        return
    for process, missing in schemas.too_old(schemas.levels.versions):
        yield Finding(
            "SCHEMAS_UNREADABLE",
            Severity.ERROR,
            f"{process.kind} {process.name} cannot read what may be written: {listed(missing)}",
            "Replace it by the release that the others have.",
        )
    if schemas.raisable:
        yield Finding(
            "SCHEMAS_BEHIND",
            Severity.WARNING,
            f"every process reads newer versions than are written: {listed(schemas.raisable)}",
            "When the upgrade is there to stay, run `experiment schemas enable`.",
        )


def _listed(names: list[str] | tuple[str, ...]) -> str:
    shown = ", ".join(names[:_SHOWN])
    return f"{shown} and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else shown


def _webhooks(facts: Facts) -> Iterator[Finding]:
    yield from webhook_findings(facts.webhooks)


_CHECKS = (
    _reachable,
    *CLUSTER_CHECKS,
    _receipt_keys,
    _keys_in_use,
    _topics,
    _workers,
    _log,
    _cells,
    _lag,
    _snapshots,
    _miscounts,
    _misspelt,
    _dimensions,
    _schedules,
    _layers,
    _unexposed,
    _evaluations,
    _api,
    _spool,
    _damaged,
    _clocks,
    _dead_letters,
    _schemas,
    _webhooks,
)
