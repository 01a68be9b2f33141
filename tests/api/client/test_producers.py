"""A producer that failed for good is replaced, and what comes after it is delivered."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from api.client import outbox as client_module
from api.client.outbox import DeliveryError, Outbox
from api.client.producers import RenewableProducer
from api.services.control import MAX_COMMAND_BYTES, KafkaCommandLog
from streams.model.errors import DependencyError, InputError
from streams.model.events import Command, CommandKind

FATAL = KafkaError(KafkaError._FATAL)


@dataclass
class Broker:
    """What producers of it share: a broker that authorizes or not."""

    refusal: KafkaError | None = None
    delivered: list[bytes] = field(default_factory=list)
    producers: list[Producer] = field(default_factory=list)

    def make(self, _: dict[str, Any]) -> Any:
        self.producers.append(Producer(self))
        return self.producers[-1]


class Producer:
    """Stays fatal once it was refused, as librdkafka's idempotent producer does."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.is_fatal = False
        self.is_closed = False
        self.queue: deque[tuple[bytes, Any]] = deque()

    def produce(self, topic: str, value: bytes, *, key, partition, on_delivery) -> None:
        if self.is_fatal:
            raise KafkaException(FATAL)
        self.queue.append((value, on_delivery))

    def poll(self, timeout: float = 0) -> int:
        while self.queue:
            value, on_delivery = self.queue.popleft()
            error = FATAL if self.is_fatal else self.broker.refusal
            if error is None:
                self.broker.delivered.append(value)
            else:
                self.is_fatal = True
            on_delivery(error, None)
        return 0

    def flush(self, timeout: float = 0) -> int:
        return self.poll()

    def purge(self) -> None:
        pass

    def close(self) -> None:
        self.is_closed = True


REFUSALS = [
    KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED),
    KafkaError(KafkaError.CLUSTER_AUTHORIZATION_FAILED),
    FATAL,
]


@pytest.mark.parametrize("refusal", REFUSALS, ids=str)
async def test_commands_are_written_again_once_the_right_is_granted(refusal: KafkaError) -> None:
    broker = Broker(refusal)
    log = KafkaCommandLog(
        {}, "commands", lambda command: command.command_id.encode(), 1.0, broker.make
    )
    command = Command("a" * 32, 1, CommandKind.START, 5)
    for _ in range(2):
        with pytest.raises(DependencyError):
            await log.append(command)
    with pytest.raises(DependencyError):
        await asyncio.to_thread(log.probe)  # readiness names it

    broker.refusal = None
    await log.append(command)

    assert broker.delivered == [b"a" * 32]
    assert len(broker.producers) == 3


async def test_a_command_that_no_record_can_hold_is_refused_before_it_is_sent() -> None:
    broker = Broker()
    log = KafkaCommandLog({}, "commands", lambda _: bytes(MAX_COMMAND_BYTES + 1), 1.0, broker.make)

    with pytest.raises(InputError) as caught:
        await log.append(Command("a" * 32, 1, CommandKind.CREATE, 5))

    assert caught.value.code == "COMMAND_TOO_LARGE"
    assert broker.delivered == []


def test_a_producer_that_turned_fatal_while_idle_is_replaced_with_the_next_record() -> None:
    broker = Broker()
    producer = RenewableProducer({}, broker.make)
    broker.producers[0].is_fatal = True
    errors: list[KafkaError | None] = []

    producer.produce("t", b"x", on_delivery=lambda error, _: errors.append(error))
    producer.poll(0)

    assert (broker.delivered, errors, producer.renewals) == ([b"x"], [None], 1)


def test_a_publisher_reports_what_was_refused_and_goes_on_with_what_comes_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broker = Broker(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED))
    monkeypatch.setattr(
        client_module, "RenewableProducer", lambda config: RenewableProducer(config, broker.make)
    )
    outbox = Outbox("unused", "observations")
    outbox.put(b"one")
    with pytest.raises(DeliveryError):
        outbox.flush()

    broker.refusal = None
    outbox.put(b"two")
    outbox.flush()

    assert broker.delivered == [b"two"]


def test_an_ordinary_failure_replaces_nothing() -> None:
    broker = Broker(KafkaError(KafkaError.NOT_ENOUGH_REPLICAS))
    producer = RenewableProducer({}, broker.make)
    producer.produce("t", b"x", on_delivery=lambda *_: None)
    producer.poll(0)
    broker.producers[0].is_fatal = False
    producer.produce("t", b"y", on_delivery=lambda *_: None)

    assert producer.renewals == 0
