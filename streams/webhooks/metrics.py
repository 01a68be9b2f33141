"""Prometheus metrics of the process of webhooks. Names and labels are part of the contract."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from streams.webhooks.sender import DeliveryFailure
from streams.webhooks.status import WebhookStatus

_PREFIX = "experiment_webhooks_"

DELIVERED = "DELIVERED"

DELIVERIES = Counter(
    f"{_PREFIX}deliveries",
    "Attempts to deliver an event, by outcome: DELIVERED, or the code of the failure.",
    ["outcome"],
)
SECONDS = Histogram(
    f"{_PREFIX}delivery_seconds",
    "Duration of an attempt, from the look-up of the name to the end of the answer.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 60.0),
)
GIVEN_UP = Counter(f"{_PREFIX}given_up", "Events given up after their last retry.")
WEBHOOKS = Gauge(f"{_PREFIX}webhooks", "Webhooks, by status.", ["status"])
WAITING = Gauge(f"{_PREFIX}waiting_events", "Events that wait to be delivered, of all webhooks.")
IS_ACTIVE = Gauge(f"{_PREFIX}active", "1 in the process that delivers, 0 in one that stands by.")

for outcome in (DELIVERED, *DeliveryFailure):
    DELIVERIES.labels(outcome)
for status in WebhookStatus:
    WEBHOOKS.labels(status)
