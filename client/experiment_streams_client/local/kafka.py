"""Impressions of a journal to Kafka directly; needs the extra `kafka`."""

from __future__ import annotations

from collections.abc import Sequence

from experiment_streams_client.local.delivery import SealedBatch
from experiment_streams_client.outbox import KafkaConfig, Outbox
from schemas.catalogue import IMPRESSIONS


class KafkaSink:
    """Sends impressions to Kafka.

    Args:
        kafka: Addresses, as `host:port,host:port`, or a configuration of librdkafka.
        topic: The topic of impressions, with the prefix of the installation.
        timeout_s: Longest wait for acknowledgements, in seconds.
    """

    def __init__(
        self, kafka: str | KafkaConfig, *, topic: str = IMPRESSIONS.name, timeout_s: float = 30.0
    ) -> None:
        self._outbox = Outbox(kafka, topic)
        self._timeout_s = timeout_s

    def send(self, batches: Sequence[SealedBatch]) -> None:
        """Return once they are acknowledged.

        Raises:
            DeliveryError: some are not, in time.
        """
        for partition, value in batches:
            self._outbox.put(value, partition=partition)
        self._outbox.flush(self._timeout_s)

    def close(self) -> None:
        """Close the connections."""
        self._outbox.close()
