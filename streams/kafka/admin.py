"""Make the topics that are missing, and refuse those that do not fit.

Partition counts are part of the design: every stage maps partition to partition, and a Faust table
must have as many changelog partitions as its source has. So nothing is created by accident here or
elsewhere, and a topic with another count, or with settings by which events would be lost, stops the
start instead of corrupting the tables.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import suppress

from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec

from schemas.catalogue import TopicConfig, projections, topic_configs
from streams.kafka.answers import admin_client, denied, explained, is_denied
from streams.kafka.requirements import deviations
from streams.kafka.settings import ENVIRONMENT_PREFIX, KafkaSettings
from streams.kafka.topics import TopicDescriptions, describe
from streams.model.errors import ConfigurationError, DependencyError

LOOK_S = 0.05
"""Interval between checks whether a created topic exists."""

logger = logging.getLogger(__name__)


def required_topics(settings: KafkaSettings) -> tuple[TopicConfig, ...]:
    """Return every topic that a generation of the workers uses, as the cluster should have it."""
    return topic_configs(
        prefix=settings.topic_prefix,
        partitions=settings.partitions,
        replication_factor=settings.replication_factor,
        min_insync_replicas=settings.min_insync_replicas,
        generation=settings.generation,
    )


def create_topics(settings: KafkaSettings) -> list[str]:
    """Create what is missing and return the names of what was created, once all of it can be used.

    Several processes may do this at once.

    Raises:
        ConfigurationError: a topic exists with another number of partitions or with settings by
            which events would be lost, Kafka refuses one, or a right is missing.
        DependencyError: Kafka does not answer, or does not show what it has created.
    """
    required = required_topics(settings)
    names = [topic.name for topic in required]
    client = admin_client(settings)
    there = describe(settings, names, client=client)
    if there.denied:
        raise denied(settings, f"DESCRIBE on topics {', '.join(sorted(there.denied))}")
    check_topics(required, there)
    missing = [topic for topic in required if topic.name in there.missing]
    if missing:
        _create(client, missing, settings)
        # Another process may have been faster, with another number.
        check_topics(required, _usable(client, missing, settings))
    return [topic.name for topic in missing]


def check_topics(required: Sequence[TopicConfig], described: TopicDescriptions) -> None:
    """Check that the existing topics can be used; log deviations that lose no events.

    Raises:
        ConfigurationError: one cannot; the message names every setting and its correction.
    """
    found = deviations(required, described)
    refused = [each for each in found if each.is_refused]
    if refused:
        wrong = [each for each in refused if each.setting == "partitions"]
        path = f"{ENVIRONMENT_PREFIX}PARTITIONS" if wrong else "topics"
        listed = "; ".join(f"{each}. {each.advice}" for each in refused)
        raise ConfigurationError(listed, path)
    for each in found:
        logger.warning("%s. %s", each, each.advice)


def _usable(
    client: AdminClient, created: Sequence[TopicConfig], settings: KafkaSettings
) -> TopicDescriptions:
    """Return what the topics are once every broker knows them and every partition answers.

    A broker hears of new topics from the controller, and partitions get their leaders after that.
    """
    names = [topic.name for topic in created]
    places = [TopicPartition(topic.name, n) for topic in created for n in range(topic.partitions)]
    deadline = time.monotonic() + settings.kafka_timeout_s
    while True:
        described = describe(settings, names, client=client)
        unseen = sorted({*described.missing, *described.denied}) or sorted(
            name for name, topic in described.topics.items() if topic.without_leader
        )
        if not unseen:
            unseen = _unanswered(client, places, settings) or _unknown_to_a_broker(
                client, names, settings
            )
        if not unseen:
            return described
        if time.monotonic() > deadline:
            raise DependencyError("kafka", f"does not show {', '.join(unseen)} yet")
        time.sleep(LOOK_S)


def _unanswered(
    client: AdminClient, places: Sequence[TopicPartition], settings: KafkaSettings
) -> list[str]:
    """Return the topics of which a partition cannot be read yet."""
    answers = client.list_offsets(
        {place: OffsetSpec.earliest() for place in places},  # type: ignore[no-untyped-call]
        request_timeout=settings.kafka_timeout_s,
    )
    unseen = set()
    for place, answer in answers.items():
        try:
            answer.result()
        except KafkaException as error:
            if is_denied(error.args[0]):
                continue  # with the right to create but not to describe, no more can be known
            unseen.add(place.topic)
    return sorted(unseen)


def _unknown_to_a_broker(
    client: AdminClient, names: Sequence[str], settings: KafkaSettings
) -> list[str]:
    """Return the topics that some broker does not know yet; a client may ask any of them first."""
    try:
        brokers = client.list_topics("", timeout=settings.kafka_timeout_s).brokers.values()
        if len(brokers) == 1:
            return []
        for broker in brokers:
            config = settings.confluent_config() | {
                "bootstrap.servers": f"{broker.host}:{broker.port}",
                "log_level": 0,
            }
            known = AdminClient(config).list_topics(timeout=settings.kafka_timeout_s).topics
            unseen = sorted(set(names) - known.keys())
            if unseen:
                return unseen
    except KafkaException:
        return list(names[:1])  # a broker is away; others may be asked the next time
    return []


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
    admin = admin_client(settings)  # referenced until its futures complete
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
            message = f"Kafka refuses to delete topic {name}: {reason.str()}"
            raise ConfigurationError(message) from error
    for answer in groups.values():
        # Kafka expires these offsets anyway: no group has the number of this generation again.
        with suppress(KafkaException):
            answer.result()
    return len(names)


def partitions_of_topics(settings: KafkaSettings) -> dict[str, int]:
    """Return the number of partitions of every topic there is, by name.

    Raises:
        DependencyError: Kafka does not answer.
    """
    metadata = admin_client(settings).list_topics(timeout=settings.kafka_timeout_s)
    return {
        name: len(topic.partitions) for name, topic in metadata.topics.items() if topic.partitions
    }


def _create(client: AdminClient, topics: list[TopicConfig], settings: KafkaSettings) -> None:
    wanted = [
        NewTopic(topic.name, topic.partitions, topic.replication_factor, config=topic.config)
        for topic in topics
    ]
    answers = client.create_topics(wanted, request_timeout=settings.kafka_timeout_s)
    for name, answer in answers.items():
        try:
            answer.result()
        except KafkaException as error:
            reason = error.args[0]
            if reason.code() == KafkaError.TOPIC_ALREADY_EXISTS:  # another process was faster
                continue
            if is_denied(reason):
                raise denied(
                    settings,
                    f"CREATE on topic {name}, which does not exist; run `experiment topics create` "
                    "as a user that may",
                ) from error
            if reason.retriable():
                raise explained(settings, reason, f"creating topic {name}") from error
            raise ConfigurationError(f"Kafka refuses topic {name}: {reason.str()}") from error
