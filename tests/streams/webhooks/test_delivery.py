"""Ownership of the webhooks: who delivers, from where, and until when."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from confluent_kafka import TopicPartition

from streams.kafka.settings import KafkaSettings
from streams.webhooks import delivery as module
from streams.webhooks.addresses import AddressPolicy
from streams.webhooks.definition import WebhookDefinition
from streams.webhooks.delivery import WebhookDelivery
from streams.webhooks.dispatcher import Rules
from streams.webhooks.log import PARTITION
from streams.webhooks.progress import GONE, DispatchProgress
from streams.webhooks.table import PROGRESS, Webhook, encoded_progress

NAME = "wh_" + "a" * 26


class Consumer:
    """A consumer of a group, whose partitions the test gives and takes."""

    def __init__(self, _config) -> None:
        self.messages: list[Any] = []

    def subscribe(self, _topics, *, on_assign, on_revoke, on_lost) -> None:
        self.on_assign, self.on_revoke, self.on_lost = on_assign, on_revoke, on_lost

    def assign(self, _partitions) -> None:
        pass

    def consume(self, _limit, _wait_s):
        found, self.messages = self.messages, []
        return found

    def close(self) -> None:
        self.on_revoke(self, [])


class Writer:
    """The log of webhooks."""

    def __init__(self) -> None:
        self.records: list[tuple[bytes, bytes | None]] = []

    def write(self, *records) -> None:
        self.records += records


@pytest.fixture
def delivery(monkeypatch) -> WebhookDelivery:
    monkeypatch.setattr(module, "Consumer", Consumer)
    nothing: Any = None
    found = WebhookDelivery(KafkaSettings(), None, nothing, nothing, Rules(AddressPolicy(), ()))
    monkeypatch.setattr(found, "_writer", Writer())
    return found


def written(delivery: WebhookDelivery) -> list[tuple[bytes, bytes | None]]:
    writer: Any = delivery._writer
    return list(writer.records)


def webhook(created_at_ms: int) -> Webhook:
    return Webhook(NAME, WebhookDefinition(host="h", created_at_ms=created_at_ms), b"")


def gone() -> DispatchProgress:
    progress = DispatchProgress()
    progress.activate(1, {0: 7})
    progress.enqueue((0, 6), 5)
    progress.fail((0, 6), progress.begin((0, 6), 5), 5, 410, GONE, None)
    return progress


async def test_one_that_is_created_again_under_its_id_does_not_continue_from_the_former(delivery):
    table = delivery._table
    table.take(*webhook(1).encoded(), 1)
    table.take(*encoded_progress(NAME, gone()), 2)
    await delivery._apply({NAME})
    assert delivery._dispatchers[NAME].progress.state.disabled_because == GONE

    table.take(NAME.encode(), None, 3)
    table.take(*webhook(4).encoded(), 4)
    await delivery._apply({NAME})

    assert delivery._dispatchers[NAME].progress == DispatchProgress()
    assert delivery._dispatchers[NAME].webhook.definition.created_at_ms == 4
    assert written(delivery) == [((NAME + PROGRESS).encode(), None)]


async def test_the_progress_is_written_before_another_process_is_the_owner(delivery):
    partition = TopicPartition("webhooks", PARTITION)
    handed_over = []
    group = module._Group(KafkaSettings(), lambda: handed_over.append(group.poll()[2]))
    consumer: Any = group._consumer
    group._is_caught_up = True

    consumer.on_revoke(consumer, [partition])
    assert handed_over == []  # it has owned nothing

    consumer.on_assign(consumer, [partition])
    group._is_caught_up = True
    consumer.on_revoke(consumer, [partition])
    assert handed_over == [True]
    assert group.poll() == ([], True, False)

    consumer.on_assign(consumer, [partition])
    consumer.on_lost(consumer, [partition])  # another one owns them by now
    assert handed_over == [True]


async def test_what_another_process_owns_is_not_written(delivery):
    delivery._table.take(*webhook(1).encoded(), 1)
    await delivery._apply({NAME})
    delivery._dispatchers[NAME].is_changed = True

    await delivery._stop_all(is_owner=False)

    assert written(delivery) == []
    assert delivery._dispatchers == {}


async def test_what_a_write_that_is_cancelled_leaves_is_in_the_last_one(delivery, monkeypatch):
    delivery._table.take(*webhook(1).encoded(), 1)
    await delivery._apply({NAME})
    delivery._dispatchers[NAME].is_changed = True
    with monkeypatch.context() as patched:
        patched.setattr(delivery, "_write", lambda *_: asyncio.Event().wait())
        writing = asyncio.create_task(delivery._write_progress())
        await asyncio.sleep(0)
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)

    await delivery._stop_all()

    assert [key for key, _ in written(delivery)] == [(NAME + PROGRESS).encode()]
