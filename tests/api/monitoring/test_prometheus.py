"""Metrics of the API, and the conditions of its readiness."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from api.delivery import Delivery
from api.http.models.responses import Readiness
from api.monitoring.counters import Histogram, RequestCounters
from api.monitoring.prometheus import MetricsCollector, render_metrics
from api.monitoring.readiness import PATIENCE_S, ReadinessMonitor
from api.outbox import Outbox
from api.receipts.sticky import StickyReceipts
from api.services.assign import AssignmentService
from api.services.observe import ObservationService
from api.snapshots.cache import ExperimentCache
from api.snapshots.follower import SnapshotFollower
from api.spool.entries import SpoolRecord
from api.spool.spool import Spool
from streams.experiments.assignment_reason import Reason
from streams.model.errors import DependencyError
from tests.api.memory import KEYRING, MemoryTopics
from tests.twins.projection import MemoryProjection
from tests.twins.receipts import MemoryReceiptStore


def test_buckets_are_cumulative() -> None:
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 9.0):
        histogram.add(value)

    assert histogram.buckets() == [("1.0", 2.0), ("2.0", 3.0), ("+Inf", 4.0)]
    assert histogram.sum == 12.0


def test_every_documented_metric_is_there_and_parses(tmp_path: Path) -> None:
    with Spool(tmp_path, "a", 2**24) as spool:
        spool.append([SpoolRecord(0, 0, b"x")])
        requests = RequestCounters()
        requests.errors["INVALID_JSON"] += 2
        outbox = Outbox(
            spool, MemoryTopics(), incarnation=1, partitions=1,
            encode_impressions=lambda _: b"", encode_observations=lambda _: b"",
            seal=lambda _topic, _partition, value: value,
        )  # fmt: skip
        experiments = ExperimentCache()
        follower = SnapshotFollower(MemoryProjection().reader(), experiments, 1.0)
        experiments.unreadable["exp_x"] = "broken"
        spool.quarantined = 2
        assignments = AssignmentService(
            experiments, KEYRING, outbox, StickyReceipts(MemoryReceiptStore()), lambda: 0
        )
        assignments.answered[Reason.ASSIGNED] += 3
        sticky: Any = SimpleNamespace(unavailable=4)
        delivery: Any = SimpleNamespace(
            depth=5, acknowledged=6, failed=7, skew_ms=1500, clock_refusals=2
        )
        monitor: Any = SimpleNamespace(dead_letters={"FORGED_RECEIPT": 8}, workers=3)
        watchdog: Any = SimpleNamespace(lag_s=0.25)
        ends: Any = SimpleNamespace(counts={"worker": 1, "api": 0})
        background: Any = SimpleNamespace(failures={"delivery": 9})
        collector = MetricsCollector(
            requests,
            follower,
            assignments,
            ObservationService(KEYRING, outbox, lambda: 0),
            sticky,
            outbox,
            spool,
            delivery,
            monitor,
            background,
            watchdog,
            ends,
        )
        text = render_metrics(collector).decode()

    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert samples["experiment_assignments_total", "ASSIGNED"] == 3
    assert samples["experiment_errors_total", "INVALID_JSON"] == 2
    assert samples["experiment_sticky_unavailable_total",] == 4
    assert samples["experiment_in_flight_records",] == 5
    assert samples["experiment_spool_bytes",] == 12
    assert samples["experiment_event_loop_lag_seconds",] == 0.25
    assert samples["experiment_task_failures_total", "delivery"] == 9
    assert samples["experiment_unreadable_snapshots",] == 1
    assert samples["experiment_spool_quarantined_total",] == 2
    assert samples["experiment_dead_letters", "FORGED_RECEIPT"] == 8
    assert samples["experiment_live_workers",] == 3
    assert samples["experiment_process_ends_total", "worker"] == 1
    assert samples["process_start_time_seconds",] > 0
    assert samples["process_resident_memory_bytes",] > 0
    # Before its first event: else its increase would miss it.
    assert samples["experiment_dead_letters", "RETENTION_GAP"] == 0
    assert samples["experiment_errors_total", "INTERNAL"] == 0
    assert samples["experiment_redis_age_seconds",] == float("inf")
    assert samples["experiment_observation_latency_seconds_count",] == 0
    assert samples["experiment_conclusions_total",] == 0
    assert ("experiment_winner_confidence_count",) in samples


async def test_what_is_needed_once_is_missing_only_until_then(tmp_path: Path) -> None:
    now_s = [0.0]
    is_kafka_there, n_workers = [False], [0]

    async def live_workers() -> list[dict[str, int]]:
        if n_workers[0] < 0:
            raise DependencyError("redis", "away")
        return [{"FORGED_RECEIPT": 2}] * n_workers[0]

    with Spool(tmp_path, "a", 2**24) as spool:
        follower = SnapshotFollower(
            MemoryProjection().reader(), ExperimentCache(), 1.0, lambda: now_s[0]
        )
        delivery: Any = SimpleNamespace(last_acknowledged_s=None, skew_ms=None, refused_s=None)
        monitor = ReadinessMonitor(
            follower,
            spool,
            delivery,
            lambda: None if is_kafka_there[0] else "kafka",
            live_workers,
            lambda: now_s[0],
        )
        before = monitor.readiness()
        assert (before.missing, before.degraded) == (("redis", "worker"), ("kafka",))

        is_kafka_there[0], n_workers[0] = True, 1
        await follower.sweep()
        await monitor._look_for_kafka()
        await monitor._look_for_workers()
        assert monitor.readiness() == Readiness(ready=True)
        assert monitor.dead_letters == {"FORGED_RECEIPT": 2}

        now_s[0] = PATIENCE_S + 1
        n_workers[0] = -1
        await monitor._look_for_workers()
        later = monitor.readiness()
        assert (later.missing, later.degraded) == ((), ("kafka", "redis", "worker"))

        spool.max_bytes = spool.size_bytes
        assert monitor.readiness().missing == ("kafka", "spool")


def test_delivery_has_what_the_collector_reads() -> None:
    for name in ("depth", "is_caught_up"):
        assert hasattr(Delivery, name)
