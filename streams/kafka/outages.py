"""Log lines of a librdkafka client while Kafka does not answer."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from typing import Any

from confluent_kafka import KafkaError

from streams.kafka.settings import KafkaSettings

INTERVAL_S = 30.0
"""Shortest time between two messages; librdkafka itself would log one per attempt, ten a second."""

logger = logging.getLogger(__name__)


def logging_outages(
    settings: KafkaSettings, what: str, clock: Callable[[], float] = time.monotonic
) -> dict[str, Any]:
    """Return the part of a client's configuration that has it log outages, and nothing else.

    Args:
        settings: Where Kafka is.
        what: What the client is for, as in "reading webhooks".
        clock: Monotonic seconds.
    """
    logged_s = -math.inf

    def note(error: KafkaError) -> None:
        nonlocal logged_s
        if clock() - logged_s >= INTERVAL_S:
            logged_s = clock()
            logger.warning(
                "Kafka at %s, %s: %s; trying again", settings.kafka_url, what, error.str()
            )

    return {"log_level": 0, "error_cb": note}
