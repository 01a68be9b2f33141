"""The topics as the cluster has them: partitions, settings, identity, and rights on them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType, TopicDescription

from streams.kafka.answers import admin_client, explained, is_denied
from streams.kafka.settings import KafkaSettings

_NO_IDS = {"AAAAAAAAAAAAAAAAAAAAAA", "None"}
"""Topic ids of brokers that give none: zeros, or nothing."""


@dataclass(frozen=True, slots=True)
class TopicState:
    """A topic as the cluster has it.

    Attributes:
        name: With the topic prefix.
        topic_id: What no other topic had or will have, also of the same name; None where the broker
            gives no such ids.
        partitions: Their number.
        replication_factor: Copies of the partition that has fewest.
        without_leader: Partitions that cannot be read or written now.
        operations: What this process may do with it, as `kafka-acls.sh` spells it; None where the
            broker does not say.
        config: Kafka's own settings of it; None where this process may not see them.
    """

    name: str
    topic_id: str | None
    partitions: int
    replication_factor: int
    without_leader: int = 0
    operations: frozenset[str] | None = None
    config: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class TopicDescriptions:
    """Description of topics by the cluster.

    Attributes:
        topics: Those it has, by name.
        missing: Those it does not have.
        denied: Those that this process may not even describe.
    """

    topics: Mapping[str, TopicState] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()


def describe(
    settings: KafkaSettings, names: Collection[str], *, client: AdminClient | None = None
) -> TopicDescriptions:
    """Return what the cluster says of topics, their settings included.

    Raises:
        ClusterError: it does not let this process in.
        DependencyError: it does not answer.
    """
    client = client or admin_client(settings)
    answers = client.describe_topics(
        TopicCollection(list(names)),
        include_authorized_operations=True,
        request_timeout=settings.kafka_timeout_s,
    )
    found: dict[str, TopicDescription] = {}
    missing, refused = [], []
    for name, answer in answers.items():
        try:
            found[name] = answer.result()
        except KafkaException as error:
            reason: KafkaError = error.args[0]
            if is_denied(reason):
                refused.append(name)
            elif reason.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                missing.append(name)
            else:
                raise explained(settings, reason, f"describing topic {name}") from error
    configs = _configs(settings, client, found)
    topics = {name: _state(each, configs.get(name)) for name, each in found.items()}
    return TopicDescriptions(topics, tuple(missing), tuple(refused))


def missing_group_rights(
    settings: KafkaSettings,
    needed: Mapping[str, str],
    *,
    client: AdminClient | None = None,
) -> list[str]:
    """Return which rights on consumer groups are missing, as `READ on group NAME`.

    Args:
        settings: Where the cluster is, and as whom.
        needed: Operation by group; the groups need not exist.
        client: Asks; None for a new one.

    Raises:
        ClusterError: the cluster does not let this process in.
    """
    client = client or admin_client(settings)
    answers = client.describe_consumer_groups(
        list(needed), include_authorized_operations=True, request_timeout=settings.kafka_timeout_s
    )
    missing = []
    for name, answer in answers.items():
        try:
            operations = _operations(answer.result().authorized_operations)
        except KafkaException as error:
            if is_denied(error.args[0]):
                missing.append(f"{needed[name]} on group {name}")
            continue  # what is not said is found out when it is needed
        if operations is not None and needed[name] not in operations:
            missing.append(f"{needed[name]} on group {name}")
    return missing


def _configs(
    settings: KafkaSettings, client: AdminClient, names: Iterable[str]
) -> dict[str, Mapping[str, str]]:
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
    if not resources:
        return {}
    found: dict[str, Mapping[str, str]] = {}
    answers = client.describe_configs(resources, request_timeout=settings.kafka_timeout_s)
    for resource, answer in answers.items():
        try:
            entries = answer.result()
        except KafkaException as error:
            if is_denied(error.args[0]):
                continue
            raise explained(
                settings, error.args[0], f"describing the settings of topic {resource.name}"
            ) from error
        found[resource.name] = {
            name: entry.value for name, entry in entries.items() if entry.value is not None
        }
    return found


def _state(topic: TopicDescription, config: Mapping[str, str] | None) -> TopicState:
    topic_id = str(topic.topic_id)
    return TopicState(
        topic.name,
        topic_id if topic_id not in _NO_IDS else None,
        len(topic.partitions),
        min((len(each.replicas) for each in topic.partitions), default=0),
        sum(getattr(each.leader, "id", -1) < 0 for each in topic.partitions),
        _operations(topic.authorized_operations),
        config,
    )


def _operations(operations: Iterable[object] | None) -> frozenset[str] | None:
    if not operations:
        return None
    return frozenset(getattr(each, "name", str(each)) for each in operations)
