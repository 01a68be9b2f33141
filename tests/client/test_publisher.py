"""Publishers: refusals before sending, and messages without Kafka."""

from __future__ import annotations

import time
from typing import Any

import pytest

from experiment_streams_client.impressions import ImpressionPublisher
from experiment_streams_client.outbox import Outbox
from experiment_streams_client.publisher import DeliveryError, ObservationPublisher
from streams.model.errors import DependencyError, EventError, ReceiptError
from streams.model.events import EXPOSURE, Observation
from streams.model.receipts import Keyring, Receipt
from streams.wire.observations import decode_observations

# No server listens on the port of tcpmux; a record is given up after a moment.
NOWHERE: dict[str, str | int | float | bool] = {
    "bootstrap.servers": "127.0.0.1:1",
    "message.timeout.ms": 200,
    "log_level": 0,
}
KEYRING = Keyring({1: bytes(32)})
STRANGER = Keyring({1: bytes([1] * 32)})
NOW_MS = time.time_ns() // 1_000_000  # long before the test, in a run of many


def receipt(
    keyring: Keyring = KEYRING, *, assigned_at_ms: int = NOW_MS, window_s: int = 86_400
) -> str:
    return keyring.sign(Receipt(7, 0, 1 << 31, 1, assigned_at_ms, 99, window_s))


@pytest.mark.parametrize(
    ("assignment_id", "keyring", "code"),
    [
        ("", None, "MALFORMED_RECEIPT"),
        ("not a receipt", None, "MALFORMED_RECEIPT"),
        (receipt()[:-1], None, "MALFORMED_RECEIPT"),
        (receipt(STRANGER), KEYRING, "FORGED_RECEIPT"),
        (receipt(assigned_at_ms=NOW_MS - 121_000, window_s=60), KEYRING, "EXPIRED_RECEIPT"),
    ],
    ids=["empty", "no-receipt", "cut", "forged", "expired"],  # the same in every process
)
def test_a_bad_receipt_is_refused_before_it_is_sent(assignment_id, keyring, code) -> None:
    with (
        ObservationPublisher(NOWHERE, keyring=keyring) as publisher,
        pytest.raises(ReceiptError) as caught,
    ):
        publisher.publish(assignment_id, "click", 1)

    assert caught.value.code == code  # and leaving the block found nothing undelivered


@pytest.mark.parametrize(
    ("metric", "value", "code"),
    [
        ("click", float("nan"), "VALUE_NOT_FINITE"),
        ("click", 1e10, "VALUE_OUT_OF_RANGE"),
        ("two words", 1, "INVALID_NAME"),
    ],
)
def test_what_no_worker_would_take_is_refused_before_it_is_sent(metric, value, code) -> None:
    with ObservationPublisher(NOWHERE) as publisher, pytest.raises(EventError) as caught:
        publisher.publish(receipt(), metric, value)

    assert caught.value.code == code


def test_what_was_not_delivered_is_reported() -> None:
    publisher = ObservationPublisher(NOWHERE)
    publisher.publish(receipt(), "click", 1)
    publisher.publish(receipt(), "revenue", 2)

    with pytest.raises(DeliveryError) as caught:
        publisher.flush()

    assert (caught.value.code, caught.value.failed) == ("NOT_DELIVERED", 2)
    publisher.flush()  # reported once


async def test_a_queue_that_stays_full_is_reported_and_others_run_meanwhile() -> None:
    patient = NOWHERE | {"message.timeout.ms": 60_000, "queue.buffering.max.messages": 1}
    publisher = ObservationPublisher(patient, queue_timeout_s=0.1)
    await publisher.publish_async(receipt(), "click", 1)

    with pytest.raises(DeliveryError) as caught:
        await publisher.publish_async(receipt(), "click", 1)

    assert caught.value.code == "QUEUE_FULL"


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("publish", ("click", 1, "e", NOW_MS)),
        ("publish_exposure", ("e", NOW_MS)),
        ("publish_exposure", ()),
        ("void", ("ivt",)),
    ],
)
async def test_each_method_and_its_asynchronous_twin_send_the_same(
    name: str, arguments: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[bytes, bytes | None]] = []

    def put(_: Outbox, value: bytes, *, key: bytes | None = None) -> None:
        sent.append((value, key))

    async def put_async(outbox: Outbox, value: bytes, *, key: bytes | None = None) -> None:
        put(outbox, value, key=key)

    monkeypatch.setattr(Outbox, "put", put)
    monkeypatch.setattr(Outbox, "put_async", put_async)
    assignment_id = receipt()
    async with ObservationPublisher(NOWHERE, keyring=KEYRING) as publisher:
        getattr(publisher, name)(assignment_id, *arguments)
        await getattr(publisher, f"{name}_async")(assignment_id, *arguments)

    first, second = sent
    assert first == second
    [observation] = decode_observations(first[0]).observations
    assert isinstance(observation, Observation)
    metric = {"publish": "click", "publish_exposure": EXPOSURE, "void": "$void.ivt"}[name]
    assert (observation.assignment_id, observation.metric) == (assignment_id, metric)


def test_impressions_need_a_topic_to_count_its_partitions() -> None:
    with pytest.raises(DependencyError) as caught:
        ImpressionPublisher(NOWHERE, KEYRING, metadata_timeout_s=0.2)

    assert caught.value.dependency == "kafka"


def test_a_void_is_refused_once_workers_of_no_experiment_remember_the_unit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Experiments whose units count from their exposure keep it for two windows."""
    sent: list[bytes | None] = []
    monkeypatch.setattr(Outbox, "put", lambda _, value, *, key=None: sent.append(key))

    with ObservationPublisher(NOWHERE, keyring=KEYRING) as publisher:
        within = receipt(assigned_at_ms=time.time_ns() // 1_000_000 - 90_000)
        publisher.void(within, "ivt")
        with pytest.raises(ReceiptError) as caught:
            publisher.void(receipt(assigned_at_ms=NOW_MS - 121_000, window_s=60), "ivt")

    assert (sent, caught.value.code) == ([within.encode()], "VOID_TOO_LATE")
