"""Contract of a producer for the API and the client: in memory, and librdkafka's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from confluent_kafka import KafkaError, Producer

from api.delivery import PRODUCER_CONFIG
from schemas.catalogue import OBSERVATIONS
from streams.kafka.admin import create_topics
from streams.kafka.records import all_records
from streams.kafka.source import KafkaSource
from streams.settings import Settings
from tests.patience import PATIENCE_S
from tests.twins.producer import MemoryKafka

BRIEFLY_S = 0.1
ROOM = 3


@dataclass(frozen=True)
class Subject:
    """A producer whose broker is there, one whose broker is not, and what was delivered."""

    topic: str
    there: Any
    away: Any
    delivered: Callable[[], list[bytes | None]]


def memory_subject() -> Subject:
    there, away = MemoryKafka(), MemoryKafka(is_there=False, room=ROOM)
    return Subject("observations", there.make(), away.make(), lambda: list(there.delivered))


def kafka_subject(settings: Settings) -> Subject:
    create_topics(settings)
    config = dict(PRODUCER_CONFIG)
    nowhere = {"bootstrap.servers": "127.0.0.1:1", "queue.buffering.max.messages": ROOM}
    return Subject(
        OBSERVATIONS.full_name(settings.topic_prefix),
        Producer(config | settings.confluent_config()),
        Producer(config | nowhere | {"log_level": 0}),
        lambda: [each.value for _, each in all_records(KafkaSource(settings), OBSERVATIONS.name)],
    )


@pytest.fixture
def subject(real: Settings | None) -> Iterator[Subject]:
    made = memory_subject() if real is None else kafka_subject(real)
    yield made
    for producer in (made.there, made.away):
        producer.purge()
        producer.close()


@pytest.fixture
def reports() -> list[tuple[KafkaError | None, bytes]]:
    return []


@pytest.fixture
def report(reports) -> Callable[[KafkaError | None, Any], None]:
    return lambda error, message: reports.append((error, message.value()))


def test_records_are_delivered_in_order_and_reported_by_the_next_call(
    subject: Subject, reports, report
) -> None:
    values = [b"%d" % number for number in range(20)]
    for value in values:
        subject.there.produce(subject.topic, value, partition=0, on_delivery=report)
    assert reports == []

    left = subject.there.flush(PATIENCE_S)

    assert (left, reports) == (0, [(None, value) for value in values])
    assert subject.delivered() == values
    assert subject.there.poll(0) == 0


def test_without_a_broker_so_many_records_wait_and_no_more(
    subject: Subject, reports, report
) -> None:
    for number in range(ROOM):
        subject.away.produce(subject.topic, b"%d" % number, partition=0, on_delivery=report)

    with pytest.raises(BufferError):
        subject.away.produce(subject.topic, b"more", partition=0, on_delivery=report)

    assert subject.away.flush(BRIEFLY_S) == ROOM
    assert reports == []


def test_what_is_purged_is_reported_as_failed_once(subject: Subject, reports, report) -> None:
    for number in range(ROOM):
        subject.away.produce(subject.topic, b"%d" % number, partition=0, on_delivery=report)

    subject.away.purge()
    assert reports == []
    while len(reports) < ROOM:
        subject.away.poll(1.0)

    assert sorted(value for _, value in reports) == [b"0", b"1", b"2"]
    assert {error.code() for error, _ in reports if error} == {KafkaError._PURGE_QUEUE}
    assert subject.away.flush(PATIENCE_S) == 0
    subject.away.produce(subject.topic, b"again", partition=0, on_delivery=report)
