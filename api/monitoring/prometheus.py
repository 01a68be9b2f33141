"""Metrics of this process for Prometheus, collected from plain counters when it is scraped."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from api.delivery import Delivery
from api.http.error_responses import STATUS_OF_CODE
from api.monitoring.counters import Histogram, RequestCounters
from api.monitoring.process_ends import ProcessEnds
from api.monitoring.readiness import ReadinessMonitor
from api.outbox import Outbox
from api.receipts.sticky import StickyReceipts
from api.services.assign import AssignmentService
from api.services.observe import ObservationService
from api.snapshots.follower import SnapshotFollower
from api.spool.spool import Spool
from streams.model.dead_letter_codes import DEAD_LETTER_CODES
from streams.process.background import BackgroundTasks
from streams.process.watchdog import LoopWatchdog

PROCESS_LABEL = "process"

_NO_ERRORS = dict.fromkeys(STATUS_OF_CODE, 0)
"""Those of requests that were refused as a whole: a counter that begins with its first event has,
for a query of its increase, not increased."""

_NO_DEAD_LETTERS = dict.fromkeys(DEAD_LETTER_CODES, 0)

_PROCESS = ProcessCollector(registry=None)
"""Memory, processor time, open files and start time of this process."""

CONFIDENCE_BOUNDS = (0.5, 0.8, 0.9, 0.95, 0.975, 0.99, 0.999, 1.0)


@dataclass(frozen=True, slots=True, eq=False)
class MetricsCollector:
    """Collector of all metrics of this process.

    Attributes:
        process: Name of the process among those that share a port, the label `process` of all
            metrics; empty without others, and there is no such label.
    """

    requests: RequestCounters
    follower: SnapshotFollower
    assignments: AssignmentService
    observations: ObservationService
    sticky: StickyReceipts
    outbox: Outbox
    spool: Spool
    delivery: Delivery
    monitor: ReadinessMonitor
    background: BackgroundTasks
    watchdog: LoopWatchdog
    ends: ProcessEnds
    process: str = ""

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics as they are now."""
        for family in self._families():
            if self.process:
                family.samples = [
                    sample._replace(labels={**sample.labels, PROCESS_LABEL: self.process})
                    for sample in family.samples
                ]
            yield family

    def _families(self) -> Iterator[Metric]:
        yield from self._traffic()
        yield from self._conclusions()
        yield from self._freshness()
        yield from self._delivery()
        yield from self._workers()
        yield from self._background()
        yield from _PROCESS.collect()

    def _traffic(self) -> Iterator[Metric]:
        assignments = CounterMetricFamily(
            "experiment_assignments", "Assignments by reason.", labels=["reason"]
        )
        for reason, count in self.assignments.answered.items():
            assignments.add_metric([reason], count)
        yield assignments
        yield CounterMetricFamily(
            "experiment_observations", "Accepted observations.", self.observations.accepted
        )
        yield CounterMetricFamily(
            "experiment_sticky_unavailable",
            "Assignments made by the hash because Redis did not answer.",
            self.sticky.unavailable,
        )
        errors = CounterMetricFamily(
            "experiment_errors", "Error responses by code.", labels=["code"]
        )
        for code, count in {**_NO_ERRORS, **self.requests.errors}.items():
            errors.add_metric([code], count)
        yield errors
        for name, help_text, histogram in (
            (
                "experiment_assignment_latency_seconds",
                "Duration of an assignment request.",
                self.requests.latency["assign"],
            ),
            (
                "experiment_observation_latency_seconds",
                "Duration of an observation request, until the observations are durable.",
                self.requests.latency["observe"],
            ),
        ):
            yield HistogramMetricFamily(name, help_text, histogram.buckets(), histogram.sum)

    def _conclusions(self) -> Iterator[Metric]:
        statuses = GaugeMetricFamily(
            "experiment_experiments", "Experiments by status.", labels=["status"]
        )
        for status, count in self.follower.experiments.by_status().items():
            statuses.add_metric([status], count)
        yield statuses
        yield CounterMetricFamily(
            "experiment_conclusions",
            "Conclusions of experiments.",
            self.follower.experiments.conclusions,
        )
        confidences = Histogram(CONFIDENCE_BOUNDS)
        for confidence in self.follower.experiments.winner_confidences:
            confidences.add(confidence)
        yield HistogramMetricFamily(
            "experiment_winner_confidence",
            "Confidence at the conclusion of experiments with a winner.",
            confidences.buckets(),
            confidences.sum,
        )
        leaders = GaugeMetricFamily(
            "experiment_leader_confidence",
            "Probability that the leading variant of a running experiment is the best.",
            labels=["experiment"],
        )
        for snapshot in self.follower.experiments.all():
            if snapshot.experiment.status == "running":
                leaders.add_metric([snapshot.experiment.id], snapshot.confidence)
        yield leaders

    def _freshness(self) -> Iterator[Metric]:
        age_s = self.follower.age_s
        yield GaugeMetricFamily(
            "experiment_redis_age_seconds",
            "Time since the last answer of Redis; +Inf before the first.",
            float("inf") if age_s is None else age_s,
        )

    def _delivery(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "experiment_queue_depth",
            "Rows that wait for the next write to the spool.",
            self.outbox.queued,
        )
        yield GaugeMetricFamily(
            "experiment_in_flight_records",
            "Records sent to Kafka and not yet acknowledged.",
            self.delivery.depth,
        )
        yield GaugeMetricFamily(
            "experiment_clock_skew_seconds",
            "This machine's clock minus Kafka's; 0 until Kafka has reported its time.",
            (self.delivery.skew_ms or 0) / 1000,
        )
        yield CounterMetricFamily(
            "experiment_clock_refusals",
            "Records refused because their times are ahead of Kafka's clock; they are sent again.",
            self.delivery.clock_refusals,
        )
        yield GaugeMetricFamily(
            "experiment_spool_bytes", "Size of the spool.", self.spool.size_bytes
        )
        yield GaugeMetricFamily(
            "experiment_spool_max_bytes", "Size limit of the spool.", self.spool.max_bytes
        )
        yield CounterMetricFamily(
            "experiment_acknowledged_records",
            "Records acknowledged by Kafka.",
            self.delivery.acknowledged,
        )
        yield CounterMetricFamily(
            "experiment_delivery_failures",
            "Records refused by Kafka; they are sent again.",
            self.delivery.failed,
        )

    def _background(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "experiment_event_loop_lag_seconds",
            "Longest delay of a timer of the event loop within the last minute.",
            self.watchdog.lag_s,
        )
        failures = CounterMetricFamily(
            "experiment_task_failures",
            "Failures of background tasks, each of which was restarted.",
            labels=["task"],
        )
        for name, count in self.background.failures.items():
            failures.add_metric([name], count)
        yield failures
        yield GaugeMetricFamily(
            "experiment_unreadable_snapshots",
            "Experiments whose newest snapshot cannot be used; each keeps its last good one.",
            len(self.follower.experiments.unreadable),
        )
        yield CounterMetricFamily(
            "experiment_spool_quarantined",
            "Places in the spool that could not be read or sent, and were passed by.",
            self.spool.quarantined,
        )

    def _workers(self) -> Iterator[Metric]:
        dead_letters = GaugeMetricFamily(
            "experiment_dead_letters",
            "Events the live workers could not use since they started.",
            labels=["code"],
        )
        for code, count in {**_NO_DEAD_LETTERS, **self.monitor.dead_letters}.items():
            dead_letters.add_metric([code], count)
        yield dead_letters
        yield GaugeMetricFamily(
            "experiment_live_workers", "Workers that are alive and recovered.", self.monitor.workers
        )
        ends = CounterMetricFamily(
            "experiment_process_ends",
            "Processes of the installation that ended with exit code 70, by kind: each API process "
            "reports the same number.",
            labels=["kind"],
        )
        for kind, count in self.ends.counts.items():
            ends.add_metric([kind], count)
        yield ends


def render_metrics(collector: MetricsCollector) -> bytes:
    """Return all metrics in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(collector)
    return generate_latest(registry)
