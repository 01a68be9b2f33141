"""The publishers against a real broker: where records go, and that what is in them is whole."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

import pytest
from aiokafka.partitioner import murmur2
from confluent_kafka import Consumer, Message, TopicPartition

from experiment_streams_client.impressions import ImpressionPublisher
from experiment_streams_client.publisher import ObservationPublisher
from schemas.catalogue import IMPRESSIONS, OBSERVATIONS
from streams.kafka.admin import create_topics
from streams.model.errors import ReceiptError
from streams.model.events import Observation
from streams.model.ids import experiment_id
from streams.model.receipts import Keyring, Receipt
from streams.settings import Settings
from streams.wire.impressions import decode_impression_batch
from streams.wire.observations import decode_observations
from tests.patience import PATIENCE_S

EXPERIMENT = 0x0123456789ABCDEF
PARTITIONS = 4


@pytest.fixture
def installation(settings):
    """Settings of an installation whose topics exist."""
    create_topics(settings)
    return settings


def read_all(
    settings: Settings, topic: str, n: int, size: Callable[[Message], int] = lambda _: 1
) -> list[Message]:
    """Return the records of a topic, which hold `n` things and no more, each partition in order.

    The end offsets are not asked for: the embedded broker returns too low ones after a batch.
    """
    consumer = Consumer(settings.confluent_config() | {"group.id": "reader"})
    name = topic_name(settings, topic)
    consumer.assign([TopicPartition(name, partition, 0) for partition in range(PARTITIONS)])
    records: list[Message] = []
    while sum(map(size, records)) < n:
        more = consumer.consume(1, timeout=PATIENCE_S)
        assert more, f"{len(records)} records only"
        records += more
    records += consumer.consume(1, timeout=0.3)
    consumer.close()
    assert not any(record.error() for record in records)
    assert sum(map(size, records)) == n
    return sorted(records, key=lambda record: (record.partition(), record.offset()))


def topic_name(settings: Settings, topic: str) -> str:
    return settings.topic_prefix + topic


def keyring_of(settings: Settings) -> Keyring:
    return Keyring.parse(settings.signing_keys)


def receipts(keyring: Keyring, n: int) -> list[str]:
    return [
        keyring.sign(Receipt(EXPERIMENT, i % 3, 1 << 30, 1, 1_700_000_000_000, i, 0))
        for i in range(n)
    ]


def n_impressions(record: Message) -> int:
    return sum(len(group.units) for group in decode_impression_batch(record.value()).groups)


def observations_of(record: Message) -> list[Observation]:
    found = decode_observations(record.value()).observations
    return [each for each in found if isinstance(each, Observation)]


def test_the_oracle_is_javas_murmur2() -> None:
    """Vectors of Kafka's own UtilsTest.testMurmur2."""
    vectors = {
        b"21": -973932308,
        b"foobar": -790332482,
        b"a-little-bit-long-string": -985981536,
        b"a-little-bit-longer-string": -1486304829,
        b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
        b"abc": 479470107,
    }
    assert {key: (murmur2(key) ^ 2**31) - 2**31 for key in vectors} == vectors


def test_every_record_is_where_java_would_put_it_and_holds_what_was_said(installation) -> None:
    keyring = keyring_of(installation)
    ids = receipts(keyring, 200)

    with ObservationPublisher(
        installation.confluent_config(),
        topic=topic_name(installation, OBSERVATIONS.name),
        keyring=keyring,
    ) as publisher:
        for number, assignment_id in enumerate(ids):
            publisher.publish(assignment_id, "revenue", 49.99, f"order-{number}", 1_700_000_001_000)

    records = read_all(installation, OBSERVATIONS.name, len(ids))
    for record in records:
        assert record.partition() == (murmur2(record.key()) & 0x7FFFFFFF) % PARTITIONS
    assert {record.partition() for record in records} == set(range(PARTITIONS))
    assert sorted(
        (found for record in records for found in observations_of(record)),
        key=lambda found: ids.index(found.assignment_id),
    ) == [
        Observation(assignment_id, "revenue", 49_990_000, f"order-{number}", 1_700_000_001_000)
        for number, assignment_id in enumerate(ids)
    ]


