"""Reader and writer of the topic `webhooks`, one record at a time."""

from __future__ import annotations

import threading

from confluent_kafka import KafkaError, KafkaException, Message

from schemas.catalogue import WEBHOOKS
from streams.kafka.producers import RenewableProducer
from streams.kafka.records import LogSource, records_since
from streams.kafka.settings import KafkaSettings
from streams.model.errors import DependencyError
from streams.webhooks.table import WebhookTable

PARTITION = 0
"""All records are in one partition, so that they are totally ordered."""


class WebhookReader:
    """Reader of all webhooks. Blocks; used by one thread at a time.

    Args:
        source: The log.
    """

    def __init__(self, source: LogSource) -> None:
        self._source = source
        self._table = WebhookTable()
        self._positions: dict[int, int] = {}
        self._lock = threading.Lock()

    def read(self) -> WebhookTable:
        """Return the webhooks as of now.

        Raises:
            LogError, DependencyError: the log cannot be read.
        """
        with self._lock:
            for _, records in records_since(self._source, WEBHOOKS.name, self._positions):
                for each in records:
                    self._table.take(each.key, each.value, each.timestamp)
            return self._table.copy()


class WebhookWriter:
    """Writer of records of webhooks. Blocks, and may be called from any thread.

    Args:
        settings: Where Kafka is.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        self._topic = WEBHOOKS.full_name(settings.topic_prefix)
        self._timeout_s = settings.kafka_timeout_s
        self._config = settings.confluent_config() | {
            "enable.idempotence": True,
            "acks": "all",
            "linger.ms": 0,
            "message.timeout.ms": round(self._timeout_s * 1000),
            "log_level": 0,
        }
        self._producer: RenewableProducer | None = None  # most processes never write
        self._lock = threading.Lock()

    def write(self, *records: tuple[bytes, bytes | None]) -> None:
        """Return once all in-sync replicas have the records, each a key and a value or None.

        Raises:
            DependencyError: Kafka has not acknowledged them; they may be written nevertheless.
        """
        failures: list[KafkaError] = []

        def note(error: KafkaError | None, _: Message) -> None:
            if error is not None:
                failures.append(error)

        with self._lock:
            self._producer = producer = self._producer or RenewableProducer(self._config)
        try:
            for key, value in records:
                producer.produce(self._topic, value, key=key, partition=PARTITION, on_delivery=note)
            left = producer.flush(self._timeout_s + 1.0)
        except (KafkaException, BufferError) as error:
            raise DependencyError("kafka", f"webhooks are not written: {error}") from error
        if failures or left:
            why = failures[0].str() if failures else "no acknowledgement in time"
            raise DependencyError("kafka", f"webhooks are not written: {why}")

    def close(self) -> None:
        """Close the connections."""
        if self._producer is not None:
            self._producer.close()
