"""A Kafka producer that is replaced once it cannot be used any more."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from streams.process.outages import outage

Delivered = Callable[[KafkaError | None, Message], None]

_FATAL = frozenset(
    {
        KafkaError._FATAL,  # noqa: SLF001 - librdkafka's own name
        KafkaError._FENCED,  # noqa: SLF001
        KafkaError.INVALID_PRODUCER_EPOCH,
        KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER,
        KafkaError.UNKNOWN_PRODUCER_ID,
        KafkaError.INVALID_PRODUCER_ID_MAPPING,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,  # refused as an idempotent producer, permanently
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    }
)

_FORBIDDEN = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError._AUTHENTICATION,  # noqa: SLF001
    }
)

_log = logging.getLogger(__name__)


def is_fatal(error: KafkaError) -> bool:
    """Return whether the producer that reports this error never delivers again.

    A delivery report does not carry librdkafka's own mark, so its code counts as well.
    """
    return error.fatal() or error.code() in _FATAL


def is_forbidden(error: KafkaError) -> bool:
    """Return whether the broker refused the producer's user; rights may be granted later."""
    return error.code() in _FORBIDDEN


class Retirable(Protocol):
    """Methods of a `confluent_kafka.Producer` that its retirement calls."""

    def purge(self) -> None:
        """Fail everything queued or under way."""

    def poll(self, timeout: float) -> int:
        """Call what has been delivered, or failed."""

    def close(self) -> object:
        """Drop the connections."""


def retire(producer: Retirable) -> None:
    """Have a producer give back all that it holds, also what no broker answers, and close it."""
    producer.purge()
    producer.poll(0)
    # Closing joins threads of librdkafka, which may wait for a broker.
    threading.Thread(target=producer.close, name="old-producer", daemon=True).start()


class RenewableProducer:
    """A producer of librdkafka that replaces itself after a fatal error or a refusal of its user.

    What a replaced producer held is reported as failed to the callbacks of those records.

    Attributes:
        renewals: How often it was replaced.

    Args:
        config: Configuration of librdkafka.
        make: Makes a producer.
    """

    def __init__(
        self,
        config: Mapping[str, str | int | float | bool],
        make: Callable[[dict[str, Any]], Producer] = Producer,
    ) -> None:
        self.renewals = 0
        self._config = dict(config)
        self._make = make
        self._producer = make(dict(config))
        self._is_broken = False

    def produce(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: bytes | None = None,
        partition: int = -1,
        on_delivery: Delivered,
    ) -> None:
        """Queue a record.

        Raises:
            BufferError: the queue is full.
            KafkaException: a fresh producer refuses it, too.
        """

        def noted(error: KafkaError | None, message: Message) -> None:
            if error is not None and (is_fatal(error) or is_forbidden(error)):
                self._is_broken = True
            on_delivery(error, message)

        def queue() -> None:
            self._producer.produce(topic, value, key=key, partition=partition, on_delivery=noted)

        if self._is_broken:
            self._renew()
        try:
            queue()
        except KafkaException as error:
            if not is_fatal(error.args[0]):
                raise
            self._renew()
            queue()

    def poll(self, timeout_s: float) -> int:
        """Call what was delivered."""
        return self._producer.poll(timeout_s)

    def flush(self, timeout_s: float) -> int:
        """Wait for everything queued, and return how much is left."""
        return self._producer.flush(timeout_s)

    def list_topics(self, topic: str, timeout_s: float) -> Any:
        """Return what the brokers say of a topic."""
        return self._producer.list_topics(topic, timeout=timeout_s)

    def close(self) -> None:
        """Drop what was not delivered, and the connections."""
        self._producer.purge()
        self._producer.close()

    def _renew(self) -> None:
        old, self._is_broken = self._producer, False
        _log.warning(
            "a Kafka producer cannot be used any more and is replaced", extra=outage("kafka")
        )
        self.renewals += 1
        retire(old)
        self._is_broken = False  # what it gave back may have set it again
        self._producer = self._make(dict(self._config))
