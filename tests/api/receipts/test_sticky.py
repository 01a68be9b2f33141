"""First receipts without Redis: the same each time, and kept once Redis is back."""

from __future__ import annotations

import asyncio

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from api.receipts.cache import ReceiptCache
from api.receipts.sticky import COOLDOWN_S, FirstReceipt, ReceiptQuery, StickyReceipts
from streams.model.receipt_layout import raw_of
from streams.model.receipts import Receipt
from streams.projection.receipts import Certainty, ReceiptPlace
from tests.api.memory import KEYRING, NOW_MS
from tests.patience import patience
from tests.twins.receipts import MemoryReceiptStore

AWAY = RedisConnectionError("away")


def place(unit: int) -> ReceiptPlace:
    return ReceiptPlace("exp_0000000000001", 0, unit)


def receipt(unit: int, at_ms: int = NOW_MS) -> str:
    return KEYRING.sign(Receipt(1, 0, 1 << 31, 1, at_ms, unit, 0))


class Sticky:
    """First receipts of a process, over a store that others may share."""

    def __init__(self, store: MemoryReceiptStore, capacity: int = 100) -> None:
        self.now_s = 0.0
        self.sticky = StickyReceipts(store, ReceiptCache(capacity), lambda: self.now_s)

    async def first(
        self, unit: int, at_ms: int = NOW_MS, other: int | None = None
    ) -> tuple[str | None, Certainty]:
        ask = ReceiptQuery(place(unit), receipt(unit, at_ms), other)
        found = await self.sticky.first(ask, lambda: receipt(unit, 7))
        return found.receipt, found.standing


async def test_questions_of_one_turn_travel_together() -> None:
    store = MemoryReceiptStore()
    process = Sticky(store)

    answers = await asyncio.gather(*(process.first(unit) for unit in range(50)))
    again = await process.first(7, NOW_MS + 1)

    assert answers == [(receipt(unit), Certainty.FIRST) for unit in range(50)]
    assert again == (receipt(7), Certainty.KNOWN)
    assert store.calls == [50, 1]


async def test_redis_is_left_alone_for_a_while_after_it_failed() -> None:
    store = MemoryReceiptStore(error=AWAY)
    process = Sticky(store)

    assert await process.first(1) == (receipt(1, 7), Certainty.PROVISIONAL)
    store.error = None
    assert await process.first(2) == (receipt(2, 7), Certainty.PROVISIONAL)
    assert (store.calls, process.sticky.unavailable) == ([1], 2)

    process.now_s = COOLDOWN_S
    assert await process.first(3) == (receipt(3), Certainty.FIRST)


async def test_a_unit_has_one_receipt_during_an_outage_in_every_process() -> None:
    store = MemoryReceiptStore(error=AWAY)
    processes = [Sticky(store) for _ in range(3)]

    found = [
        await process.first(1, NOW_MS + 1_000 * number)
        for number in range(20)
        for process in processes
    ]

    assert set(found) == {(receipt(1, 7), Certainty.PROVISIONAL)}


async def test_what_was_given_out_in_an_outage_is_kept_afterwards_and_the_first_write_wins() -> (
    None
):
    store = MemoryReceiptStore(error=AWAY)
    mine, other = Sticky(store), Sticky(store)
    await mine.first(1)
    store.error = None
    store.receipts[place(2)] = raw_of(receipt(2))
    mine.now_s = 0.5
    await mine.first(2)  # still in the cooldown, though Redis has another receipt
    await mine.sticky.look()
    mine.now_s = COOLDOWN_S

    assert store.receipts[place(1)] == raw_of(receipt(1, 7))
    assert await other.first(1, NOW_MS + 9) == (receipt(1, 7), Certainty.KNOWN)
    assert await mine.first(2) == (receipt(2), Certainty.KNOWN)


