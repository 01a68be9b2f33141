"""Rights that a process needs, by the table in docs/reference/security.md, and those it lacks."""

from __future__ import annotations

from collections.abc import Mapping

from schemas import catalogue
from schemas.catalogue import projections
from streams.kafka.answers import admin_client, denied
from streams.kafka.positions import WEBHOOKS_GROUP
from streams.kafka.requirements import missing_rights
from streams.kafka.settings import KafkaSettings
from streams.kafka.topics import describe, missing_group_rights

READ, WRITE, DESCRIBE = "READ", "WRITE", "DESCRIBE"


def rights_of_worker(settings: KafkaSettings) -> Mapping[str, frozenset[str]]:
    """Return the operations that a worker needs, by full name of the topic."""
    read = (
        catalogue.IMPRESSIONS,
        catalogue.OBSERVATIONS,
        catalogue.COMMANDS,
        catalogue.TALLIES,
        catalogue.POSTERIORS,
        catalogue.DECISIONS,
        catalogue.TIMESERIES,
        catalogue.GENERATIONS,
    )
    write = (
        catalogue.TALLIES,
        catalogue.POSTERIORS,
        catalogue.DECISIONS,
        catalogue.TIMESERIES,
        catalogue.DEAD_LETTERS,
    )
    needed: dict[str, frozenset[str]] = {}
    for operation, topics in ((READ, read), (WRITE, write)):
        for topic in topics:
            name = settings.topic_name(topic)
            needed[name] = needed.get(name, frozenset()) | {operation}
    for topic in projections(settings.generation):
        if not topic.schemas:  # a changelog
            needed[topic.full_name(settings.topic_prefix)] = frozenset({READ, WRITE})
    return needed


def optional_rights_of_worker(settings: KafkaSettings) -> Mapping[str, frozenset[str]]:
    """Return the operations that a worker can do without, by full name of the topic.

    Without the first no winner is promoted, without the next two archived experiments do not end,
    without that on `observations` none is moved, and without the last no schema is enabled.
    """
    topics = (
        catalogue.COMMANDS,
        catalogue.IMPRESSIONS,
        catalogue.OBSERVATIONS,
        catalogue.GENERATIONS,
    )
    return {settings.topic_name(topic): frozenset({WRITE}) for topic in topics}


def rights_of_api(settings: KafkaSettings) -> Mapping[str, frozenset[str]]:
    """Return the operations that an API process needs, by full name of the topic."""
    topics = (catalogue.COMMANDS, catalogue.IMPRESSIONS, catalogue.OBSERVATIONS)
    needed = {settings.topic_name(topic): frozenset({WRITE}) for topic in topics}
    return needed | {settings.topic_name(catalogue.WEBHOOKS): frozenset({READ, WRITE})}


def rights_of_webhooks(settings: KafkaSettings) -> Mapping[str, frozenset[str]]:
    """Return the operations that the process of webhooks needs, by full name of the topic."""
    read = {
        settings.topic_name(topic): frozenset({READ})
        for topic in (catalogue.COMMANDS, catalogue.DECISIONS)
    }
    return read | {settings.topic_name(catalogue.WEBHOOKS): frozenset({READ, WRITE})}


def rights_of_doctor(settings: KafkaSettings) -> Mapping[str, frozenset[str]]:
    """Return the operations that `experiment doctor` needs, by full name of the topic."""
    topics = (
        catalogue.IMPRESSIONS,
        catalogue.OBSERVATIONS,
        catalogue.COMMANDS,
        catalogue.TALLIES,
        catalogue.POSTERIORS,
        catalogue.GENERATIONS,
        catalogue.DEAD_LETTERS,
        catalogue.WEBHOOKS,
        catalogue.DECISIONS,
    )
    return {settings.topic_name(topic): frozenset({READ}) for topic in topics}


def log_group(settings: KafkaSettings) -> str:
    """Return the beginning of the names of the groups by which the log is read."""
    return f"{settings.topic_prefix}log-"


def check_worker(settings: KafkaSettings) -> None:
    """Check that this process has the rights that a worker needs.

    Raises:
        ClusterError: it may not (`KAFKA_ACCESS_DENIED`); the message names each topic and group
            with the missing right.
        DependencyError: Kafka does not answer.
    """
    groups = {settings.faust_app_id: READ, f"{log_group(settings)}worker": DESCRIBE}
    _check(settings, rights_of_worker(settings), groups)


def check_webhooks(settings: KafkaSettings) -> None:
    """Check that this process has the rights that the process of webhooks needs.

    Raises:
        ClusterError: it may not, as `check_worker`.
        DependencyError: Kafka does not answer.
    """
    groups = {
        settings.topic_prefix + WEBHOOKS_GROUP: READ,
        f"{log_group(settings)}webhooks": DESCRIBE,
    }
    _check(settings, rights_of_webhooks(settings), groups)


def check_readable(settings: KafkaSettings, topic: str) -> None:
    """Check that this process may read a topic, by its full name.

    The rights are read, since a read of an empty topic succeeds without them.

    Raises:
        ClusterError: it may not (`KAFKA_ACCESS_DENIED`).
        DependencyError: Kafka does not answer.
    """
    needed = {topic: frozenset({READ})}
    missing = missing_rights(needed, describe(settings, needed))
    if missing:
        raise denied(settings, "; ".join(missing))


def _check(
    settings: KafkaSettings, topics: Mapping[str, frozenset[str]], groups: Mapping[str, str]
) -> None:
    client = admin_client(settings)
    missing = missing_rights(topics, describe(settings, topics, client=client))
    missing += missing_group_rights(settings, groups, client=client)
    if missing:
        raise denied(settings, "; ".join(missing))
