"""Sends records again, and waits until Kafka has them."""

from __future__ import annotations

from collections.abc import Sequence

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from schemas.catalogue import STATE_BYTES
from streams.kafka.answers import denied, is_denied
from streams.kafka.settings import KafkaSettings
from streams.model.errors import DependencyError
from streams.ops.dead_letters.place import EventPlace
from streams.ops.dead_letters.resending import RESENT_FROM, Resend


def send_again(settings: KafkaSettings, resends: Sequence[Resend]) -> None:
    """Return once every record is acknowledged by all replicas in sync.

    Raises:
        DependencyError: Kafka did not take them all; the message names the first that is not
            acknowledged, and those before it may be.
        ClusterError: the right to write a topic is missing (`KAFKA_ACCESS_DENIED`).
    """
    producer = Producer(
        settings.confluent_config()
        | {
            "acks": "all",
            "enable.idempotence": True,
            "message.max.bytes": STATE_BYTES,
            "delivery.timeout.ms": round(settings.kafka_timeout_s * 1000),
            "log_level": 0,
        }
    )
    waiting = {resend.place: "not acknowledged in time" for resend in resends}
    refused: set[str] = set()
    try:
        for resend in resends:
            _send(producer, resend, waiting, refused)
        producer.flush(settings.kafka_timeout_s * 2)
    except (KafkaException, BufferError) as error:
        raise DependencyError("kafka", f"Kafka at {settings.kafka_url}: {error}") from error
    if refused:
        raise denied(settings, "; ".join(f"WRITE on topic {name}" for name in sorted(refused)))
    if waiting:
        place, reason = next(iter(waiting.items()))
        raise DependencyError(
            "kafka",
            f"{len(waiting)} of {len(resends)} records are not acknowledged, first {place}: "
            f"{reason}",
        )


def _send(
    producer: Producer, resend: Resend, waiting: dict[EventPlace, str], refused: set[str]
) -> None:
    def delivered(error: KafkaError | None, _: Message) -> None:
        if error is None:
            del waiting[resend.place]
        else:
            waiting[resend.place] = error.str()
            if is_denied(error):
                refused.add(resend.place.topic)

    place = resend.place
    producer.produce(
        place.topic,
        key=resend.key,
        value=resend.value,
        partition=resend.partition,
        headers=[(RESENT_FROM, str(place).encode())],
        on_delivery=delivered,
        timestamp=resend.timestamp_ms or 0,  # 0 is now
    )
    producer.poll(0)
