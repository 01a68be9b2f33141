"""Positions of the workers of a generation: in memory, and by their group in Kafka."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import pytest
from confluent_kafka import Consumer, TopicPartition

from schemas.catalogue import IMPRESSIONS, OBSERVATIONS
from streams.kafka.admin import create_topics
from streams.kafka.positions import GroupPositions
from streams.model.errors import DependencyError
from streams.settings import Settings
from tests.twins.positions import MemoryGroups, MemoryPositions


class Groups(Protocol):
    """Groups of workers that commit."""

    settings: Settings

    def commit(self, generation: int, topic: str, partition: int, offset: int) -> None:
        """Commit as a worker of a generation does."""

    def positions(self, generation: int) -> GroupPositions | MemoryPositions:
        """Return the positions of a generation."""


@dataclass
class InMemory:
    settings: Settings
    groups: MemoryGroups

    def commit(self, generation: int, topic: str, partition: int, offset: int) -> None:
        self.groups.committed[generation][topic, partition] = offset

    def positions(self, generation: int) -> MemoryPositions:
        return self.groups.positions(self.settings.model_copy(update={"generation": generation}))


@dataclass
class InKafka:
    settings: Settings

    def commit(self, generation: int, topic: str, partition: int, offset: int) -> None:
        settings = self.settings.model_copy(update={"generation": generation})
        consumer = Consumer(settings.confluent_config() | {"group.id": settings.faust_app_id})
        try:
            consumer.commit(offsets=[TopicPartition(topic, partition, offset)], asynchronous=False)
        finally:
            consumer.close()

    def positions(self, generation: int) -> GroupPositions:
        return GroupPositions(self.settings.model_copy(update={"generation": generation}))


@pytest.fixture
def groups(real: Settings | None) -> Groups:
    if real is None:
        return InMemory(Settings(partitions=4), MemoryGroups())
    create_topics(real)
    return InKafka(real)


def test_only_what_was_committed_is_a_position_and_the_newest_counts(groups: Groups) -> None:
    observations = OBSERVATIONS.full_name(groups.settings.topic_prefix)
    impressions = IMPRESSIONS.full_name(groups.settings.topic_prefix)
    with groups.positions(1) as positions:
        assert positions.read() == {}

        groups.commit(1, observations, 2, 5)
        groups.commit(1, impressions, 0, 0)
        groups.commit(1, observations, 2, 7)

        assert positions.read() == {(observations, 2): 7, (impressions, 0): 0}
        assert positions.read([(observations, 2), (observations, 3)]) == {(observations, 2): 7}
        assert positions.read([(observations, 3)]) == {}


def test_generations_have_separate_positions(groups: Groups) -> None:
    topic = OBSERVATIONS.full_name(groups.settings.topic_prefix)
    groups.commit(1, topic, 0, 5)
    groups.commit(2, topic, 0, 3)

    for generation, expected in ((1, {(topic, 0): 5}), (2, {(topic, 0): 3}), (3, {})):
        with groups.positions(generation) as positions:
            assert positions.read() == expected


@pytest.mark.parametrize("is_twin", [True, False])
def test_a_kafka_that_is_not_there_is_a_dependency_error(is_twin: bool) -> None:
    settings = Settings(kafka_url="127.0.0.1:1", kafka_timeout_s=0.5)
    away = MemoryGroups(is_away=True).positions(settings) if is_twin else GroupPositions(settings)

    with away, pytest.raises(DependencyError) as caught:
        away.read()

    assert caught.value.dependency == "kafka"
