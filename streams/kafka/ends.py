"""Ends of partitions, with the records of open transactions or before them.

A reader of committed records gets nothing from the first record of an open transaction on, also not
what others wrote behind it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from confluent_kafka import IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from streams.kafka.answers import explained
from streams.kafka.settings import KafkaSettings

Ends = Mapping[tuple[str, int], int]
"""Offset after the last record, by topic and partition."""


def written_ends(
    settings: KafkaSettings, client: AdminClient, places: Iterable[tuple[str, int]]
) -> Ends:
    """Return the ends of partitions, with records whose transaction has not ended.

    The embedded broker reports the first offset of the last batch plus one.

    Raises:
        DependencyError: Kafka does not answer, or refuses.
    """
    return _ends(settings, client, places, IsolationLevel.READ_UNCOMMITTED)


def stable_ends(
    settings: KafkaSettings, client: AdminClient, places: Iterable[tuple[str, int]]
) -> Ends:
    """Return the offsets from which on records wait for a transaction to end, or else the ends.

    With an open transaction anywhere in a partition, the embedded broker reports 0.

    Raises:
        DependencyError: Kafka does not answer, or refuses.
    """
    return _ends(settings, client, places, IsolationLevel.READ_COMMITTED)


def _ends(
    settings: KafkaSettings,
    client: AdminClient,
    places: Iterable[tuple[str, int]],
    isolation: IsolationLevel,
) -> Ends:
    answers = client.list_offsets(
        {TopicPartition(*each): OffsetSpec.latest() for each in places},  # type: ignore[no-untyped-call]
        isolation_level=isolation,
        request_timeout=settings.kafka_timeout_s,
    )
    try:
        return {
            (place.topic, place.partition): answer.result().offset
            for place, answer in answers.items()
        }
    except KafkaException as error:
        raise explained(settings, error.args[0], "the ends of the log") from error
