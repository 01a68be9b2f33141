"""One webhook at work, against a real receiver and decisions in memory."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import orjson
import pytest
from standardwebhooks.webhooks import Webhook as Verifier
from standardwebhooks.webhooks import WebhookVerificationError

from streams.webhooks import dispatcher as module
from streams.webhooks.addresses import AddressPolicy, networks
from streams.webhooks.definition import Format, WebhookDefinition
from streams.webhooks.dispatcher import DELIVERIES_AT_ONCE, Rules, WebhookDispatcher
from streams.webhooks.event_types import EventType
from streams.webhooks.events import Event
from streams.webhooks.progress import MAX_WAITING, DispatchProgress, Place
from streams.webhooks.sealing import Confidential
from streams.webhooks.sender import Sender
from streams.webhooks.signing import new_secret
from streams.webhooks.table import Webhook, with_definition
from tests.patience import PATIENCE_S, patience, until_true
from tests.streams.webhooks.receiver import Receiver, receiving

POLICY = AddressPolicy(networks("127.0.0.0/8"), allows_http=True)
SECRET = new_secret()
FAILED = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"


class Decisions:
    """Events in memory, in the place of the topic."""

    def __init__(self, n_events: int) -> None:
        self.events = [event(offset) for offset in range(n_events)]
        self.partitions = {0}

    def bounded(self, positions):
        return {0: min(positions.get(0, 0), len(self.events))}

    async def read(self, _partition, begin, limit):
        found = list(enumerate(self.events))[begin : begin + limit]
        return found, begin + len(found)

    async def event_at(self, _partition, offset):
        return self.events[offset]

    async def positions_at(self, at_ms):
        return {0: at_ms}


class Counted(Decisions):
    """The same, with the number of times that they were read."""

    n_reads = 0

    async def read(self, _partition, begin, limit):
        self.n_reads += 1
        return await super().read(_partition, begin, limit)


def event(offset: int) -> Event:
    experiment = {"id": "exp_0000000000001", "key": None, "name": "Hero"}
    return Event(f"msg_{offset}", EventType.STARTED, offset, 1, {"experiment": experiment})


def dispatcher_of(
    url: str, sender: Sender, progress=None, retries_s=(1, 1), **changes
) -> WebhookDispatcher:
    definition = WebhookDefinition(host="h", since_ms=0, **changes)
    webhook = Webhook("wh_" + "a" * 26, definition, b"")
    confidential = Confidential(url, (SECRET,))
    return WebhookDispatcher(
        webhook, confidential, progress or DispatchProgress(), sender, Rules(POLICY, retries_s)
    )


@contextlib.asynccontextmanager
async def delivering(dispatcher: WebhookDispatcher, decisions: Decisions):
    task = asyncio.create_task(dispatcher.deliver(decisions))
    try:
        yield
    finally:
        await dispatcher.stop(0.0)
        await task


@contextlib.contextmanager
def faster(monkeypatch) -> Iterator[None]:
    """Have pauses of a second take a hundredth."""
    with monkeypatch.context() as patched:
        patched.setattr(module, "EARLIER", 0.01)
        patched.setattr(module, "LATER", 0.01)
        yield


async def test_every_event_is_delivered_and_signed_and_none_twice():
    async with receiving() as receiver, Sender(POLICY, PATIENCE_S) as sender:
        dispatcher = dispatcher_of(receiver.url(), sender)
        async with delivering(dispatcher, Decisions(300)):
            await until_true(lambda: dispatcher.progress.state.delivered == 300)

        assert sorted(receiver.ids()) == sorted(f"msg_{offset}" for offset in range(300))
        _, headers, body = receiver.received[0]
        assert Verifier(SECRET).verify(body, headers) == orjson.loads(body)
        assert dispatcher.progress.positions == {0: 300}


async def test_a_failed_event_is_sent_again_under_the_same_id(monkeypatch):
    with faster(monkeypatch):
        async with receiving() as receiver, Sender(POLICY, PATIENCE_S) as sender:
            receiver.answers["/"] = FAILED
            dispatcher = dispatcher_of(receiver.url(), sender, retries_s=(1,) * 5)
            async with delivering(dispatcher, Decisions(1)):
                await until_true(lambda: len(receiver.received) >= 3)
                del receiver.answers["/"]
                await until_true(lambda: dispatcher.progress.state.delivered == 1)

    assert set(receiver.ids()) == {"msg_0"}
    assert dispatcher.status == "active"


@pytest.mark.parametrize(("old_until_ms", "signing"), [(2**60, ("new", "old")), (1, ("new",))])
async def test_a_retry_is_signed_by_the_secrets_of_its_time(monkeypatch, old_until_ms, signing):
    """An attempt that failed before its secret was replaced, and the next one after that."""
    secrets = {"old": SECRET, "new": new_secret()}
    with faster(monkeypatch):
        async with receiving() as receiver, Sender(POLICY, PATIENCE_S) as sender:
            receiver.answers["/"] = FAILED
            dispatcher = dispatcher_of(receiver.url(), sender, retries_s=(1,) * 100)
            async with delivering(dispatcher, Decisions(1)):
                await until_true(lambda: bool(receiver.received))
                replaced = Confidential(
                    receiver.url(), (secrets["new"], secrets["old"]), old_until_ms
                )
                dispatcher.update(dispatcher.webhook, replaced)
                del receiver.answers["/"]
                await until_true(lambda: dispatcher.progress.state.delivered == 1)

    _, first, body = receiver.received[0]
    assert verifying(secrets, first, body) == ("old",)
    _, last, body = receiver.received[-1]
    assert verifying(secrets, last, body) == signing
    assert set(receiver.ids()) == {"msg_0"}


def verifying(secrets: Mapping[str, str], headers: Any, body: bytes) -> tuple[str, ...]:
    """Return the names of the secrets by which a receiver accepts a message."""
    found = []
    for name, secret in sorted(secrets.items()):
        with contextlib.suppress(WebhookVerificationError):
            Verifier(secret).verify(body, headers)
            found.append(name)
    return tuple(found)


async def test_thousands_of_events_after_an_absence_are_sent_in_order_a_few_at_once(monkeypatch):
    """Those that wait are bounded, and the log is read in pieces, not for each of them."""
    n_events = 2_000
    async with receiving() as receiver, Sender(POLICY, PATIENCE_S) as sender:
        dispatcher, decisions = dispatcher_of(receiver.url(), sender), Counted(n_events)
        waiting = []
        enqueue = dispatcher.progress.enqueue

        def counting(place: Place, at_ms: int) -> None:
            enqueue(place, at_ms)
            waiting.append(len(dispatcher.progress.waiting))

        monkeypatch.setattr(DispatchProgress, "enqueue", lambda _, *args: counting(*args))
        async with delivering(dispatcher, decisions):
            await until_true(lambda: dispatcher.progress.state.delivered == n_events)

    places = [int(each.removeprefix("msg_")) for each in receiver.ids()]
    assert sorted(places) == list(range(n_events))
    late = max(place - index for index, place in enumerate(places))
    assert late < DELIVERIES_AT_ONCE  # each is at most as far ahead as others are under way
    assert max(waiting) <= MAX_WAITING
    assert decisions.n_reads <= n_events / 10


async def test_one_that_never_answers_is_disabled_and_goes_on_when_it_is_enabled(monkeypatch):
    with faster(monkeypatch):
        async with receiving() as receiver, Sender(POLICY, PATIENCE_S) as sender:
            receiver.answers["/"] = FAILED
            dispatcher = dispatcher_of(receiver.url(), sender)
            async with patience():  # it ends as it is disabled
                await dispatcher.deliver(Decisions(2))
            assert dispatcher.status == "disabled"
            sent = len(receiver.received)
            del receiver.answers["/"]
            dispatcher.webhook = dispatcher_of(
                "", sender, activation=2, is_from_since=False
            ).webhook
            async with delivering(dispatcher, Decisions(2)):
                await until_true(lambda: dispatcher.progress.state.delivered == 2)

        assert sent <= 2 * 3
        assert set(receiver.ids()[sent:]) == {"msg_0", "msg_1"}


class Held(Decisions):
    """The same, with an event that takes until it is released."""

    def __init__(self, n_events: int) -> None:
        super().__init__(n_events)
        self.released = asyncio.Event()
        self.n_held = 0

    async def event_at(self, partition, offset):
        if offset == 1:
            self.n_held += 1
            await self.released.wait()
        return await super().event_at(partition, offset)


async def test_what_is_under_way_when_it_is_enabled_again_is_not_sent_twice_at_a_time():
    async with receiving() as receiver, Sender(POLICY, PATIENCE_S) as sender:
        receiver.answers["/"] = FAILED
        dispatcher = dispatcher_of(receiver.url(), sender, retries_s=())
        decisions = Held(2)
        async with patience():  # the first event disables it, while the second is under way
            await dispatcher.deliver(decisions)
        await until_true(lambda: decisions.n_held == 1)
        del receiver.answers["/"]
        dispatcher.webhook = dispatcher_of("", sender, activation=2, is_from_since=False).webhook
        async with delivering(dispatcher, decisions):
            await until_true(lambda: dispatcher.progress.state.delivered == 1)
            assert decisions.n_held == 1
            decisions.released.set()
            await until_true(lambda: dispatcher.progress.state.delivered == 2)

    assert receiver.ids() == ["msg_0", "msg_0", "msg_1"]


class SlowlyRead(Decisions):
    """The same, with records that take until they are released."""

    def __init__(self, n_events: int) -> None:
        super().__init__(n_events)
        self.released = asyncio.Event()
        self.n_held = 0

    async def read(self, partition, begin, limit):
        self.n_held += 1
        await self.released.wait()
        return await super().read(partition, begin, limit)


def turn_off(dispatcher: WebhookDispatcher) -> None:
    webhook = with_definition(dispatcher.webhook, is_enabled=False)
    dispatcher.update(webhook, dispatcher._confidential)


@pytest.mark.parametrize("decisions", [Held(2), SlowlyRead(2)], ids=["event", "records"])
@pytest.mark.parametrize("end", ["off", "stopped"])
async def test_nothing_is_sent_once_it_is_turned_off_or_stopped_however_long_the_log_takes(
    decisions, end
):
    decisions = type(decisions)(2)
    async with receiving() as receiver, Sender(POLICY, PATIENCE_S) as sender:
        dispatcher = dispatcher_of(receiver.url(), sender)
        task = asyncio.create_task(dispatcher.deliver(decisions))
        await until_true(lambda: decisions.n_held == 1)
        if isinstance(decisions, Held):
            await until_true(lambda: dispatcher.progress.state.delivered == 1)
        sent = len(receiver.received)
        if end == "off":
            turn_off(dispatcher)
        else:
            await dispatcher.stop(0.0)
        decisions.released.set()
        await task
        await asyncio.gather(*dispatcher._under_way)

    assert len(receiver.received) == sent
    assert not any(each.is_under_way for each in dispatcher.progress.waiting.values())
    assert len(dispatcher.progress.waiting) == 2 - sent


@pytest.mark.parametrize("answer", [FAILED, b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n"])
async def test_the_former_address_neither_disables_nor_delays_the_current_one(answer):
    async with receiving() as receiver, Sender(POLICY, PATIENCE_S) as sender:
        receiver.answers["/former"] = None
        dispatcher = dispatcher_of(receiver.url("/former"), sender, retries_s=())
        async with delivering(dispatcher, Decisions(1)):
            await until_true(lambda: len(receiver.ids("/former")) == 1)
            dispatcher.update(dispatcher.webhook, Confidential(receiver.url("/current"), (SECRET,)))
            receiver.release("/former", answer)
            await until_true(lambda: dispatcher.progress.state.delivered == 1)

        assert receiver.ids("/current") == ["msg_0"]
        assert dispatcher.progress.state.disabled_at_ms is None


async def test_events_that_wait_for_a_retry_are_sent_to_another_address_at_once():
    async with receiving() as receiver, Sender(POLICY, PATIENCE_S) as sender:
        receiver.answers["/former"] = FAILED
        dispatcher = dispatcher_of(receiver.url("/former"), sender, retries_s=(86_400,))
        async with delivering(dispatcher, Decisions(1)):
            await until_true(lambda: dispatcher.progress.state.failed == 1)
            assert dispatcher.status == "failing"
            dispatcher.update(dispatcher.webhook, Confidential(receiver.url("/current"), (SECRET,)))
            assert dispatcher.status == "active"
            await until_true(lambda: dispatcher.progress.state.delivered == 1)

        assert receiver.ids("/current") == ["msg_0"]


async def test_gone_ends_it_at_once():
    async with receiving() as receiver, Sender(POLICY, PATIENCE_S) as sender:
        receiver.answers["/"] = b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n"
        dispatcher = dispatcher_of(receiver.url(), sender)

        async with patience():
            await dispatcher.deliver(Decisions(1))

        assert len(receiver.received) == 1
        assert dispatcher.progress.state.disabled_because == "GONE"
        assert dispatcher.progress.waiting.keys() == {(0, 0)}


async def test_one_that_hangs_delays_no_other_and_has_few_connections():
    async with receiving() as receiver, Sender(POLICY, PATIENCE_S) as sender:
        receiver.answers["/hangs"] = None
        hanging = dispatcher_of(receiver.url("/hangs"), sender)
        other = dispatcher_of(receiver.url("/"), sender)
        async with delivering(hanging, Decisions(100)):
            await until_true(lambda: len(receiver.ids("/hangs")) == DELIVERIES_AT_ONCE)
            async with delivering(other, Decisions(100)):
                await until_true(lambda: other.progress.state.delivered == 100)
            assert len(receiver.ids("/hangs")) == DELIVERIES_AT_ONCE

        # What was broken off waits, and is sent by the process that continues.
        assert len(hanging.progress.waiting) == 100
        restored = DispatchProgress.from_json(
            orjson.loads(orjson.dumps(hanging.progress.to_json()))
        )
        again = dispatcher_of(receiver.url("/"), sender, restored)
        before = len(receiver.ids("/"))
        async with delivering(again, Decisions(100)):
            await until_true(lambda: again.progress.state.delivered == 100)
        assert len(set(receiver.ids("/")[before:])) == 100


async def test_a_test_is_sent_once_also_while_it_is_disabled():
    async with receiving() as receiver, Sender(POLICY, PATIENCE_S) as sender:
        dispatcher = dispatcher_of(
            receiver.url(), sender, is_enabled=False, test_id="t1", format=Format.SLACK
        )
        dispatcher.start_test()
        dispatcher.start_test()
        await until_true(lambda: dispatcher.progress.state.test is not None)
        dispatcher.start_test()
        await asyncio.sleep(0)

        assert receiver.ids() == ["msg_t1"]
        assert "works" in orjson.loads(receiver.received[0][2])["text"]


async def test_the_result_of_an_earlier_test_does_not_replace_that_of_the_last_one():
    async with receiving() as receiver, Sender(POLICY, PATIENCE_S) as sender:
        receiver.answers["/"] = None
        dispatcher = dispatcher_of(receiver.url(), sender, test_id="t1")
        dispatcher.start_test()
        await until_true(lambda: receiver.ids() == ["msg_t1"])
        del receiver.answers["/"]
        again = dispatcher_of(receiver.url(), sender, test_id="t2")
        dispatcher.update(again.webhook, again._confidential)
        dispatcher.start_test()
        await until_true(lambda: dispatcher.progress.state.test is not None)
        receiver.release("/", FAILED)
        await until_true(lambda: not dispatcher._under_way)

        assert dispatcher.progress.state.test is not None
        assert dispatcher.progress.state.test.id == "t2"


async def test_no_more_events_wait_than_there_is_room_for(monkeypatch):
    monkeypatch.setattr("streams.webhooks.progress.MAX_WAITING", 10)
    async with receiving() as receiver, Sender(POLICY, PATIENCE_S) as sender:
        receiver.answers["/"] = None
        dispatcher = dispatcher_of(receiver.url(), sender)
        async with delivering(dispatcher, Decisions(100)):
            await until_true(lambda: len(receiver.received) == DELIVERIES_AT_ONCE)

        assert len(dispatcher.progress.waiting) == 10
        assert dispatcher.progress.positions == {0: 10}


async def test_a_url_that_is_not_allowed_any_more_is_not_sent_to():
    async with receiving() as receiver, Sender(AddressPolicy(), PATIENCE_S) as sender:
        dispatcher = dispatcher_of(receiver.url(), sender, retries_s=())
        dispatcher._rules = Rules(AddressPolicy(), ())

        async with patience():
            await dispatcher.deliver(Decisions(1))

        assert dispatcher.progress.state.attempt_error == "ADDRESS_NOT_ALLOWED"
        assert isinstance(receiver, Receiver)
        assert receiver.received == []


async def test_an_event_that_cannot_be_sent_is_given_up_like_one_that_is_refused(monkeypatch):
    """It is neither tried without a pause, nor does it keep the others waiting."""

    class Unspeakable(Event):
        bodies = 0

        def body(self) -> bytes:
            Unspeakable.bodies += 1
            raise OverflowError("no calendar has this time")

    with faster(monkeypatch):
        async with receiving() as receiver, Sender(POLICY, PATIENCE_S) as sender:
            decisions = Decisions(20)
            good = decisions.events[3]
            decisions.events[3] = Unspeakable("msg_3", good.type, 0, 1, good.data)
            dispatcher = dispatcher_of(receiver.url(), sender, retries_s=(1, 1))
            async with delivering(dispatcher, decisions):
                await until_true(lambda: dispatcher.progress.state.given_up == 1)
                await until_true(lambda: dispatcher.progress.state.delivered == 19)

    assert Unspeakable.bodies == 3
    assert dispatcher.progress.state.failed == 3
    assert not dispatcher.progress.waiting
