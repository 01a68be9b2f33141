"""Keeping first receipts: rebuilt by one worker, followed for a while, freed after archives."""

from __future__ import annotations

import threading
from collections.abc import Generator
from dataclasses import dataclass, field

import pytest

from streams.projection.receipts import ReceiptPlace
from streams.worker.receipts import FREE_S, RETENTION_S, SETTLE_S, ReceiptKeeper
from tests.patience import PATIENCE_S
from tests.twins.receipts import MemoryReceiptStore

FIRST = ReceiptPlace("exp_0000000000001", 0, 1)
SECOND = ReceiptPlace("exp_0000000000001", 0, 2)
RENEWALS = 5


@dataclass
class Log:
    """Receipts that come to the log one after the other.

    Attributes:
        waiting: Those that come.
        speaks: The log is silent until it is set.
    """

    waiting: list[dict[ReceiptPlace, bytes]]
    impressions: int = 0
    speaks: threading.Event = field(default_factory=threading.Event)
    aliased: set[str] = field(default_factory=set)
    chosen_from_sets: set[str] = field(default_factory=set)
    displaced: dict[ReceiptPlace, tuple[bytes, bytes]] = field(default_factory=dict)

    def new(self) -> Generator[dict[ReceiptPlace, bytes], None, None]:
        assert self.speaks.wait(PATIENCE_S)
        while self.waiting:
            self.impressions += 1
            yield self.waiting.pop(0)


class Case:
    """A keeper with its parts, and a log that speaks at once."""

    def __init__(self, *waiting: dict[ReceiptPlace, bytes], holder: str | None = None) -> None:
        self.now_s = 1_000.0
        self.store = MemoryReceiptStore(complete=False)
        self.store.holder = holder
        self.log = Log(list(waiting))
        self.log.speaks.set()
        self.archived: list[str] = []
        self.lowered: list[str] = []
        self.keeper = ReceiptKeeper(
            self.store,  # type: ignore[arg-type]
            lambda: self.log,  # type: ignore[arg-type, return-value]
            "me",
            lambda: self.archived,
            lambda: self.now_s,
            0.01,
            lambda: self.lowered,
        )


def speak_after_renewals(log: Log, store: MemoryReceiptStore) -> None:
    """Keep the log silent until its reader's lease was renewed several times."""
    renewals, keep_lease = 0, store.keep_lease

    async def renewed(worker_id: str) -> bool:
        nonlocal renewals
        renewals += 1
        if renewals == RENEWALS:
            log.speaks.set()
        return await keep_lease(worker_id)

    store.keep_lease = renewed  # type: ignore[method-assign]


async def test_what_redis_has_lost_is_rebuilt_and_the_first_receipt_of_a_unit_holds() -> None:
    case = Case({FIRST: b"one"}, {}, {FIRST: b"later", SECOND: b"two"})

    await case.keeper.look()

    assert case.store.receipts == {FIRST: b"one", SECOND: b"two"}
    assert (case.store.complete, case.store.holder) == (True, "me")


async def test_what_must_be_asked_for_is_known_before_receipts_are_complete() -> None:
    """Else an API process that did not see it noted gives units of these new receipts."""
    case = Case({FIRST: b"one"})
    case.log.aliased, case.log.chosen_from_sets = {"exp_1"}, {"exp_2"}
    noted: list[object] = []
    declare = case.store.declare_complete

    async def declared(worker_id: str) -> bool:
        noted.append((await case.store.aliased(), await case.store.chosen_from_sets()))
        return await declare(worker_id)

    case.store.declare_complete = declared  # type: ignore[method-assign]
    await case.keeper.look()

    assert noted == [({"exp_1"}, {"exp_2"})]


async def test_the_lease_is_kept_while_the_log_is_silent() -> None:
    """All commands are read before the first receipt, and that may take longer than a lease."""
    case = Case({FIRST: b"one"})
    case.log.speaks.clear()
    speak_after_renewals(case.log, case.store)

    await case.keeper.look()

    assert case.store.receipts == {FIRST: b"one"}


async def test_the_log_is_followed_for_a_while_after_the_rebuild() -> None:
    case = Case({FIRST: b"one"})
    await case.keeper.look()

    case.log.waiting.append({SECOND: b"two"})  # given out meanwhile, and logged late
    await case.keeper.look()
    followed = dict(case.store.receipts)
    case.now_s += SETTLE_S
    await case.keeper.look()

    assert followed == {FIRST: b"one", SECOND: b"two"}
    assert case.store.holder is None


async def test_one_worker_rebuilds_and_the_others_wait() -> None:
    case = Case({FIRST: b"one"}, holder="other")

    await case.keeper.look()

    assert not case.store.receipts
    assert not case.store.complete


@pytest.mark.parametrize("holder", ["other", None])
async def test_a_worker_that_has_lost_its_lease_declares_nothing(holder: str | None) -> None:
    """Another has taken it, or Redis was emptied in the middle of it."""
    case = Case({FIRST: b"one"}, {SECOND: b"two"})

    async def lose(receipts: dict[ReceiptPlace, bytes]) -> int:
        case.store.holder = holder
        return len(receipts)

    case.store.add = lose  # type: ignore[assignment, method-assign]
    await case.keeper.look()

    assert not case.store.complete


async def test_receipts_of_an_archived_experiment_go_after_a_while() -> None:
    case = Case()
    case.store.complete = True
    await case.store.add({FIRST: b"one"})
    await case.keeper.look()
    case.archived = [FIRST.experiment_id]
    case.now_s += FREE_S
    await case.keeper.look()
    at_once = await case.store.places()
    case.now_s += RETENTION_S
    await case.keeper.look()

    assert at_once == [(FIRST.experiment_id, 0)]
    assert await case.store.places() == []


async def test_the_log_is_read_once_for_an_experiment_whose_share_was_lowered() -> None:
    case = Case({FIRST: b"one"})
    case.store.complete = True
    case.lowered = [FIRST.experiment_id]

    await case.keeper.look()

    assert case.store.receipts == {FIRST: b"one"}
    assert await case.store.rebuilt() == {FIRST.experiment_id}
    case.log.waiting = [{SECOND: b"late"}]
    await case.keeper.look()  # follows the log for a while
    assert case.store.receipts == {FIRST: b"one", SECOND: b"late"}
    case.now_s += SETTLE_S + 1
    await case.keeper.look()
    assert case.store.holder is None
    case.log.waiting = [{SECOND: b"never"}]
    await case.keeper.look()
    assert case.log.waiting


async def test_the_log_is_read_once_more_when_units_of_an_experiment_have_two_ids() -> None:
    case = Case({FIRST: b"one"})
    await case.keeper.look()
    assert await case.store.rebuilt() == frozenset()

    await case.store.alias([FIRST.experiment_id])
    case.log.waiting.append({SECOND: b"two"})
    case.log.displaced = {FIRST: (b"one", b"other")}
    await case.keeper.look()
    waiting = case.log.waiting = [{SECOND: b"later"}]
    case.now_s += SETTLE_S
    await case.keeper.look()
    await case.keeper.look()

    assert case.store.receipts == {FIRST: b"other", SECOND: b"two"}
    assert await case.store.rebuilt() == {FIRST.experiment_id}
    assert not waiting
    assert case.store.holder is None
