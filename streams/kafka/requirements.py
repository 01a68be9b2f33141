"""Required settings of topics, compared with the actual ones. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from schemas.catalogue import TopicConfig
from streams.kafka.topics import TopicDescriptions, TopicState

FOR_EVER = -1


@dataclass(frozen=True, slots=True)
class Deviation:
    """A setting of a topic that is not what it should be.

    Attributes:
        topic: With the topic prefix.
        setting: Kafka's name of it.
        actual, wanted: Its values.
        harm: What follows from it.
        is_refused: Whether counts or commands can be lost for it, so that nothing should start.
    """

    topic: str
    setting: str
    actual: str
    wanted: str
    harm: str
    is_refused: bool

    def __str__(self) -> str:
        """Return it as one clause."""
        return f"{self.topic} has {self.setting}={self.actual}, must be {self.wanted}: {self.harm}"

    @property
    def advice(self) -> str:
        """Instruction for the operator."""
        if self.setting in {"partitions", "replication.factor"}:
            return "It cannot change by a setting; see docs/how-to/run-in-production.md."
        return (
            f"kafka-configs.sh --alter --entity-type topics --entity-name {self.topic} "
            f"--add-config {self.setting}={self.wanted}"
        )


def deviations(required: Sequence[TopicConfig], described: TopicDescriptions) -> list[Deviation]:
    """Return what is not as required of the topics that are there, in their order.

    A setting that the broker does not say, since it does not know it or may not, deviates in
    nothing.
    """
    return [
        deviation
        for wanted in required
        if (topic := described.topics.get(wanted.name)) is not None
        for deviation in _of_topic(wanted, topic)
    ]


def missing_rights(needed: Mapping[str, frozenset[str]], described: TopicDescriptions) -> list[str]:
    """Return which rights on topics are missing, as `READ on topic NAME`.

    Args:
        needed: Operations by full name of the topic.
        described: What the cluster said of them.
    """
    missing = []
    for name, operations in needed.items():
        topic = described.topics.get(name)
        allowed: frozenset[str] | None = frozenset()
        if topic is not None:
            allowed = topic.operations
        elif name not in described.denied:
            continue  # it does not exist, which is another matter
        if allowed is not None:
            lacking = ", ".join(sorted(operations - allowed))
            if lacking:
                missing.append(f"{lacking} on topic {name}")
    return missing


def _of_topic(wanted: TopicConfig, topic: TopicState) -> Iterator[Deviation]:
    if topic.partitions != wanted.partitions:
        yield Deviation(
            topic.name, "partitions", str(topic.partitions), str(wanted.partitions),
            "keys would be in other partitions than they are looked for in", True,
        )  # fmt: skip
    if topic.replication_factor < wanted.replication_factor:
        yield Deviation(
            topic.name, "replication.factor", str(topic.replication_factor),
            str(wanted.replication_factor), "fewer copies than asked for", False,
        )  # fmt: skip
    config = topic.config or {}
    in_sync = _number(config, "min.insync.replicas")
    if in_sync is not None and in_sync > topic.replication_factor:
        yield Deviation(
            topic.name, "min.insync.replicas", str(in_sync),
            wanted.config["min.insync.replicas"], "nothing can be written", True,
        )  # fmt: skip
    elif in_sync is not None and in_sync < int(wanted.config["min.insync.replicas"]):
        yield Deviation(
            topic.name, "min.insync.replicas", str(in_sync),
            wanted.config["min.insync.replicas"],
            "what was acknowledged can be lost with one broker", False,
        )  # fmt: skip
    for name, value in wanted.config.items():
        if name in config and name != "min.insync.replicas":
            deviation = _of_setting(topic.name, name, config[name], value, wanted.config)
            if deviation is not None:
                yield deviation


def _of_setting(
    topic: str, name: str, actual: str, wanted: str, config: Mapping[str, str]
) -> Deviation | None:
    is_kept = config.get("retention.ms") == str(FOR_EVER)
    match name:
        case "cleanup.policy":
            is_wrong = set(actual.split(",")) != set(wanted.split(","))
            harm, is_refused = "records that count would be removed", True
        case "retention.ms" | "retention.bytes":
            is_wrong = _is_less(actual, wanted)
            harm, is_refused = _HARM_OF_RETENTION[is_kept], is_kept
        case "max.message.bytes":
            is_wrong, is_refused = actual != wanted, int(actual) < int(wanted)
            harm = _HARM_OF_SIZE[is_refused]
        case "min.compaction.lag.ms":
            is_wrong, is_refused = int(actual) < int(wanted), True
            harm = "a worker that was cut off could be overtaken by compaction unseen"
        case "message.timestamp.type":
            is_wrong, is_refused = actual != wanted, False
            harm = "the times of records come from another clock than the engine expects"
        case "message.timestamp.after.max.ms":
            is_wrong, is_refused = int(actual) > int(wanted), True
            harm = "a sender whose clock is ahead could have the valid events of others refused"
        case _:
            return None
    return Deviation(topic, name, actual, wanted, harm, is_refused) if is_wrong else None


_HARM_OF_RETENTION = {
    True: "the truth about the experiments would be deleted",
    False: "a replay reaches back less far, and what was not read in time is lost",
}
_HARM_OF_SIZE = {
    True: "records that the engine writes would be refused",
    False: "dead letters and snapshots are made for smaller records",
}


def _is_less(actual: str, wanted: str) -> bool:
    """Return whether less is kept than wanted; -1 is forever."""
    if int(actual) == FOR_EVER:
        return False
    return int(wanted) == FOR_EVER or int(actual) < int(wanted)


def _number(config: Mapping[str, str], name: str) -> int | None:
    return int(config[name]) if name in config else None
