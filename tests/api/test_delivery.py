"""From the spool to Kafka: everything at least once, and the spool empty in the end."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from confluent_kafka import KafkaError, KafkaException

from api import delivery as module
from api.delivery import RETRY_PAUSE_S, Delivery
from api.spool.spool import Spool, SpoolRecord

MIB = 2**20


@dataclass
class Kafka:
    """A producer that delivers when it is told to."""

    room: int = 1_000_000
    delivered: list[bytes] = field(default_factory=list)
    queue: deque[tuple[bytes, Callable[[KafkaError | None, object], None]]] = field(
        default_factory=deque
    )
    error: KafkaError | None = None
    refusal: KafkaError | None = None
    is_there: bool = True

    def produce(self, topic: str, value: bytes, *, partition: int, on_delivery) -> None:
        if self.refusal is not None:
            raise KafkaException(self.refusal)
        if len(self.queue) >= self.room:
            raise BufferError
        self.queue.append((value, on_delivery))

    def poll(self, timeout: float) -> int:
        while self.queue and self.is_there:
            value, on_delivery = self.queue.popleft()
            if self.error is None:
                self.delivered.append(value)
            on_delivery(self.error, None)
        return 0

    def flush(self, timeout: float) -> int:
        return self.poll(timeout)

    def purge(self) -> None:
        """Give everything back at the next `poll`, what a broker may have, too."""
        self.error = KafkaError(KafkaError._PURGE_INFLIGHT)
        self.is_there = True

    def close(self) -> None:
        """Do nothing."""


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


def delivery_of(spool: Spool, kafka: Kafka, clock: Clock | None = None) -> Delivery:
    delivery = Delivery(spool, lambda: kafka, ["impressions", "observations"], clock or Clock())
    delivery.pump()  # nothing was left over
    return delivery


def test_what_is_acknowledged_leaves_the_spool(spool: Spool) -> None:
    kafka = Kafka()
    delivery = delivery_of(spool, kafka)

    send(spool, delivery, b"a", b"b")
    assert (delivery.depth, spool.size_bytes > 0) == (2, True)
    delivery.pump()

    assert kafka.delivered == [b"a", b"b"]
    assert (delivery.acknowledged, delivery.depth, spool.size_bytes) == (2, 0, 0)
    assert delivery.last_acknowledged_s == 100.0


def test_without_kafka_records_wait_in_the_spool_and_then_go_in_order(spool: Spool) -> None:
    kafka = Kafka(room=3, is_there=False)
    delivery = delivery_of(spool, kafka)
    expected = [b"%d" % number for number in range(20)]
    for payload in expected:
        send(spool, delivery, payload)
        delivery.pump()
    assert (len(kafka.queue), delivery.is_caught_up) == (3, False)

    kafka.is_there = True
    for _ in range(10):
        delivery.pump()

    assert kafka.delivered == expected
    assert (delivery.is_caught_up, spool.size_bytes) == (True, 0)


def test_memory_is_bounded_by_bytes(spool: Spool, monkeypatch) -> None:
    monkeypatch.setattr(module, "MAX_IN_FLIGHT_BYTES", 250)
    kafka = Kafka(is_there=False)
    delivery = delivery_of(spool, kafka)
    for _ in range(10):
        send(spool, delivery, bytes(100))

    assert (len(kafka.queue), delivery.in_flight_bytes) == (2, 200)


def test_what_another_process_left_goes_first(tmp_path: Path) -> None:
    dead = Spool(tmp_path, "dead", MIB)
    dead.append([SpoolRecord(0, 0, b"left")])
    os.close(dead._locks[0][1])
    kafka = Kafka()
    with Spool(tmp_path, "living", MIB) as spool:
        delivery = Delivery(spool, lambda: kafka, ["impressions"], Clock())
        send(spool, delivery, b"new")
        delivery.pump()
        delivery.pump()
        assert kafka.delivered == [b"left", b"new"]
        assert delivery.is_caught_up

    assert list(tmp_path.iterdir()) == []


def test_a_record_kafka_gives_back_is_sent_again_after_a_pause(spool: Spool) -> None:
    kafka, clock = Kafka(error=KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)), Clock()
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
    kafka, clock = Kafka(refusal=KafkaError(KafkaError._UNKNOWN_PARTITION)), Clock()
    delivery = delivery_of(spool, kafka, clock)
    send(spool, delivery, b"a")
    kafka.refusal = None
    clock.now_s += RETRY_PAUSE_S
    delivery.pump()
    delivery.pump()

    assert (kafka.delivered, delivery.is_caught_up) == ([b"a"], True)


def test_a_broken_producer_is_replaced_and_nothing_is_lost(spool: Spool) -> None:
    broken, good, clock = Kafka(), Kafka(), Clock()
    broken.error = KafkaError(KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, "broken", True)
    producers = [broken, good]
    delivery = Delivery(spool, lambda: producers.pop(0), ["impressions"], clock)
    delivery.pump()
    send(spool, delivery, b"a", b"b")
    delivery.pump()
    clock.now_s += RETRY_PAUSE_S
    delivery.pump()
    delivery.pump()

    assert good.delivered == [b"a", b"b"]
    assert (delivery.is_caught_up, spool.size_bytes, producers) == (True, 0, [])


def test_a_broken_producer_gives_back_what_its_broker_does_not_answer(spool: Spool) -> None:
    broken, good, clock = Kafka(is_there=False), Kafka(), Clock()
    producers = [broken, good]
    delivery = Delivery(spool, lambda: producers.pop(0), ["impressions"], clock)
    delivery.pump()
    send(spool, delivery, b"a", b"b")
    _, on_delivery = broken.queue.popleft()
    on_delivery(KafkaError(KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, "broken", True), None)
    delivery.pump()
    clock.now_s += RETRY_PAUSE_S
    delivery.pump()
    delivery.pump()

    assert sorted(good.delivered) == [b"a", b"b"]
    assert (delivery.is_caught_up, spool.size_bytes) == (True, 0)


def test_draining_ends_when_kafka_has_everything_or_the_time_is_over(spool: Spool) -> None:
    kafka, clock = Kafka(is_there=False), Clock()
    delivery = delivery_of(spool, kafka, clock)
    send(spool, delivery, b"a")

    def flush(timeout: float) -> int:
        clock.now_s += timeout
        return 0

    kafka.flush = flush  # type: ignore[method-assign]
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
    kafka = Kafka()
    delivery = Delivery(spool, lambda: kafka, ["impressions", "observations"], Clock())
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
    kafka, clock = Kafka(), Clock()
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
    kafka, clock = Kafka(), Clock()
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


def test_a_record_refused_for_its_time_stays_is_counted_and_goes_once_the_clock_is_right(tmp_path):
    class Message:
        def timestamp(self):
            return 2, 1_000

    spool = Spool(tmp_path, "own", 2**20)
    calls = []

    class Refusing:
        def produce(self, topic, value, *, partition, on_delivery):
            calls.append(on_delivery)

        def poll(self, timeout):
            return 0

        def flush(self, timeout):
            return 0

        def purge(self):
            pass

        def close(self):
            pass

    now_s = [0.0]
    delivery = Delivery(spool, Refusing, ["i", "o"], lambda: now_s[0], lambda: 8_000)
    record = SpoolRecord(1, 0, b"x")
    delivery.offer(spool.append([record]), [record])
    delivery.pump()
    calls.pop()(KafkaError(KafkaError.INVALID_TIMESTAMP), None)
    assert (delivery.clock_refusals, delivery.refused_s, delivery.is_caught_up) == (1, 0.0, False)

    now_s[0] = 5.0
    delivery.pump()
    calls.pop()(None, Message())
    assert (delivery.clock_refusals, delivery.refused_s, delivery.is_caught_up) == (1, None, True)
    assert delivery.skew_ms == 7_000
