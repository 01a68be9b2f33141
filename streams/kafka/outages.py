"""Log lines of a librdkafka client while Kafka does not answer."""

from __future__ import annotations

import logging
from typing import Any

from confluent_kafka import KafkaError

from streams.kafka.settings import KafkaSettings
from streams.process.outages import outage

logger = logging.getLogger(__name__)


def logging_outages(settings: KafkaSettings, what: str) -> dict[str, Any]:
    """Return the part of a client's configuration that has it log outages, and nothing else.

    Args:
        settings: Where Kafka is.
        what: What the client is for, as in "reading webhooks".
    """
    is_away = outage("kafka", what)

    def note(error: KafkaError) -> None:
        logger.warning(
            "Kafka at %s, %s: %s; trying again",
            settings.kafka_url,
            what,
            error.str(),
            extra=is_away,
        )

    return {"log_level": 0, "error_cb": note}