async def test_what_redis_may_have_kept_before_it_fell_silent_is_what_the_unit_gets() -> None:
    store = MemoryReceiptStore(error=TimeoutError())
    process = Sticky(store)

    found = await asyncio.gather(*(process.first(1, NOW_MS + number) for number in range(20)))
    process.now_s = COOLDOWN_S
    store.error = None
    later = await process.first(1, NOW_MS + 99)

    assert set(found) == {(receipt(1), Certainty.PROVISIONAL)}
    assert later == (receipt(1), Certainty.FIRST)


async def test_a_receipt_that_is_known_is_given_out_without_redis_and_after_it_was_emptied() -> (
    None
):
    store = MemoryReceiptStore()
    process = Sticky(store)
    await process.first(1)
    store.receipts.clear()
    store.complete = False

    emptied = await process.first(1, NOW_MS + 1)
    store.error = AWAY
    away = await process.first(1, NOW_MS + 2)

    assert emptied == away == (receipt(1), Certainty.KNOWN)
    assert store.receipts == {place(1): raw_of(receipt(1))}


async def test_until_the_memory_is_complete_receipts_are_provisional_and_the_log_wins() -> None:
    store = MemoryReceiptStore(complete=False)
    first, second = Sticky(store), Sticky(store)

    new = await first.first(1)
    elsewhere = await second.first(1, NOW_MS + 5)
    old = await first.first(2)
    store.receipts[place(2)] = raw_of(receipt(2, 3))  # as the rebuild finds it
    store.complete = True

    assert new == elsewhere == (receipt(1), Certainty.PROVISIONAL)
    assert old == (receipt(2), Certainty.PROVISIONAL)
    assert await second.first(1, NOW_MS + 6) == (receipt(1), Certainty.KNOWN)
    assert await first.first(2, NOW_MS + 6) == (receipt(2, 3), Certainty.KNOWN)


async def test_memory_is_bounded_and_the_least_recently_used_goes_first() -> None:
    store = MemoryReceiptStore(error=AWAY)
    process = Sticky(store, capacity=2)
    for unit in (1, 2, 1, 3):
        await process.first(unit)
    store.error = None
    await process.sticky.look()

    assert set(store.receipts) <= {place(1), place(3), place(2)}
    assert {place(1), place(3)} & set(store.receipts)
    assert len(process.sticky._memory._held) == 2
    assert len(process.sticky._memory._unsaved) == 0


@pytest.mark.parametrize("is_away", [False, True])
async def test_the_first_receipt_of_either_id_is_that_of_both(is_away: bool) -> None:
    store = MemoryReceiptStore(error=AWAY if is_away else None)
    process = Sticky(store)
    anonymous = await process.first(1)

    logged_in, _ = await process.first(2, NOW_MS + 1, other=1)
    later, _ = await process.first(2, NOW_MS + 2)

    assert anonymous[0] == logged_in == later


async def test_of_two_ids_with_receipts_the_one_of_the_unit_itself_holds() -> None:
    process = Sticky(MemoryReceiptStore())
    mine, other = await process.first(1), await process.first(2)

    found = await process.sticky.first(ReceiptQuery(place(1), receipt(1), 2), lambda: None)

    assert found == FirstReceipt(mine[0], Certainty.KNOWN, is_shared=False)
    assert await process.first(2) == (other[0], Certainty.KNOWN)


@pytest.mark.parametrize("answers", [ValueError("not a receipt"), []], ids=["raises", "too few"])
async def test_what_redis_holds_and_is_unreadable_delays_no_assignment(
    answers: Exception | list[object], caplog: pytest.LogCaptureFixture
) -> None:
    store = MemoryReceiptStore()

    async def ask(_: object) -> list[object]:
        if isinstance(answers, Exception):
            raise answers
        return answers

    store.ask = ask  # type: ignore[assignment, method-assign]
    async with patience():
        assert await Sticky(store).first(1) == (receipt(1, 7), Certainty.PROVISIONAL)

    assert "first receipts cannot be read" in caplog.text
