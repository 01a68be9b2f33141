"""A producer that failed permanently is replaced, and what comes after it is delivered."""

from __future__ import annotations

import asyncio

import pytest
from confluent_kafka import KafkaError

from api.command_log import MAX_COMMAND_BYTES, KafkaCommandLog
from experiment_streams_client import outbox as client_module
from experiment_streams_client.outbox import DeliveryError, Outbox
from streams.kafka.producers import RenewableProducer
from streams.model.errors import DependencyError, InputError
from streams.model.events import Command, CommandKind
from tests.twins.producer import FATAL, MemoryKafka

REFUSALS = [
    KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED),
    KafkaError(KafkaError.CLUSTER_AUTHORIZATION_FAILED),
    FATAL,
]


@pytest.mark.parametrize("refusal", REFUSALS, ids=str)
async def test_commands_are_written_again_once_the_right_is_granted(refusal: KafkaError) -> None:
    broker = MemoryKafka(error=refusal)
    log = KafkaCommandLog(
        {}, "commands", lambda command: command.command_id.encode(), 1.0, broker.make
    )
    command = Command("a" * 32, 1, CommandKind.START, 5)
    for _ in range(2):
        with pytest.raises(DependencyError):
            await log.append(command)
    with pytest.raises(DependencyError):
        await asyncio.to_thread(log.probe)  # readiness names it

    broker.error = None
    await log.append(command)

    assert broker.delivered == [b"a" * 32]
    assert len(broker.producers) == 3


async def test_a_command_that_no_record_can_hold_is_refused_before_it_is_sent() -> None:
    broker = MemoryKafka()
    log = KafkaCommandLog({}, "commands", lambda _: bytes(MAX_COMMAND_BYTES + 1), 1.0, broker.make)

    with pytest.raises(InputError) as caught:
        await log.append(Command("a" * 32, 1, CommandKind.CREATE, 5))

    assert caught.value.code == "COMMAND_TOO_LARGE"
    assert broker.delivered == []


def test_a_producer_that_turned_fatal_while_idle_is_replaced_with_the_next_record() -> None:
    broker = MemoryKafka()
    producer = RenewableProducer({}, broker.make)
    broker.producers[0].is_fatal = True
    errors: list[KafkaError | None] = []

    producer.produce("t", b"x", on_delivery=lambda error, _: errors.append(error))
    producer.poll(0)

    assert (broker.delivered, errors, producer.renewals) == ([b"x"], [None], 1)


def test_a_publisher_reports_what_was_refused_and_goes_on_with_what_comes_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broker = MemoryKafka(error=KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED))
    monkeypatch.setattr(
        client_module, "RenewableProducer", lambda config: RenewableProducer(config, broker.make)
    )
    outbox = Outbox("unused", "observations")
    outbox.put(b"one")
    with pytest.raises(DeliveryError):
        outbox.flush()

    broker.error = None
    outbox.put(b"two")
    outbox.flush()

    assert broker.delivered == [b"two"]


def test_an_ordinary_failure_replaces_nothing() -> None:
    broker = MemoryKafka(error=KafkaError(KafkaError.NOT_ENOUGH_REPLICAS))
    producer = RenewableProducer({}, broker.make)
    producer.produce("t", b"x", on_delivery=lambda *_: None)
    producer.poll(0)
    producer.produce("t", b"y", on_delivery=lambda *_: None)

    assert producer.renewals == 0
