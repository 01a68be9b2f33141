"""Make the topics that are missing, and refuse those that do not fit.

Partition counts are part of the design: every stage maps partition to partition, and a Faust table
must have as many changelog partitions as its source has. So nothing is created by accident here or
elsewhere, and a topic with another count stops the start instead of corrupting the tables.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from schemas.catalogue import TopicConfig, projections, topic_configs
from streams.domain.errors import ConfigurationError, DependencyError
from streams.kafka_settings import KafkaSettings

LOOK_S = 0.05
"""How often is looked whether a topic that was created is shown."""


def create_topics(settings: KafkaSettings) -> list[str]:
    """Create what is missing and return the names of what was created, once Kafka shows all of it.

    Several processes may do this at once.

    Raises:
        ConfigurationError: a topic exists with another number of partitions, or Kafka refuses one.
        DependencyError: Kafka does not answer, or does not show what it has created.
    """
    required = topic_configs(
        prefix=settings.topic_prefix,
        partitions=settings.partitions,
        replication_factor=settings.replication_factor,
        min_insync_replicas=settings.min_insync_replicas,
        generation=settings.generation,
    )
    there = partitions_of_topics(settings)
    _check(required, there, settings)
    missing = [topic for topic in required if topic.name not in there]
    if missing:
        _create(missing, settings)
        # Another process may have been faster, with another number.
        _check(required, _shown(missing, settings), settings)
    return [topic.name for topic in missing]


def _check(
    required: Sequence[TopicConfig], partitions: Mapping[str, int], settings: KafkaSettings
) -> None:
    wrong = [
        f"{topic.name} has {partitions[topic.name]}"
        for topic in required
        if partitions.get(topic.name, topic.partitions) != topic.partitions
    ]
    if wrong:
        raise ConfigurationError(
            f"partitions == {settings.partitions}, must be what the topics have: "
            f"{', '.join(wrong)}",
            "EXPERIMENT_PARTITIONS",
        )


def _shown(created: Sequence[TopicConfig], settings: KafkaSettings) -> Mapping[str, int]:
    """Return the partitions of all topics; a broker hears of new ones from the controller."""
    deadline = time.monotonic() + settings.kafka_timeout_s
    while (
        unseen := {topic.name for topic in created}
        - (there := partitions_of_topics(settings)).keys()
    ):
        if time.monotonic() > deadline:
            raise DependencyError("kafka", f"does not show {', '.join(sorted(unseen))} yet")
        time.sleep(LOOK_S)
    return there


def delete_projections(settings: KafkaSettings) -> int:
    """Delete the topics that one generation derives from the log, and its workers' offsets.

    Returns:
        How many topics there were.

    Raises:
        DependencyError: Kafka does not answer; some may be gone.
        ConfigurationError: Kafka refuses.
    """
    there = partitions_of_topics(settings)
    own = (topic.full_name(settings.topic_prefix) for topic in projections(settings.generation))
    names = [name for name in own if name in there]
    admin = _admin(settings)  # its answers come as long as somebody holds it
    answers = dict(admin.delete_topics(names)) if names else {}
    groups = admin.delete_consumer_groups([settings.faust_app_id])
    for name, answer in answers.items():
        try:
            answer.result()
        except KafkaException as error:
            reason = error.args[0]
            if reason.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:  # another process was faster
                continue
            if reason.retriable():
                raise DependencyError("kafka", f"deleting {name}: {reason.str()}") from error
            message = f"Kafka does not let topic {name} go: {reason.str()}"
            raise ConfigurationError(message) from error
    for answer in groups.values():
        # Offsets of a number that is never used again expire by themselves, too.
        with suppress(KafkaException):
            answer.result()
    return len(names)


def partitions_of_topics(settings: KafkaSettings) -> dict[str, int]:
    """Return the number of partitions of every topic there is, by name.

    Raises:
        DependencyError: Kafka does not answer.
    """
    try:
        metadata = _admin(settings).list_topics(timeout=settings.kafka_timeout_s)
    except KafkaException as error:
        reason = error.args[0].str()
        raise DependencyError("kafka", f"Kafka at {settings.kafka_url}: {reason}") from error
    return {
        name: len(topic.partitions) for name, topic in metadata.topics.items() if topic.partitions
    }


def _admin(settings: KafkaSettings) -> AdminClient:
    # The exceptions say what failed, once; librdkafka would say it twenty times a second.
    return AdminClient(settings.confluent_config() | {"log_level": 0})


def _create(topics: list[TopicConfig], settings: KafkaSettings) -> None:
    wanted = [
        NewTopic(topic.name, topic.partitions, topic.replication_factor, config=topic.config)
        for topic in topics
    ]
    admin = _admin(settings)  # its answers come as long as somebody holds it
    answers = admin.create_topics(wanted, request_timeout=settings.kafka_timeout_s)
    for name, answer in answers.items():
        try:
            answer.result()
        except KafkaException as error:
            reason = error.args[0]
            if reason.code() == KafkaError.TOPIC_ALREADY_EXISTS:  # another process was faster
                continue
            if reason.retriable():
                raise DependencyError("kafka", f"creating {name}: {reason.str()}") from error
            raise ConfigurationError(f"Kafka refuses topic {name}: {reason.str()}") from error