async def test_repetitions_meet_in_one_partition_from_any_sender(installation) -> None:
    [assignment_id] = receipts(keyring_of(installation), 1)
    topic = topic_name(installation, OBSERVATIONS.name)

    for _ in range(3):
        async with ObservationPublisher(installation.confluent_config(), topic=topic) as publisher:
            await publisher.publish_async(assignment_id, "click", 1, "the click")

    records = read_all(installation, OBSERVATIONS.name, 3)
    assert len({record.partition() for record in records}) == 1
    assert {record.value() for record in records} == {records[0].value()}


def test_a_queue_smaller_than_the_work_holds_the_sender_back_and_loses_nothing(
    installation,
) -> None:
    ids = receipts(keyring_of(installation), 2000)
    small = installation.confluent_config() | {"queue.buffering.max.messages": 50}

    with ObservationPublisher(
        small, topic=topic_name(installation, OBSERVATIONS.name)
    ) as publisher:
        for assignment_id in ids:
            publisher.publish(assignment_id, "click", 1)

    found = [
        observation.assignment_id
        for record in read_all(installation, OBSERVATIONS.name, len(ids))
        for observation in observations_of(record)
    ]
    assert sorted(found) == sorted(ids)


def test_a_forged_receipt_never_reaches_the_broker(installation) -> None:
    [forged] = receipts(Keyring({1: bytes(32)}), 1)

    with (
        ObservationPublisher(
            installation.confluent_config(),
            topic=topic_name(installation, OBSERVATIONS.name),
            keyring=keyring_of(installation),
        ) as publisher,
        pytest.raises(ReceiptError),
    ):
        publisher.publish(forged, "click", 1)

    assert read_all(installation, OBSERVATIONS.name, 0) == []


def test_impressions_are_packed_with_a_sequence_and_their_receipts_say_the_same(
    installation,
) -> None:
    keyring = keyring_of(installation)
    name = experiment_id(EXPERIMENT)
    users = [None, "user_1", "user_2", "user_1"] * 25

    with ImpressionPublisher(
        installation.confluent_config(),
        keyring,
        topic=topic_name(installation, IMPRESSIONS.name),
        batch_size=10,
    ) as publisher:
        minted = [
            publisher.publish(
                name,
                number % 3,
                0.25,
                unit=user,
                assigned_at_ms=1_700_000_000_000 + number,
                attribution_window_s=60,
                context={"position": 2} if number == 0 else None,
            )
            for number, user in enumerate(users)
        ]

    sequences: defaultdict[int, list[int]] = defaultdict(list)
    logged: dict[Receipt, int] = {}
    contexts: list[str] = []
    for record in read_all(installation, IMPRESSIONS.name, len(users), n_impressions):
        batch = decode_impression_batch(record.value())
        assert batch.partition == record.partition()
        sequences[batch.partition].append(batch.sequence)
        for group in batch.groups:
            contexts += group.contexts
            for row in zip(
                group.variants,
                group.propensities,
                group.allocation_versions,
                group.assigned_at_ms,
                group.units,
                strict=True,
            ):
                logged[Receipt(group.experiment, *row, 60)] = batch.partition
                assert group.repeatable == (users[row[3] - 1_700_000_000_000] is not None)

    assert set(logged) == {keyring.verify(assignment_id) for assignment_id in minted}
    assert len(logged) == len(users)
    assert all(found == list(range(len(found))) for found in sequences.values())
    assert len(sequences) > 1
    assert [context for context in contexts if context] == ['{"position":2}']
    for user in ("user_1", "user_2"):
        of_user = {
            keyring.verify(minted[number]).unit for number, each in enumerate(users) if each == user
        }
        [unit] = of_user
        places = {place for receipt, place in logged.items() if receipt.unit == unit}
        assert places == {unit * PARTITIONS >> 64}
