from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from streams.model.schema_levels import SchemaLevels
from streams.ops.doctor.checks import findings
from streams.ops.doctor.facts import (
    ApiFacts,
    Facts,
    KafkaFacts,
    PartitionFacts,
    RedisFacts,
    SnapshotFacts,
)
from streams.ops.doctor.finding import Severity
from streams.ops.doctor.schemas import SchemaFacts, blockers
from streams.projection.presence import ProcessSchemas

GIB = 2**30
READ = PartitionFacts("eu-observations", 0, 0, 100, 90, 100)
CURRENT = SnapshotFacts("exp_1", 9, 9, {("observations", 0): 99}, {("observations", 0): 99})
HEALTHY = Facts(
    prefix="eu-",
    wanted_partitions=4,
    hours=24,
    receipt_keys_error=None,
    spool_files_bytes=0,
    kafka=KafkaFacts(partitions={"eu-observations": 4}, positions=(READ,), dead_letters={}),
    redis=RedisFacts(workers=1),
    api=ApiFacts(spool_max_bytes=GIB),
    snapshots=(CURRENT,),
)


def with_kafka(**changes: Any) -> Facts:
    return replace(HEALTHY, kafka=replace(HEALTHY.kafka, **changes))


def with_position(**changes: Any) -> Facts:
    return with_kafka(positions=(replace(READ, **changes),))


def with_redis(**changes: Any) -> Facts:
    return replace(HEALTHY, redis=replace(HEALTHY.redis, **changes))


def with_api(**changes: Any) -> Facts:
    return replace(HEALTHY, api=replace(HEALTHY.api, **changes))


def with_snapshot(**changes: Any) -> Facts:
    return replace(HEALTHY, snapshots=(replace(CURRENT, **changes),))


def with_schemas(versions: dict[str, int] | None, *processes: ProcessSchemas) -> Facts:
    return replace(HEALTHY, schemas=SchemaFacts(SchemaLevels(versions), processes))


WORKER = ProcessSchemas("worker", "w", {"snapshot": 4}, {"snapshot": 3})
OLD_API = ProcessSchemas("api", "a", {"snapshot": 3}, {"snapshot": 3})


