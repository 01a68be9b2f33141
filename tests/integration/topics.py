"""Content of a topic."""

from __future__ import annotations

import secrets

from confluent_kafka import Consumer, Message, TopicPartition

from streams.settings import Settings
from tests.patience import PATIENCE_S


def records_of(settings: Settings, topic: str) -> list[Message]:
    """Return every record of a topic up to the ends of its partitions, each partition in order."""
    consumer = Consumer(
        settings.confluent_config()
        | {
            "group.id": secrets.token_hex(8),
            "auto.offset.reset": "earliest",
            "enable.partition.eof": True,
            "log_level": 0,
        }
    )
    name = f"{settings.topic_prefix}{topic}"
    consumer.assign([TopicPartition(name, p, 0) for p in range(settings.partitions)])
    records: list[Message] = []
    ended: set[int | None] = set()
    while len(ended) < settings.partitions:
        message = consumer.poll(PATIENCE_S)
        assert message is not None
        if message.error():
            ended.add(message.partition())
        else:
            records.append(message)
    consumer.close()
    return records


def with_points(settings: Settings) -> set[str]:
    """Return the experiments of which the log has a point of the time series.

    A point is written a quarter of a second after its snapshot, so a worker that is stopped as
    soon as all is counted may leave the last one out.
    """
    keys = [record.key() for record in records_of(settings, "timeseries")]
    return {key.partition(b"/")[0].decode() for key in keys if key is not None}
