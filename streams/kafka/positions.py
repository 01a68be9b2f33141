"""Positions at which the workers of a generation continue in the shared topics."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Self

from confluent_kafka import Consumer, KafkaException, TopicPartition

from schemas.catalogue import COMMANDS, IMPRESSIONS, OBSERVATIONS
from streams.kafka.settings import KafkaSettings
from streams.model.errors import DependencyError

HOLDOUTS_GROUP = "experiment-streams-holdouts"
"""Consumer group of the workers that copy observations for holdouts, after the prefix of the
topics; all generations share it."""

WEBHOOKS_GROUP = "experiment-streams-webhooks"
"""Consumer group of the processes of webhooks, after the prefix of the topics."""

SHARED_SOURCES = (IMPRESSIONS, OBSERVATIONS, COMMANDS)
"""Topics from which every generation is built."""

Positions = Mapping[tuple[str, int], int]
"""Offset of the next record by full name of the topic and partition."""


class GroupPositions:
    """A reader of the committed offsets of a generation's workers that does not join their group.

    A worker commits an offset when all before it is durable (tables, dead letters, decisions) and
    the cells that count it are in `tallies`.

    Args:
        settings: Where Kafka is, and which generation.
        group: Another group whose offsets are asked for; None for that of the generation.
    """

    def __init__(self, settings: KafkaSettings, group: str | None = None) -> None:
        self._settings = settings
        self._consumer = Consumer(
            settings.confluent_config()
            | {
                "group.id": group or settings.faust_app_id,
                "enable.auto.commit": False,
                "log_level": 0,
            }
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read(self, partitions: Collection[tuple[str, int]] = ()) -> Positions:
        """Return where the group continues; a partition it has committed nothing of is left out.

        Args:
            partitions: Full name and number of each; none for all that generations share.

        Raises:
            DependencyError: Kafka does not answer.
        """
        asked = partitions or [
            (topic.full_name(self._settings.topic_prefix), number)
            for topic in SHARED_SOURCES
            for number in range(self._settings.partitions)
        ]
        try:
            answers = self._consumer.committed(
                [TopicPartition(*each) for each in asked], timeout=self._settings.kafka_timeout_s
            )
        except KafkaException as error:
            raise DependencyError("kafka", f"Kafka: {error.args[0].str()}") from error
        return {(each.topic, each.partition): each.offset for each in answers if each.offset >= 0}

    def close(self) -> None:
        """Close the connections."""
        self._consumer.close()
