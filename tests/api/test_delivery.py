"""From the spool to Kafka: everything at least once, and the spool empty in the end."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest
from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, KafkaError

from api import delivery as module
from api.delivery import RETRY_PAUSE_S, Delivery
from api.spool.entries import SpoolRecord
from api.spool.spool import Spool
from tests.twins.producer import MemoryKafka

MIB = 2**20


@dataclass
class Clock:
    now_s: float = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def spool(tmp_path: Path):
    with Spool(tmp_path, "a", MIB) as opened:
        yield opened


def send(spool: Spool, delivery: Delivery, *payloads: bytes) -> None:
    records = [SpoolRecord(0, 3, payload) for payload in payloads]
    delivery.offer(spool.append(records), records)


def delivery_of(spool: Spool, kafka: MemoryKafka, clock: Clock | None = None) -> Delivery:
    delivery = Delivery(spool, kafka.make, ["impressions", "observations"], clock or Clock())
    delivery.pump()  # nothing was left over
    return delivery


def test_what_is_acknowledged_leaves_the_spool(spool: Spool) -> None:
    kafka = MemoryKafka()
    delivery = delivery_of(spool, kafka)

    send(spool, delivery, b"a", b"b")
    assert (delivery.depth, spool.size_bytes > 0) == (2, True)
    delivery.pump()

    assert kafka.delivered == [b"a", b"b"]
    assert (delivery.acknowledged, delivery.depth, spool.size_bytes) == (2, 0, 0)
    assert delivery.last_acknowledged_s == 100.0


def test_without_kafka_records_wait_in_the_spool_and_then_go_in_order(spool: Spool) -> None:
    kafka = MemoryKafka(room=3, is_there=False)
    delivery = delivery_of(spool, kafka)
    expected = [b"%d" % number for number in range(20)]
    for payload in expected:
        send(spool, delivery, payload)
        delivery.pump()
    assert (len(kafka.producers[0].queue), delivery.is_caught_up) == (3, False)

    kafka.is_there = True
    for _ in range(10):
        delivery.pump()

    assert kafka.delivered == expected
    assert (delivery.is_caught_up, spool.size_bytes) == (True, 0)


def test_memory_is_bounded_by_bytes(spool: Spool, monkeypatch) -> None:
    monkeypatch.setattr(module, "MAX_IN_FLIGHT_BYTES", 250)
    kafka = MemoryKafka(is_there=False)
    delivery = delivery_of(spool, kafka)
    for _ in range(10):
        send(spool, delivery, bytes(100))

    assert (len(kafka.producers[0].queue), delivery.in_flight_bytes) == (2, 200)


def test_what_another_process_left_goes_first(tmp_path: Path) -> None:
    dead = Spool(tmp_path, "dead", MIB)
    dead.append([SpoolRecord(0, 0, b"left")])
    os.close(dead._locks[0][1])
    kafka = MemoryKafka()
    with Spool(tmp_path, "living", MIB) as spool:
        delivery = Delivery(spool, kafka.make, ["impressions"], Clock())
        send(spool, delivery, b"new")
        delivery.pump()
        delivery.pump()
        assert kafka.delivered == [b"left", b"new"]
        assert delivery.is_caught_up

    assert list(tmp_path.iterdir()) == []


def test_a_record_kafka_gives_back_is_sent_again_after_a_pause(spool: Spool) -> None:
    kafka, clock = MemoryKafka(error=KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)), Clock()
    delivery = delivery_of(spool, kafka, clock)
    send(spool, delivery, b"a")
    delivery.pump()
    kafka.error = None
    delivery.pump()
    assert (delivery.failed, delivery.depth, kafka.delivered) == (1, 1, [])

    clock.now_s += RETRY_PAUSE_S
    delivery.pump()
    delivery.pump()

    assert kafka.delivered == [b"a"]
    assert (delivery.is_caught_up, spool.size_bytes) == (True, 0)


def test_a_record_kafka_refuses_at_once_is_sent_again_too(spool: Spool) -> None:
    kafka, clock = MemoryKafka(refusal=KafkaError(KafkaError._UNKNOWN_PARTITION)), Clock()
    delivery = delivery_of(spool, kafka, clock)
    send(spool, delivery, b"a")
    kafka.refusal = None
    clock.now_s += RETRY_PAUSE_S
    delivery.pump()
    delivery.pump()

    assert (kafka.delivered, delivery.is_caught_up) == ([b"a"], True)


def test_a_broken_producer_is_replaced_and_nothing_is_lost(spool: Spool) -> None:
    broken, good, clock = MemoryKafka(), MemoryKafka(), Clock()
    broken.error = KafkaError(KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, "broken", True)
    brokers = [broken, good]
    delivery = Delivery(spool, lambda: brokers.pop(0).make(), ["impressions"], clock)
    delivery.pump()
    send(spool, delivery, b"a", b"b")
    delivery.pump()
    clock.now_s += RETRY_PAUSE_S
    delivery.pump()
    delivery.pump()

    assert good.delivered == [b"a", b"b"]
    assert (delivery.is_caught_up, spool.size_bytes, brokers) == (True, 0, [])


def test_a_broken_producer_gives_back_what_its_broker_does_not_answer(spool: Spool) -> None:
    broken, good, clock = MemoryKafka(is_there=False), MemoryKafka(), Clock()
    brokers = [broken, good]
    delivery = Delivery(spool, lambda: brokers.pop(0).make(), ["impressions"], clock)
    delivery.pump()
    send(spool, delivery, b"a", b"b")
    _, on_delivery = broken.producers[0].queue.popleft()
    on_delivery(KafkaError(KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, "broken", True), None)
    delivery.pump()
    clock.now_s += RETRY_PAUSE_S
    delivery.pump()
    delivery.pump()

    assert sorted(good.delivered) == [b"a", b"b"]
    assert (delivery.is_caught_up, spool.size_bytes) == (True, 0)


def test_draining_ends_when_kafka_has_everything_or_the_time_is_over(spool: Spool) -> None:
    kafka, clock = MemoryKafka(is_there=False), Clock()
    delivery = delivery_of(spool, kafka, clock)
    send(spool, delivery, b"a")

    def flush(timeout: float) -> int:
        clock.now_s += timeout
        return 0

    kafka.producers[0].flush = flush  # type: ignore[assignment, method-assign]
    assert not delivery.drain(2.0)
    kafka.is_there = True
    assert delivery.drain(2.0)


def test_an_unknown_topic_number_is_passed_by_and_the_rest_is_delivered(
    spool: Spool, tmp_path: Path
) -> None:
    spool.append(
        [
            SpoolRecord(0, 3, b"one"),
            SpoolRecord(9, 3, b"of a later version"),
            SpoolRecord(1, 3, b"two"),
        ]
    )
    kafka = MemoryKafka()
    delivery = Delivery(spool, kafka.make, ["impressions", "observations"], Clock())
    for _ in range(3):
        delivery.pump()

    assert kafka.delivered == [b"one", b"two"]
    assert delivery.is_caught_up
    assert spool.quarantined == 1
    assert spool.size_bytes == 0
    assert len(list(tmp_path.glob("a/*.segment.damaged"))) == 1


@pytest.mark.parametrize("is_at_once", [True, False])
def test_a_record_no_broker_takes_is_passed_by_and_the_rest_is_delivered(
    spool: Spool, is_at_once: bool
) -> None:
    kafka, clock = MemoryKafka(), Clock()
    delivery = delivery_of(spool, kafka, clock)
    too_large = KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)
    kafka.refusal, kafka.error = (too_large, None) if is_at_once else (None, too_large)
    send(spool, delivery, b"large")
    delivery.pump()
    kafka.refusal = kafka.error = None
    send(spool, delivery, b"small")
    for _ in range(3):
        clock.now_s += RETRY_PAUSE_S
        delivery.pump()

    assert kafka.delivered == [b"small"]
    assert delivery.is_caught_up
    assert spool.quarantined == 1


def test_a_record_damaged_while_it_waits_is_passed_by(spool: Spool) -> None:
    kafka, clock = MemoryKafka(), Clock()
    delivery = delivery_of(spool, kafka, clock)
    kafka.error = KafkaError(KafkaError.NOT_ENOUGH_REPLICAS)
    send(spool, delivery, b"one", b"two")
    delivery.pump()
    kafka.error = None
    os.truncate(spool.end.segment.path, 5)  # both are gone
    clock.now_s += RETRY_PAUSE_S
    delivery.pump()

    assert kafka.delivered == []
    assert spool.quarantined == 2
    assert delivery.is_caught_up


def test_a_record_refused_for_its_time_stays_is_counted_and_goes_once_the_clock_is_right(
    spool: Spool,
) -> None:
    kafka, clock = MemoryKafka(), Clock(0.0)
    delivery = Delivery(spool, kafka.make, ["i", "o"], clock, lambda: 8_000)
    delivery.pump()
    kafka.error = KafkaError(KafkaError.INVALID_TIMESTAMP)
    send(spool, delivery, b"x")
    delivery.pump()
    assert (delivery.clock_refusals, delivery.refused_s, delivery.is_caught_up) == (1, 0.0, False)

    clock.now_s = 5.0
    kafka.error, kafka.time = None, (TIMESTAMP_LOG_APPEND_TIME, 1_000)
    for _ in range(2):
        delivery.pump()
    assert (delivery.clock_refusals, delivery.refused_s, delivery.is_caught_up) == (1, None, True)
    assert delivery.skew_ms == 7_000
