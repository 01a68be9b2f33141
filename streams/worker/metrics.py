"""Prometheus metrics of a worker, counted per batch. Names and labels are part of the contract."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

_PREFIX = "experiment_engine_"

RECORDS = Counter(f"{_PREFIX}records", "Kafka records made durable.", ["topic"])
EVENTS = Counter(f"{_PREFIX}events", "Impressions, observations, cells or commands.", ["topic"])
BATCHES = Counter(f"{_PREFIX}batches", "Batches made durable.", ["topic"])
BATCH_SECONDS = Histogram(
    f"{_PREFIX}batch_seconds",
    "From a batch's arrival at its agent to its acknowledgement.",
    ["topic"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5),
)
LAG = Gauge(f"{_PREFIX}lag_records", "Records a partition is behind.", ["topic", "partition"])
LOG_GAPS = Counter(f"{_PREFIX}log_gaps", "Offsets that the log skipped.", ["topic"])
DEAD_LETTERS = Counter(f"{_PREFIX}dead_letters", "Events that could not be used.", ["code"])
DUPLICATE_BATCHES = Counter(
    f"{_PREFIX}duplicate_batches",
    "Batches of an API that were passed by, since their sequences had been seen.",
    ["topic"],
)
MISPLACED = Counter(
    f"{_PREFIX}misplaced_observations",
    "Observations read in another partition than their receipt belongs into, and moved there.",
)
DUPLICATES = Counter(f"{_PREFIX}duplicates", "Repeated events that were not counted.", ["topic"])
RECOVERY_SECONDS = Gauge(f"{_PREFIX}recovery_seconds", "Time the last recovery took.")
RECOVERED_RECORDS = Gauge(
    f"{_PREFIX}recovered_records", "Changelog records that the last or running recovery has read."
)
RECOVERY_REMAINING = Gauge(
    f"{_PREFIX}recovery_remaining_records",
    "Changelog offsets that the running recovery has not read, every 10 seconds; 0 without one.",
)
EVALUATIONS = Counter(f"{_PREFIX}evaluations", "Experiments evaluated.")
EVALUATION_FAILURES = Counter(
    f"{_PREFIX}evaluation_failures",
    "Evaluations that failed by an error of the engine; the experiment keeps its last snapshot.",
)
EVALUATIONS_FAILING = Gauge(
    f"{_PREFIX}evaluations_failing",
    "Experiments whose last evaluation failed: they report `investigate` and keep their weights.",
)
EVALUATION_SECONDS = Histogram(
    f"{_PREFIX}evaluation_seconds",
    "Posteriors, tests and allocation of one experiment.",
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25),
)
EVALUATIONS_WAITING = Gauge(
    f"{_PREFIX}evaluations_waiting",
    "Changed experiments that the last step left to the next, for want of time.",
)
CELLS_WAITING = Gauge(
    f"{_PREFIX}cells_waiting",
    "Cells of a newer release that are kept until a worker that can read them has the partition.",
)
PROJECTIONS = Counter(f"{_PREFIX}projections", "Snapshots and answers written to Redis.")
PROJECTION_FAILURES = Counter(f"{_PREFIX}projection_failures", "Attempts that Redis refused.")
PROJECTIONS_PENDING = Gauge(f"{_PREFIX}projections_pending", "What Redis does not have yet.")

LOOP_LAG = Gauge(
    "experiment_engine_event_loop_lag_seconds",
    "Longest delay of a timer of the event loop within the last minute.",
)
RECEIPT_REBUILDS = Counter(
    f"{_PREFIX}receipt_rebuilds", "Times the first receipts in Redis were rebuilt from the log."
)
LAST_PROJECTION = Gauge(
    f"{_PREFIX}last_projection_timestamp_seconds", "Time of the last write to Redis, Unix seconds."
)


def batch(topic: str, records: int, events: int, seconds: float) -> None:
    """Count one batch that is durable and acknowledged."""
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
        if sample.name.endswith("_total")
    }


def misplaced() -> int:
    """Return how many observations this worker has moved to their own partitions."""
    return int(sum(sample.value for family in MISPLACED.collect() for sample in family.samples[:1]))
