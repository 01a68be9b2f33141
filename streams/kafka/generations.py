"""The log of generations: one partition of changes, the truth about which is active."""

from __future__ import annotations

import time
from contextlib import suppress

from confluent_kafka import KafkaException, Producer

from schemas import catalogue
from streams.kafka.answers import denied
from streams.kafka.records import LogSource, all_records
from streams.kafka.settings import KafkaSettings
from streams.kafka.source import KafkaSource
from streams.kafka.topics import describe
from streams.model.errors import DependencyError, EventError
from streams.model.generations import ChangeKind, GenerationChange, Generations
from streams.wire.generations import decode_generation_change, encode_generation_change

PARTITION = 0
"""All changes are in one partition, so that there is one order of them."""


def read_generations(source: LogSource) -> tuple[Generations, int]:
    """Return what the changes so far have made, and the offset to read on from.

    Raises:
        LogError, DependencyError: as `LogSource` does.
    """
    generations, end = Generations(), 0
    for partition, record in all_records(source, catalogue.GENERATIONS.name):
        if partition == PARTITION:
            generations = taken(generations, record.offset, record.value)
            end = record.offset + 1
    return generations, end


def generations_of(settings: KafkaSettings) -> tuple[Generations, int]:
    """Return the same of an installation, whose topics need not all be there.

    Raises:
        ClusterError, LogError, DependencyError: the log of generations cannot be read.
    """
    return read_generations(KafkaSource(settings)) if has_log(settings) else (Generations(), 0)


def has_log(settings: KafkaSettings) -> bool:
    """Return whether an installation has a log of generations; one without any has the first only.

    A list of all topics would not do: Kafka leaves out of it what this process may not see.

    Raises:
        ClusterError: this process may not see it, so another generation may be active.
        DependencyError: Kafka does not answer.
    """
    name = settings.topic_name(catalogue.GENERATIONS)
    described = describe(settings, [name])
    if described.denied:
        raise denied(settings, f"READ on topic {name}")
    return name in described.topics


def taken(generations: Generations, offset: int, value: bytes | None) -> Generations:
    """Return the generations after a record; one that cannot be read changes nothing."""
    with suppress(EventError):
        return generations.after(offset, decode_generation_change(value))
    return generations


def append_change(settings: KafkaSettings, generation: int, kind: ChangeKind) -> None:
    """Append a change, and return once all in-sync replicas have it.

    Raises:
        DependencyError: Kafka has not taken it; it may be there nevertheless.
    """
    change = GenerationChange(generation, kind, time.time_ns() // 1_000_000)
    append(settings, encode_generation_change(change))


def append(settings: KafkaSettings, value: bytes) -> None:
    """Append a record to the log of generations; return once all in-sync replicas have it.

    Raises:
        DependencyError: Kafka has not taken it; it may be there nevertheless.
    """
    failures: list[object] = []
    timeout_ms = round(settings.kafka_timeout_s * 1000)
    producer = Producer(
        settings.confluent_config()
        | {
            "enable.idempotence": True,
            "message.timeout.ms": timeout_ms,
            "socket.timeout.ms": timeout_ms,
            "log_level": 0,
        }
    )
    try:
        producer.produce(
            catalogue.GENERATIONS.full_name(settings.topic_prefix),
            value,
            partition=PARTITION,
            on_delivery=lambda error, _: failures.append(error) if error else None,
        )
        left = producer.flush(settings.kafka_timeout_s + 1)
    except KafkaException as error:
        raise DependencyError("kafka", f"the change is not logged: {error}") from error
    if left or failures:
        reason = failures[0] if failures else "Kafka does not answer"
        raise DependencyError("kafka", f"the change is not logged: {reason}")
