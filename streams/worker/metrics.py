"""Prometheus metrics of a worker, counted per batch. Names and labels are part of the contract."""

from __future__ import annotations

import contextlib

from prometheus_client import Counter, Gauge, Histogram

from streams.model.dead_letter_codes import DEAD_LETTER_CODES
from streams.worker.lag import Lag

_PREFIX = "experiment_engine_"

RECORDS = Counter(f"{_PREFIX}records", "Kafka records made durable.", ["topic"])
EVENTS = Counter(
    f"{_PREFIX}events",
    "Events in durable records: impressions, observations, cells or commands.",
    ["topic"],
)
BATCHES = Counter(f"{_PREFIX}batches", "Batches made durable.", ["topic"])
BATCH_SECONDS = Histogram(
    f"{_PREFIX}batch_seconds",
    "From a batch's arrival at its agent until its entries are durable.",
    ["topic"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5),
)
LAG = Gauge(f"{_PREFIX}lag_records", "Records that wait in a partition.", ["topic", "partition"])
LAG_SECONDS = Gauge(
    f"{_PREFIX}lag_seconds",
    "Longest delay from a record's time until it is durable, of the records that wait and of those "
    "of the last 30 seconds; 0 while nothing waits.",
    ["topic"],
)
LOG_GAPS = Counter(
    f"{_PREFIX}log_gaps", "Offsets missing from the log of a source topic.", ["topic"]
)
DEAD_LETTERS = Counter(
    f"{_PREFIX}dead_letters",
    "Malformed or refused events, sent to the dead-letter topic.",
    ["code"],
)
DUPLICATE_BATCHES = Counter(
    f"{_PREFIX}duplicate_batches",
    "Batches that were skipped because their sequence number had been seen.",
    ["topic"],
)
MISPLACED = Counter(
    f"{_PREFIX}misplaced_observations",
    "Observations read from a wrong partition and forwarded to that of their receipt.",
)
HOLDOUT_COPIES = Counter(
    f"{_PREFIX}holdout_copies", "Observations copied for holdouts, by the receipts of those."
)
DUPLICATES = Counter(f"{_PREFIX}duplicates", "Duplicate events, not counted.", ["topic"])
RECOVERY_SECONDS = Gauge(f"{_PREFIX}recovery_seconds", "Duration of the last recovery.")
RECOVERED_RECORDS = Gauge(
    f"{_PREFIX}recovered_records", "Changelog records read by the last or the running recovery."
)
RECOVERY_REMAINING = Gauge(
    f"{_PREFIX}recovery_remaining_records",
    "Changelog offsets left to the running recovery, updated every 10 seconds; 0 without one.",
)
EVALUATIONS = Counter(f"{_PREFIX}evaluations", "Evaluations of experiments.")
EVALUATION_FAILURES = Counter(
    f"{_PREFIX}evaluation_failures",
    "Evaluations that failed by an internal error; the experiment keeps its last snapshot.",
)
EVALUATIONS_FAILING = Gauge(
    f"{_PREFIX}evaluations_failing",
    "Experiments whose last evaluation failed: they report `investigate` and keep their weights.",
)
EVALUATION_SECONDS = Histogram(
    f"{_PREFIX}evaluation_seconds",
    "Duration of one evaluation: posteriors, tests and allocation of an experiment.",
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25),
)
EVALUATIONS_WAITING = Gauge(
    f"{_PREFIX}evaluations_waiting",
    "Changed experiments whose evaluation was deferred because the time budget was spent.",
)
CELLS_WAITING = Gauge(
    f"{_PREFIX}cells_waiting",
    "Cells written by a newer release, kept for a worker that can read them.",
)
PROJECTIONS = Counter(f"{_PREFIX}projections", "Snapshots and command results written to Redis.")
PROJECTION_FAILURES = Counter(f"{_PREFIX}projection_failures", "Failed writes to Redis.")
PROJECTIONS_PENDING = Gauge(
    f"{_PREFIX}projections_pending", "Snapshots and command results not yet written to Redis."
)

LOOP_LAG = Gauge(
    "experiment_engine_event_loop_lag_seconds",
    "Longest delay of a timer of the event loop within the last minute.",
)
RECEIPT_REBUILDS = Counter(
    f"{_PREFIX}receipt_rebuilds", "Rebuilds of the first receipts in Redis from the log."
)
LAST_PROJECTION = Gauge(
    f"{_PREFIX}last_projection_timestamp_seconds", "Time of the last write to Redis, Unix seconds."
)

for _code in DEAD_LETTER_CODES:
    DEAD_LETTERS.labels(_code)


_BY_TOPIC = (RECORDS, EVENTS, BATCHES, BATCH_SECONDS, LOG_GAPS, DUPLICATE_BATCHES, DUPLICATES)


def begin(topic: str, lag: Lag) -> None:
    """Create every series of a source topic before its first event, and measure its lag."""
    for metric in _BY_TOPIC:
        metric.labels(topic)
    LAG_SECONDS.labels(topic).set_function(lambda: lag.seconds(topic))


def forget(topic: str, partition: int) -> None:
    """Drop the series of a partition that another worker reads now."""
    with contextlib.suppress(KeyError):  # nothing of it was read
        LAG.remove(topic, str(partition))


def batch(topic: str, records: int, events: int, seconds: float) -> None:
    """Count one batch whose entries are durable."""
    BATCHES.labels(topic).inc()
    RECORDS.labels(topic).inc(records)
    EVENTS.labels(topic).inc(events)
    BATCH_SECONDS.labels(topic).observe(seconds)


def dead_letters() -> dict[str, int]:
    """Return how many dead letters this worker has written since its start, by code."""
    return {
        sample.labels["code"]: int(sample.value)
        for family in DEAD_LETTERS.collect()
        for sample in family.samples
        if sample.name.endswith("_total") and sample.value
    }


def misplaced() -> int:
    """Return how many observations this worker has moved to their own partitions."""
    return int(sum(sample.value for family in MISPLACED.collect() for sample in family.samples[:1]))