@pytest.mark.parametrize(
    "facts",
    [
        HEALTHY,
        replace(with_position(committed=None, committed_later=None, end=0), snapshots=()),  # new
        with_position(committed=0, committed_later=50),  # behind, and advancing
        with_position(committed_later=90, is_sending=True),  # its large cells wait their turn
        with_position(committed=90, committed_later=110),  # sent after the end was looked up
        with_position(written=120),  # transactions that ended since
        with_position(begin=100, committed=100),  # all of it expired after it was read
        with_snapshot(events_ahead_ms=300_000),
        with_snapshot(ahead_ms=300_000),  # as far as clocks may differ
        with_snapshot(redis_version=12),  # Redis was asked later
        with_redis(skew_ms=4_000),
        with_api(skew_ms=None),
        with_api(spool_bytes=GIB // 2),
        with_schemas({"snapshot": 3}, WORKER, OLD_API),  # in the middle of an upgrade
        with_schemas({"snapshot": 4}, WORKER),
    ],
)
def test_nothing_is_found_where_all_is_well(facts):
    assert findings(facts) == []


@pytest.mark.parametrize(
    ("facts", "code", "severity", "said"),
    [
        (with_kafka(error="no answer"), "KAFKA_UNREACHABLE", "error", "no answer"),
        (
            with_kafka(registry_error="no answer"),
            "SCHEMA_REGISTRY_UNREACHABLE",
            "error",
            "no answer",
        ),
        (with_redis(error="no answer"), "REDIS_UNREACHABLE", "error", "no answer"),
        (with_api(error="no answer"), "API_UNREACHABLE", "error", "no answer"),
        (replace(HEALTHY, receipt_keys_error="not set"), "RECEIPT_KEYS", "error", "not set"),
        (with_kafka(missing=("a", "b", "c", "d")), "TOPICS_MISSING", "error", "a, b, c and 1 more"),
        (with_kafka(partitions={"t": 3}), "PARTITIONS_DIFFER", "error", "t has 3"),
        (with_api(degraded=("task:delivery",)), "TASK_DOWN", "error", "delivery"),
        (with_api(missing=("commands",)), "COMMANDS_NOT_WRITABLE", "error", "503"),
        (with_api(are_metrics_refused=True), "METRICS_REFUSED", "warning", "spool"),
        (with_redis(misplaced=1_234), "MISPLACED_OBSERVATIONS", "warning", "1,234 observations"),
        (with_api(missing=("clock",)), "API_NOT_READY", "error", "clock"),
        (with_redis(unreadable=("exp_9",)), "SNAPSHOTS_UNREADABLE", "error", "exp_9"),
        (
            with_redis(lacking=("WRITE on topic p-commands",)),
            "WORKER_LACKS_RIGHTS",
            "warning",
            "WRITE on topic p-commands",
        ),
        (
            replace(HEALTHY, spool_files_damaged=("/s/a.damaged",)),
            "SPOOL_QUARANTINED",
            "warning",
            "/s/a.damaged",
        ),
        (
            replace(with_snapshot(has_receipts=True, receipt_key=1), receipt_keys=(3,)),
            "RECEIPT_KEY_MISSING",
            "error",
            "key 1",
        ),
        (with_redis(workers=0), "NO_WORKER", "error", "no worker"),
        (with_position(committed_later=90), "STALLED", "error", "10 records wait"),
        (with_position(committed=None, committed_later=None), "STALLED", "error", "100 records"),
        (
            with_position(end=200_101, committed_later=100),
            "LAG",
            "warning",
            "200,001 records behind",
        ),
        (
            with_position(begin=95, committed=90, committed_later=100),
            "LOG_TRUNCATED",
            "error",
            "5 records were deleted unread",
        ),
        (
            with_snapshot(failure=("EVALUATION_FAILED", "ZeroDivisionError")),
            "EVALUATION_FAILED",
            "error",
            "exp_1 fails (ZeroDivisionError)",
        ),
        (
            with_snapshot(tallies={("observations", 0): 100}, cells={("observations", 0): 100}),
            "COUNTED_BEYOND_LOG",
            "error",
            "offset 100 of eu-observations, partition 0",
        ),
        (
            with_position(written=120, waits_from=100),
            "TRANSACTION_OPEN",
            "error",
            "partition 0 from offset 100 on",
        ),
        (
            # The embedded broker has no end then.
            replace(with_position(end=0, written=120, waits_from=0), snapshots=()),
            "TRANSACTION_OPEN",
            "error",
            "eu-observations",
        ),
        (with_snapshot(redis_version=None), "SNAPSHOTS_MISSING", "error", "exp_1, of 1"),
        (with_snapshot(redis_version=8), "SNAPSHOTS_OLD", "warning", "exp_1"),
        (with_snapshot(cells={}), "STATISTICS_OLD", "warning", "exp_1"),
        (with_api(spool_bytes=GIB // 2 + 1), "SPOOL_FILLS", "warning", "536,870,913 of"),
        (with_redis(skew_ms=-6_000), "CLOCK_SKEW", "warning", "Redis is 6 s behind"),
        (with_api(skew_ms=301_000), "CLOCK_SKEW", "error", "the API is 301 s ahead of"),
        (
            with_schemas({"snapshot": 4}, WORKER, OLD_API),
            "SCHEMAS_UNREADABLE",
            "error",
            "api a cannot read what may be written: snapshot 4",
        ),
        (with_schemas({"snapshot": 3}, WORKER), "SCHEMAS_BEHIND", "warning", "snapshot 4"),
        (with_schemas(None, WORKER), "SCHEMAS_NOT_LOGGED", "warning", "newer release"),
        (with_kafka(dead_letters={"X": 2}), "DEAD_LETTERS", "warning", "2 events of the last 24 h"),
    ],
)
def test_what_is_wrong_is_said_with_what_to_do(facts, code, severity, said):
    [finding] = findings(facts)

    assert (finding.code, finding.severity) == (code, severity)
    assert said in finding.what
    assert finding.advice.endswith((".", "`."))


def test_a_log_that_is_shorter_than_what_was_committed_is_found():
    facts = with_position(end=50, committed=90, committed_later=90)

    assert "COUNTED_BEYOND_LOG" in {finding.code for finding in findings(facts)}


def test_the_partitioner_that_is_to_be_set_is_named():
    [finding] = findings(with_redis(misplaced=1))

    assert "partitioner=murmur2_random" in finding.advice


def test_a_spool_without_an_api_is_found():
    facts = replace(with_api(error="gone"), spool_files_bytes=7)

    assert [finding.code for finding in findings(facts)] == ["API_UNREACHABLE", "SPOOL_LEFT"]


def test_errors_stand_before_warnings():
    facts = replace(with_kafka(dead_letters={"X": 1}), redis=RedisFacts(workers=0))

    assert [finding.severity for finding in findings(facts)] == [Severity.ERROR, Severity.WARNING]


def test_keys_that_do_not_sign_are_named_with_who_uses_them():
    retiring = replace(with_snapshot(has_receipts=True, receipt_key=1), receipt_keys=(2, 1))
    unknown = replace(with_snapshot(has_receipts=True), receipt_keys=(2, 1))
    archived = replace(with_snapshot(receipt_key=1), receipt_keys=(2, 1))

    for facts, code, said in (
        (retiring, "RECEIPT_KEY_IN_USE", "key 1 no longer signs for new experiments, and"),
        (unknown, "RECEIPT_KEY_IN_USE", "exp_1"),
        (archived, "RECEIPT_KEY_UNUSED", "key 1 does not sign"),
    ):
        [finding] = findings(facts)
        assert (finding.code, finding.severity) == (code, Severity.NOTE)
        assert said in finding.what


@pytest.mark.parametrize(
    ("unread", "code"),
    [
        ({"registry_error": "no answer"}, "SCHEMA_REGISTRY_UNREACHABLE"),
        ({"denied": ("READ on topic eu-posteriors",)}, "KAFKA_ACCESS_DENIED"),
        ({"missing": ("eu-posteriors",)}, "TOPICS_MISSING"),
    ],
)
def test_no_key_is_called_unused_where_experiments_are_not_known(unread, code):
    facts = replace(with_kafka(**unread), snapshots=(), receipt_keys=(2, 1))

    assert [finding.code for finding in findings(facts)] == [code]


@pytest.mark.parametrize(
    ("changes", "code", "severity"),
    [
        ({"is_memory_full": True}, "DEDUPLICATION_FULL", Severity.ERROR),
        ({"crossed_units": 12}, "UNITS_IN_SEVERAL_VARIANTS", Severity.WARNING),
        ({"heavy": (("AQ", "click", 0.4),)}, "HEAVY_UNIT", Severity.WARNING),
        ({"misspelt": (("click", "Click"),)}, "METRIC_MISSPELT", Severity.WARNING),
        ({"dimensions": (("UNKNOWN_VALUES", "many"),)}, "UNKNOWN_VALUES", Severity.WARNING),
        (
            {"dimensions": (("SLICE_SAMPLE_RATIO_MISMATCH", "on phones"),)},
            "SLICE_SAMPLE_RATIO_MISMATCH",
            Severity.WARNING,
        ),
        ({"late_ms": 61_000}, "SCHEDULE_LATE", Severity.NOTE),
        ({"overdue_ms": 61_000}, "SCHEDULE_OVERDUE", Severity.WARNING),
        ({"ahead_ms": 3 * 3_600_000}, "CLOCK_SET_BACK", Severity.ERROR),
        ({"events_ahead_ms": 3 * 3_600_000}, "EVENTS_AHEAD", Severity.ERROR),
        ({"held_by": "guardrail"}, "SCHEDULE_HELD", Severity.WARNING),
        ({"unexposed": 100}, "NO_EXPOSURES", Severity.WARNING),
        ({"overlaps": "exp_0000000000001"}, "LAYER_OVERLAP", Severity.ERROR),
    ],
)
def test_what_could_not_be_counted_as_it_should_is_named(
    changes: dict[str, Any], code: str, severity: Severity
) -> None:
    [found] = findings(replace(HEALTHY, snapshots=(replace(CURRENT, **changes),)))

    assert (found.code, found.severity) == (code, severity)
    assert "exp_1" in found.what


def test_newer_versions_are_not_enabled_while_a_process_cannot_read_them():
    facts = with_schemas({"snapshot": 3}, WORKER, OLD_API).schemas
    assert facts is not None

    assert blockers(facts, {"snapshot": 4}) == ["api a cannot read snapshot 4"]
    assert blockers(replace(facts, processes=(WORKER,)), {"snapshot": 4}) == []
    assert "no process" in blockers(replace(facts, processes=()), {"snapshot": 4})[0]
    assert blockers(replace(facts, processes=(OLD_API,)), {"snapshot": 3}) == [
        "no worker sends heartbeats"
    ]
