"""First receipts: in memory and in Redis."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import pytest
from redis.asyncio import Redis

from streams.model.receipt_layout import raw_of
from streams.model.receipts import Keyring, Receipt
from streams.projection.connection import connect
from streams.projection.keys import Keys
from streams.projection.receipts import (
    N_SHARDS,
    Certainty,
    ReceiptPlace,
    ReceiptStore,
    StoredReceipt,
    StoreQuery,
)
from streams.settings import Settings
from tests.twins.receipts import MemoryReceiptStore

EXPERIMENT, OTHER = "exp_0000000000001", "exp_0000000000002"
SPREAD = 0x9E3779B97F4A7C15
KEYRING = Keyring({1: bytes(32)})
ROOM = 4
FIRST, KNOWN, PROVISIONAL = (
    Certainty.FIRST,
    Certainty.KNOWN,
    Certainty.PROVISIONAL,
)
FULL, UNKNOWN = Certainty.FULL, Certainty.UNKNOWN


@dataclass(frozen=True)
class Subject:
    """A store, and what happens to where it keeps the receipts.

    Attributes:
        store: The store, whose memory is not complete.
        restart: Restarts the server.
        lose_lease: Lets the lease expire.
        empty: Loses everything.
    """

    store: ReceiptStore | MemoryReceiptStore
    restart: Callable[[], Awaitable[object]]
    lose_lease: Callable[[], Awaitable[object]]
    empty: Callable[[], Awaitable[object]]


def memory_subject() -> Subject:
    store = MemoryReceiptStore(complete=False, room=ROOM)

    async def restart() -> None:
        store.server = "second"

    async def lose_lease() -> None:
        store.holder = None

    async def empty() -> None:
        store.flush()

    return Subject(store, restart, lose_lease, empty)


def redis_subject(client: Redis, keys: Keys) -> Subject:
    async def restart() -> None:  # the server is shared: it seems to have been another before
        await client.set(keys.receipts_complete, "another server", xx=True)

    async def lose_lease() -> None:
        await client.delete(keys.receipts_lease)

    async def empty() -> None:
        await client.delete(*await client.keys(f"{keys.namespace}:*"))

    return Subject(ReceiptStore(client, keys, 3600, room=ROOM), restart, lose_lease, empty)


@pytest.fixture
async def subject(real: Settings | None) -> AsyncIterator[Subject]:
    if real is None:
        yield memory_subject()
        return
    async with connect(real.redis_url) as client:
        yield redis_subject(client, Keys(real.namespace))


@pytest.fixture
async def store(subject: Subject) -> ReceiptStore | MemoryReceiptStore:
    """Return a store whose memory is complete."""
    await declare(subject.store)
    return subject.store


async def declare(store: ReceiptStore | MemoryReceiptStore) -> None:
    assert await store.lease("w")
    assert await store.declare_complete("w")
    await store.release("w")


def place(unit: int, phase: int = 0, experiment: str = EXPERIMENT) -> ReceiptPlace:
    return ReceiptPlace(experiment, phase, unit * SPREAD % 2**64)


def receipt(unit: int, at_ms: int = 0) -> bytes:
    return raw_of(KEYRING.sign(Receipt(1, 0, 1 << 31, 1, at_ms, unit, 0)))


async def ask(
    store: ReceiptStore | MemoryReceiptStore,
    unit: int,
    offered: bytes = b"",
    *,
    is_sure: bool = False,
    other: int | None = None,
) -> tuple[bytes, Certainty, bool]:
    second = None if other is None else place(other).unit
    [answer] = await store.ask([StoreQuery(place(unit), offered, is_sure, second)])
    return answer.receipt, answer.standing, answer.is_shared


async def test_the_first_receipt_of_a_unit_stays(store) -> None:
    assert await ask(store, 1) == (b"", UNKNOWN, False)
    assert await ask(store, 1, receipt(1)) == (receipt(1), FIRST, False)
    assert await ask(store, 1, receipt(1, 9)) == (receipt(1), KNOWN, False)
    assert await ask(store, 1) == (receipt(1), KNOWN, False)


async def test_units_of_one_call_are_decided_in_order_and_phases_apart(store) -> None:
    answers = await store.ask(
        [
            StoreQuery(place(1), receipt(1)),
            StoreQuery(place(2), receipt(2)),
            StoreQuery(place(1), receipt(1, 9)),
            StoreQuery(place(1, phase=1), receipt(1, 9)),
            StoreQuery(place(1, experiment=OTHER), receipt(1, 9)),
        ]
    )

    assert [tuple(each) for each in answers] == [
        (receipt(1), FIRST, False),
        (receipt(2), FIRST, False),
        (receipt(1), KNOWN, False),
        (receipt(1, 9), FIRST, False),
        (receipt(1, 9), FIRST, False),
    ]
    assert await store.places() == [(EXPERIMENT, 0), (EXPERIMENT, 1), (OTHER, 0)]


async def test_no_question_has_no_answer(store) -> None:
    assert await store.ask([]) == []


async def test_before_completeness_a_receipt_is_provisional_and_the_log_decides(subject) -> None:
    store = subject.store
    assert [(await ask(store, unit, receipt(unit)))[1] for unit in (1, 2)] == [PROVISIONAL] * 2
    assert await ask(store, 1, receipt(1, 9)) == (receipt(1), PROVISIONAL, False)
    assert await store.places() == []

    assert await store.add({place(2): receipt(2, 5)}) == 1  # it had another one before
    await declare(store)

    assert await ask(store, 1) == (receipt(1), KNOWN, False)
    assert await ask(store, 2) == (receipt(2, 5), KNOWN, False)


async def test_what_is_known_to_be_first_is_so_before_completeness_too(subject) -> None:
    store = subject.store
    await ask(store, 1, receipt(1))

    assert await ask(store, 1, receipt(1, 5), is_sure=True) == (receipt(1, 5), KNOWN, False)
    assert await ask(store, 1, receipt(1, 9), is_sure=True) == (receipt(1, 5), KNOWN, False)


async def test_both_ids_of_a_unit_have_one_receipt_and_its_own_goes_first(store) -> None:
    await ask(store, 1, receipt(1))
    await ask(store, 2, receipt(2))

    assert await ask(store, 3, receipt(3), other=1) == (receipt(1), KNOWN, True)
    assert await ask(store, 2, receipt(2, 9), other=4) == (receipt(2), KNOWN, True)
    assert await ask(store, 5, receipt(5), other=6) == (receipt(5), FIRST, True)
    assert await ask(store, 1, other=2) == (receipt(1), KNOWN, False)
    assert await ask(store, 7, other=8) == (b"", UNKNOWN, False)

    assert [(await ask(store, unit))[0] for unit in (3, 4, 6)] == [
        receipt(1),
        receipt(2),
        receipt(5),
    ]
    assert await store.aliased() == {EXPERIMENT}


async def test_of_units_that_may_be_in_the_log_alone_the_log_decides(store) -> None:
    """As of an experiment whose units were found by their hash, until one had two ids."""
    for unit, other in ((1, 2), (3, 4)):
        question = StoreQuery(place(unit), receipt(other), False, place(other).unit, True)
        answers = [(await store.ask([question]))[0] for _ in range(2)]
        assert answers == [StoredReceipt(receipt(other), PROVISIONAL, True)] * 2
    assert await store.aliased() == {EXPERIMENT}

    await store.add({place(1): receipt(1)})  # it had one before it had another id

    assert await ask(store, 1, other=2) == (receipt(1), KNOWN, False)
    assert await ask(store, 2) == (receipt(2), KNOWN, False)
    assert await ask(store, 3, other=4) == (receipt(4), KNOWN, True)


async def test_experiments_with_two_ids_are_noted(store) -> None:
    await store.alias([OTHER, EXPERIMENT])
    await store.alias([])

    assert await store.aliased() == {EXPERIMENT, OTHER}
    assert await store.rebuilt() == frozenset()
    await store.note_rebuilt([])
    await store.note_rebuilt([EXPERIMENT, OTHER])
    await store.free(EXPERIMENT, 0)
    assert await store.rebuilt() == {OTHER}


@pytest.mark.parametrize("is_complete", [True, False])
async def test_a_shard_has_room_for_so_many_and_no_more(subject, is_complete) -> None:
    store, kept = subject.store, FIRST if is_complete else PROVISIONAL
    if is_complete:
        await declare(store)
    units = [ReceiptPlace(EXPERIMENT, 0, number) for number in range(6)]  # all of the first shard
    questions = [StoreQuery(each, receipt(each.unit)) for each in units]

    first = [answer.standing for answer in await store.ask(questions)]
    again = [answer.standing for answer in await store.ask(questions)]

    assert first == [kept] * 4 + [FULL] * 2
    assert again == [KNOWN if is_complete else PROVISIONAL] * 4 + [FULL] * 2
    assert await store.add({units[5]: receipt(5)}) == int(not is_complete)


async def test_a_provisional_receipt_finds_its_shard_full(subject) -> None:
    store = subject.store
    units = [ReceiptPlace(EXPERIMENT, 0, number) for number in range(5)]
    [_] = await store.ask([StoreQuery(units[4], receipt(4))])
    assert await store.add({each: receipt(each.unit) for each in units[:4]}) == 4
    await declare(store)

    [answer] = await store.ask([StoreQuery(units[4], b"")])

    assert answer == (receipt(4), FULL, False)


async def test_of_two_replacements_of_one_receipt_the_first_holds(store) -> None:
    await ask(store, 1, receipt(1))

    first = await store.replace(place(1), receipt(1), receipt(1, 5))
    second = await store.replace(place(1), receipt(1), receipt(1, 9))

    assert first == second == receipt(1, 5)
    assert await ask(store, 1) == (receipt(1, 5), KNOWN, False)


async def test_a_provisional_receipt_is_replaced_and_one_that_is_not_there_is_not_kept(
    subject,
) -> None:
    store = subject.store
    await ask(store, 1, receipt(1))

    assert await store.replace(place(1), receipt(1), receipt(1, 5)) == receipt(1, 5)
    assert await store.replace(place(2), receipt(2), receipt(2, 5)) == receipt(2, 5)

    assert await ask(store, 1) == (receipt(1, 5), PROVISIONAL, False)
    assert await ask(store, 2) == (b"", UNKNOWN, False)


async def test_receipts_of_the_log_are_kept_of_units_that_have_none(store) -> None:
    await ask(store, 1, receipt(1))

    assert await store.add({place(1): receipt(1, 5), place(2, 1): receipt(2, 5)}) == 1
    assert await store.add({}) == 0

    assert (await ask(store, 1))[0] == receipt(1)
    [answer] = await store.ask([StoreQuery(place(2, 1), b"")])
    assert answer == (receipt(2, 5), KNOWN, False)
    assert await store.places() == [(EXPERIMENT, 0), (EXPERIMENT, 1)]


async def test_one_worker_at_a_time_may_rebuild_and_declare_completeness(subject) -> None:
    store = subject.store
    assert [await store.lease(worker) for worker in ("a", "b", "a")] == [True, False, True]
    assert [await store.keep_lease(worker) for worker in ("a", "b")] == [True, False]
    await store.release("b")
    assert not await store.declare_complete("b")
    assert not await store.is_complete()

    assert await store.declare_complete("a")
    assert await store.is_complete()
    await store.release("a")

    assert not await store.keep_lease("a")
    assert await store.lease("b")


async def test_a_lease_that_expired_declares_nothing(subject) -> None:
    await subject.store.lease("a")
    await subject.lose_lease()

    assert not await subject.store.keep_lease("a")
    assert not await subject.store.declare_complete("a")


async def test_completeness_does_not_outlive_the_server(subject) -> None:
    store = subject.store
    await declare(store)
    await subject.restart()
    assert not await store.is_complete()
    assert await ask(store, 1, receipt(1)) == (receipt(1), PROVISIONAL, False)


async def test_an_emptied_store_knows_nothing_and_is_not_complete(subject, store) -> None:
    await ask(store, 1, receipt(1), other=2)
    await subject.empty()

    assert not await store.is_complete()
    assert await ask(store, 1) == (b"", UNKNOWN, False)
    assert (await store.places(), await store.aliased()) == ([], frozenset())
    assert await store.rebuilt() == frozenset()


async def test_a_phase_is_freed_and_no_other(store) -> None:
    await ask(store, 1, receipt(1), other=2)
    await store.add({place(1, 1): receipt(1, 5), place(1, 0, OTHER): receipt(1, 7)})
    await store.alias([OTHER])

    await store.free(EXPERIMENT, 0)

    assert await store.places() == [(EXPERIMENT, 1), (OTHER, 0)]
    assert await store.aliased() == {OTHER}
    found = await store.ask(
        [StoreQuery(each, b"") for each in (place(1), place(1, 1), place(1, 0, OTHER))]
    )
    assert [each.receipt for each in found] == [b"", receipt(1, 5), receipt(1, 7)]


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[Redis]:
    async with connect(settings.redis_url) as connection:
        yield connection


def drawn(draw: random.Random) -> ReceiptPlace:
    """Return one of a few units; half of them share a shard, which has no room for them all."""
    unit = draw.randrange(12)
    found = place(unit, draw.choice([0, 0, 1]), draw.choice([EXPERIMENT, EXPERIMENT, OTHER]))
    return found if unit % 2 else found._replace(unit=unit)


def drawn_questions(draw: random.Random, step: int) -> list[StoreQuery]:
    asked = []
    for _ in range(3):
        unit, other = drawn(draw), drawn(draw).unit if draw.random() < 0.4 else None
        offered = receipt(draw.randrange(12), step) if draw.random() < 0.7 else b""
        is_sure = bool(offered) and draw.random() < 0.2
        if other != unit.unit:
            asked.append(StoreQuery(unit, offered, is_sure, other))
    return asked


@pytest.mark.integration
async def test_redis_decides_as_the_twin_whatever_they_are_asked(
    client: Redis, settings: Settings
) -> None:
    subjects = [redis_subject(client, Keys(settings.namespace)), memory_subject()]
    draw = random.Random(7)

    async def both(method: str, *args: object) -> None:
        answers = [await getattr(each.store, method)(*args) for each in subjects]
        assert answers[0] == answers[1], step

    for step in range(400):
        unit = drawn(draw)
        match draw.randrange(1, 16):
            case 1:
                for each in subjects:
                    await declare(each.store)
            case 2:
                await both(
                    "add", {drawn(draw): receipt(draw.randrange(12), step) for _ in range(3)}
                )
            case 3:
                await both("free", unit.experiment_id, unit.phase)
            case 4:
                [before] = await subjects[0].store.ask([StoreQuery(unit, b"")])
                await both("ask", [StoreQuery(unit, b"")])  # asking may move a provisional one
                await both("replace", unit, before.receipt, receipt(draw.randrange(12), step))
            case _:
                await both("ask", drawn_questions(draw, step))
        await both("places")
        await both("aliased")


@pytest.mark.integration
async def test_receipts_expire_only_unused_and_leave_no_name_behind(
    client: Redis, settings: Settings
) -> None:
    store = ReceiptStore(client, Keys(settings.namespace), 3600)
    await declare(store)
    await store.ask(
        [StoreQuery(place(unit, phase), receipt(unit)) for unit in range(50) for phase in (0, 1)]
    )
    names = [name async for name in client.scan_iter(f"{settings.namespace}:v1:receipts:exp_*")]
    lives_s = {await client.ttl(name) for name in names}

    await store.free(EXPERIMENT, 0)

    left = [name async for name in client.scan_iter(f"{settings.namespace}:v1:receipts:exp_*")]
    assert lives_s <= {3600, 3599, 3598}
    assert len(left) < len(names) <= N_SHARDS
    assert await store.places() == [(EXPERIMENT, 1)]
    [answer] = await store.ask([StoreQuery(place(7, 1), b"")])
    assert answer == StoredReceipt(receipt(7), Certainty.KNOWN, is_shared=False)
